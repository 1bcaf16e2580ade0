"""The closed list of what leaves a site: heartbeats, how far preparations are, dataset registrations, execution events,
approved results.

Nothing else does. `PAYLOADS` is that list; the site's sender and the registry's routes both go by it.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BeforeValidator, Field, JsonValue, StringConstraints, model_validator

from api.schemas.benchmarks import Verdict
from api.schemas.common import Count, Id, Line, MetricNumber, Name, Note, Strict
from cubes.digests import Digest, canonical, tag_non_finite
from cubes.metrics import MetricName

MAX_PAYLOAD_BYTES: Final = 256 * 1024
MAX_STATISTICS_BYTES: Final = 128 * 1024


class PayloadKind(StrEnum):
    HEARTBEAT = "heartbeat"
    PREPARATION = "preparation"
    DATASET = "dataset"
    EXECUTION_EVENT = "execution_event"
    RESULT = "result"


class Isolation(StrEnum):
    """What the deny probe found; it stands on every result for ever."""

    ISOLATED = "isolated"
    NOT_ISOLATED = "not_isolated"


class ProbeOutcome(Strict):
    """The deny probe's verdict about one runtime at one start of the agent."""

    runtime: Annotated[str, StringConstraints(pattern=r"^[a-z]{1,20}$")]
    isolation: Isolation
    checks: dict[Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")], bool] = Field(max_length=40)
    """Check name to whether it held; the positive controls are among them."""
    probed_at: AwareDatetime
    only_host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:\[\]_-]{1,300}$")] | None = None
    """On a result: the one host that its model could ask, through the site. None: it could reach nobody."""


class Received(Strict):
    """The registry's answer to a payload: what it is called there."""

    id: int


class Heartbeat(Strict):
    """I am alive, this is my version, so much waits; how far the audit chain I keep a head of has come."""

    sent_at: AwareDatetime
    agent_version: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.+-]{1,40}$")]
    running: Count
    waiting_gates: Count
    probe: ProbeOutcome


class PreparationProgress(Strict):
    """How far a staged preparation is: the fraction of cases per status, by number. No name, no count, no case."""

    benchmark_id: Id
    name: Name
    """The dataset's, as it will be registered."""
    fractions: dict[
        Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,3}$")], Annotated[float, Field(ge=0, le=1)]
    ] = Field(max_length=20)
    """Negative statuses wait for a person, or failed."""
    measured_at: AwareDatetime


class SiteDecision(Strict):
    """Who at the site allowed a payload, bound to the digest of what they were shown."""

    gate: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
    verdict: Verdict
    """Only an approval lets anything go; it stands here so that the registry can say so too."""
    person: Line
    decided_at: AwareDatetime
    digest: Digest
    reason: Note


class DatasetRegistration(Strict):
    """A prepared dataset: its digests and the statistics a named person approved. No file name, no case."""

    name: Name
    title: Line
    benchmark_id: Id
    preparator_digest: Digest
    root: Digest
    data_root: Digest
    labels_root: Digest
    metadata_root: Digest | None
    cases: Count
    statistics: Annotated[dict[str, JsonValue], BeforeValidator(tag_non_finite)] = Field(max_length=200)
    """Numbers that are not finite are tagged: JSON cannot carry them."""
    decision: SiteDecision

    @model_validator(mode="after")
    def _statistics_are_small(self) -> "DatasetRegistration":
        if len(canonical(self.statistics)) > MAX_STATISTICS_BYTES:
            raise ValueError(f"statistics over {MAX_STATISTICS_BYTES} bytes: aggregate them further in the preparator")
        return self


class Step(StrEnum):
    PREPARE = "prepare"
    SANITY_CHECK = "sanity_check"
    STATISTICS = "statistics"
    INFER = "infer"
    EVALUATE = "evaluate"


class ExecutionState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class ErrorClass(StrEnum):
    """Why a step failed, in a word. Log text never leaves."""

    EXIT_CODE = "exit_code"
    DEADLINE = "deadline"
    MEMORY = "memory"
    OUTPUT_MISSING = "output_missing"
    OUTPUT_MALFORMED = "output_malformed"
    OUTPUT_TOO_LARGE = "output_too_large"
    LOG_TOO_LARGE = "log_too_large"
    DATASET_CHANGED = "dataset_changed"
    NOT_ISOLATED = "not_isolated"
    CUBE_UNAVAILABLE = "cube_unavailable"
    IMAGE_UNAVAILABLE = "image_unavailable"
    """The registry has no such image, or does not give it out; or it is not what its digest says."""
    CANNOT_START = "cannot_start"
    """The container could not be started: no such program in the image, a mount that is not there."""
    DISK = "disk"
    """More scratch space or log on the node than the step may use."""
    REFUSED = "refused"
    """The cluster's admission does not take the pod."""
    UNSCHEDULABLE = "unschedulable"
    """No node has the resources, or not in time."""
    EVICTED = "evicted"
    """Drained, preempted or evicted: the node needed the place."""
    POD_DELETED = "pod_deleted"
    """Somebody deleted the pod or its Job."""
    NODE_LOST = "node_lost"
    CLUSTER_UNREACHABLE = "cluster_unreachable"
    SITE_SETUP = "site_setup"
    """The site, not the cube, is at fault; the message says what to do."""
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class ExecutionEvent(Strict):
    """One step of one execution changed its state."""

    execution: Digest
    """The execution's identity."""
    benchmark_id: Id
    model_id: Id
    dataset_id: Id
    step: Step
    state: ExecutionState
    attempt: int = Field(ge=1, le=1_000)
    started_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    exit_code: int | None = Field(default=None, ge=-256, le=256)
    error_class: ErrorClass | None = None

    @model_validator(mode="after")
    def _is_one_story(self) -> "ExecutionEvent":
        if (self.state == ExecutionState.RUNNING) != (self.finished_at is None):
            raise ValueError("a step has a finished_at exactly when it is no longer running")
        if (self.state == ExecutionState.FAILED) != (self.error_class is not None):
            raise ValueError("a step has an error_class exactly when it failed")
        return self


class ApprovedResult(Strict):
    """The metrics of one execution that a named person at the site let go."""

    execution: Digest
    score: Digest
    """The score's identity: the execution's and the metrics cube's."""
    benchmark_id: Id
    model_id: Id
    dataset_id: Id
    model_digest: Digest
    metrics_digest: Digest
    dataset_root: Digest
    metrics: dict[MetricName, MetricNumber] = Field(min_length=1, max_length=50)
    cases: Count
    started_at: AwareDatetime
    finished_at: AwareDatetime
    probe: ProbeOutcome
    decision: SiteDecision


PAYLOADS: Final[dict[PayloadKind, type[Strict]]] = {
    PayloadKind.HEARTBEAT: Heartbeat,
    PayloadKind.PREPARATION: PreparationProgress,
    PayloadKind.DATASET: DatasetRegistration,
    PayloadKind.EXECUTION_EVENT: ExecutionEvent,
    PayloadKind.RESULT: ApprovedResult,
}
NEEDS_DECISION: Final[Mapping[PayloadKind, str]] = MappingProxyType(
    {PayloadKind.DATASET: "register_dataset", PayloadKind.RESULT: "release_results"}
)
"""What leaves a site only after a person there approved it, and the gate at which they did."""


def parse_payload(kind: PayloadKind, body: Any) -> Strict:
    """The payload, or a `pydantic.ValidationError` that names each key that does not belong."""
    return PAYLOADS[kind].model_validate(body)
