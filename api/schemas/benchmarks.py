"""Benchmarks, associations, gates, decisions and the leaderboard as they travel."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field, ValidationInfo, field_validator, model_validator

from api.schemas.common import Email, Id, Line, MetricNumber, Name, Note, Reason, Stamped, Strict, Text
from cubes.digests import Digest
from cubes.metrics import MetricName, MetricSchema
from cubes.public_keys import PublicKeyPem


class BenchmarkState(StrEnum):
    DRAFT = "draft"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    REJECTED = "rejected"
    CLOSED = "closed"


class AutoApproval(StrEnum):
    NEVER = "never"
    ALWAYS = "always"
    ALLOW_LIST = "allow_list"


class AssociationPolicy(Strict):
    """Who may join without waiting for the committee. `allow_list` holds e-mail addresses of owners."""

    auto_approval: AutoApproval = AutoApproval.NEVER
    allow_list: list[Email] = Field(default=[], max_length=1_000)
    quorum: int = Field(default=1, ge=1, le=50)


class BenchmarkCreate(Strict):
    """The full specification of a benchmark (Table 3 of the MedPerf paper, Nature Machine Intelligence 2023)."""

    name: Name
    title: Line
    clinical_setting: Text
    task: Text
    labelling_method: Text
    inclusion_criteria: Text
    documentation: Text
    metrics: list[MetricSchema] = Field(min_length=1, max_length=50)
    primary_metric: MetricName
    preparator_cube_id: Id
    metrics_cube_id: Id
    reference_model_id: Id | None = None
    demo_dataset_digest: Digest
    """Digest of a `.tar` with `paths.yaml` at its root, uploaded before to `/blobs`."""
    minimum_cases: int = Field(default=1, ge=1)
    model_policy: AssociationPolicy = AssociationPolicy()
    dataset_policy: AssociationPolicy = AssociationPolicy()
    image_keys: list[PublicKeyPem] = Field(default=[], max_length=20)
    """Who may vouch for images: cubes that are images run at sites only when one of these keys signed them. Empty: the
    digest alone is enough."""
    model_owner_consent: bool = False
    """Whether a model's results are shown to others only after its owner consented."""

    @model_validator(mode="after")
    def _metrics_fit(self) -> "BenchmarkCreate":
        names = [metric.name for metric in self.metrics]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"the metric {min(twice)!r} is listed twice")
        if self.primary_metric not in names:
            raise ValueError(f"the primary metric {self.primary_metric!r} is none of {', '.join(names)}")
        for metric in self.metrics:
            if not metric.is_bounded_well():
                raise ValueError(
                    f"the metric {metric.name!r} has bounds that no number lies between: leave out what is open"
                )
        return self


class BenchmarkPolicyUpdate(Strict):
    model_policy: AssociationPolicy | None = None
    dataset_policy: AssociationPolicy | None = None


class BenchmarkPublic(Stamped):
    name: str
    title: str
    clinical_setting: str
    task: str
    labelling_method: str
    inclusion_criteria: str
    documentation: str
    metrics: list[MetricSchema]
    primary_metric: str
    preparator_cube_id: int
    metrics_cube_id: int
    reference_model_id: int | None
    demo_dataset_digest: Digest
    minimum_cases: int
    model_policy: AssociationPolicy
    dataset_policy: AssociationPolicy
    image_keys: list[str]
    model_owner_consent: bool
    owner_id: int
    state: BenchmarkState
    released_at: datetime | None
    """When the committee released the leaderboard; none: only those entitled see results."""


class CommitteeMember(Strict):
    user_id: Id


class MetricsCubeUpdate(Strict):
    """Another metrics cube for an approved benchmark: sites score again what they have inferred."""

    metrics_cube_id: Id


class AssociationKind(StrEnum):
    MODEL = "model"
    DATASET = "dataset"


