"""Benchmarks, associations, gates, decisions and the leaderboard as they travel."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from api.schemas.common import Line, MetricNumber, Name, Reason, Stamped, Strict, Text
from cubes.digests import Digest
from cubes.metrics import MetricSchema


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
    allow_list: list[str] = Field(default=[], max_length=1_000)
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
    primary_metric: Name
    preparator_cube_id: int
    metrics_cube_id: int
    reference_model_id: int | None = None
    demo_dataset_digest: Digest
    """Digest of a `.tar` with `paths.yaml` at its root, uploaded before to `/blobs`."""
    minimum_cases: int = Field(default=1, ge=1)
    model_policy: AssociationPolicy = AssociationPolicy()
    dataset_policy: AssociationPolicy = AssociationPolicy()
    model_owner_consent: bool = False
    """Whether a model's results are shown to others only after its owner consented."""


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
    model_owner_consent: bool
    owner_id: int
    state: BenchmarkState
    released_at: datetime | None
    """When the committee released the leaderboard; none: only those entitled see results."""


class CommitteeMember(Strict):
    user_id: int


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
    finished_at: datetime


class AssociationCreate(Strict):
    benchmark_id: int
    kind: AssociationKind
    subject_id: int
    """The model's or the dataset's identifier."""
    note: str = Field(default="", max_length=2_000)
    compatibility: Compatibility | None = None


class AssociationPublic(Stamped):
    benchmark_id: int
    kind: AssociationKind
    subject_id: int
    subject_name: str
    requested_by: int
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
    user_id: int | None
    user_name: str
    """Who decided; the benchmark's policy when nobody had to."""
    digest: Digest
    verdict: Verdict
    reason: str


class FlowRunUpdate(Strict):
    flow_run_id: str = Field(max_length=64)


class LeaderboardRow(Strict):
    rank: int
    """Rows whose primary metric is equal share a rank."""
    model_id: int
    model_name: str
    sites: int
    cases: int
    metrics: dict[str, MetricNumber]
    """Means over datasets, weighted by their number of cases."""
    per_dataset: dict[str, dict[str, MetricNumber]]
    """Dataset name to its own metrics."""
    isolated: bool
    """Whether every result behind the row was made under proven isolation."""


class Leaderboard(Strict):
    benchmark_id: int
    benchmark_name: str
    primary_metric: str
    metrics: list[MetricSchema]
    released_at: datetime | None
    rows: list[LeaderboardRow]