class AssociationState(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


class Compatibility(Strict):
    """What the compatibility flow measured on the benchmark's demo dataset before the association was asked for."""

    demo_dataset_digest: Digest
    model_digest: Digest
    metrics_digest: Digest
    metrics: dict[str, MetricNumber] = Field(max_length=50)
    finished_at: AwareDatetime


class AssociationCreate(Strict):
    """A model or a dataset for a benchmark: asked for by its owner, or an invitation by the committee."""

    benchmark_id: Id
    kind: AssociationKind
    subject_id: Id
    """The model's or the dataset's identifier."""
    note: Note = ""
    compatibility: Compatibility | None = None


class AssociationPublic(Stamped):
    benchmark_id: int
    kind: AssociationKind
    subject_id: int
    subject_name: str
    requested_by: int
    invited: bool
    """Whether the committee asked and the owner decides; otherwise it is the other way round."""
    note: str
    compatibility: Compatibility | None
    state: AssociationState
    priority: int
    """Higher runs first; zero unless the committee says otherwise."""
    consented_at: datetime | None


class AssociationChange(Strict):
    """One row of an association's append-only history."""

    at: datetime
    state: AssociationState
    by: int | None
    """The person; none when the benchmark's own policy approved."""
    reason: str


class Withdrawal(Strict):
    reason: Reason


class PriorityUpdate(Strict):
    priority: int = Field(ge=-1_000, le=1_000)


class GateKind(StrEnum):
    BENCHMARK = "benchmark"
    ASSOCIATION = "association"
    LEADERBOARD = "leaderboard"


class GateState(StrEnum):
    OPEN = "open"
    DECIDED = "decided"
    """Decided by as many people as the quorum asks; the review flow has not concluded it yet."""
    CONCLUDED = "concluded"
    CANCELLED = "cancelled"


class Verdict(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


class GatePublic(Stamped):
    """A place where somebody must decide. `digest` is the digest of the canonical JSON of `shown`."""

    kind: GateKind
    subject_id: int
    benchmark_id: int
    title: str
    shown: dict[str, Any]
    digest: Digest
    revision: int
    """Grows whenever what is shown changes; decisions about an earlier revision do not count."""
    requested_by: int
    quorum: int
    approvals: int
    state: GateState
    verdict: Verdict | None
    flow_run_id: str | None


class DecisionCreate(Strict):
    digest: Digest
    """The digest of what the person was shown: a decision for anything else is refused."""
    verdict: Verdict
    reason: Reason


class DecisionPublic(Stamped):
    gate_id: int
    revision: int
    user_id: int | None
    user_name: str
    """Who decided; the benchmark's policy when nobody had to."""
    digest: Digest
    verdict: Verdict
    reason: str


class FlowRunUpdate(Strict):
    flow_run_id: str = Field(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z-]+$")


class Aggregation(StrEnum):
    """How a metric's number for a model comes from those of its datasets."""

    POOLED = "pooled_over_cases"
    """The metric of all cases together: exact, because the metric is a mean over cases."""
    WEIGHTED_MEAN = "mean_over_datasets_weighted_by_cases"
    """Not the metric of all cases together, which nobody can know without them: the mean of the datasets' own values."""


class LeaderboardRow(Strict):
    rank: int
    """Equal primary metrics share a rank; models that did not run on every measured dataset come last."""
    model_id: int
    model_name: str
    sites: int
    cases: int
    complete: bool
    """Whether the model has a result on every dataset that any model has one on."""
    metrics: dict[str, MetricNumber]
    """By the leaderboard's `method`; NaN where it is not defined."""
    per_dataset: dict[str, dict[str, MetricNumber]]
    """`site/dataset` to its own metrics."""
    isolated: bool | None
    """Whether every result behind the row was made under proven isolation; None without any result."""

    @field_validator("isolated")
    @classmethod
    def _says_nothing_of_nothing(cls, value: bool | None, info: ValidationInfo) -> bool | None:  # noqa: FBT001 - pydantic's signature
        """Leaderboards that were released earlier say yes there."""
        return value if info.data.get("per_dataset") else None


class Leaderboard(Strict):
    """Ranks by the primary metric in its direction; what is not a number comes last."""

    benchmark_id: int
    benchmark_name: str
    primary_metric: str
    metrics: list[MetricSchema]
    method: dict[str, Aggregation]
    """Each metric's way from datasets to a model."""
    not_counted: dict[str, list[str]]
    """Metric to the datasets that do not count for it, `site/dataset`: it is defined there for no model."""
    sites: int
    """Of the datasets that any model has a result on."""
    cases: int
    """Of these datasets."""
    unmeasured: int
    """Approved datasets that no model has a result on."""
    withheld: int
    """Ranked models that are not shown: their owners have not consented."""
    released_at: datetime | None
    rows: list[LeaderboardRow]
