"""Datasets, executions, results, a site's work and the audit log as the registry answers them."""

from datetime import datetime
from typing import Any

from pydantic import Field, JsonValue

from api.schemas.border import ErrorClass, ExecutionState, Isolation, ProbeOutcome, SiteDecision, Step
from api.schemas.common import MetricNumber, Stamped, Strict
from api.schemas.cubes import CubeRef
from cubes.digests import Digest
from cubes.metrics import MetricSchema
from cubes.public_keys import PublicKeyPem


class DatasetPublic(Stamped):
    name: str
    title: str
    benchmark_id: int
    site_id: int
    site_name: str
    preparator_digest: Digest
    root: Digest
    data_root: Digest
    labels_root: Digest
    metadata_root: Digest | None
    cases: int
    statistics: dict[str, JsonValue] | None
    """None for those who are neither the data owner nor on a committee that the dataset asked to join."""
    decision: SiteDecision | None
    """None for the same."""


class PreparationPublic(Stamped):
    """How far a staged preparation is, where its data owner lets the registry hear of it."""

    benchmark_id: int
    site_id: int
    site_name: str
    name: str
    fractions: dict[str, float]
    """Status to the fraction of cases in it; negative statuses wait for a person, or failed."""
    measured_at: datetime


class ExecutionPublic(Stamped):
    """The newest state of each step of one execution."""

    identity: Digest
    benchmark_id: int
    model_id: int
    model_name: str
    dataset_id: int
    dataset_name: str
    site_id: int
    step: Step
    state: ExecutionState
    attempt: int
    started_at: datetime
    finished_at: datetime | None
    exit_code: int | None
    error_class: ErrorClass | None


class ResultPublic(Stamped):
    execution: Digest
    score: Digest
    benchmark_id: int
    model_id: int
    model_name: str
    dataset_id: int
    dataset_name: str
    site_id: int
    model_digest: Digest
    metrics_digest: Digest
    dataset_root: Digest
    metrics: dict[str, MetricNumber]
    cases: int
    started_at: datetime
    finished_at: datetime
    isolation: Isolation
    probe: ProbeOutcome
    decision: SiteDecision


class ModelWork(Strict):
    """One model that the committee approved, in the order in which it should run."""

    association_id: int
    model_id: int
    name: str
    title: str
    organization: str
    cube: CubeRef
    priority: int


class DatasetWork(Strict):
    association_id: int
    dataset_id: int
    name: str
    root: Digest


class BenchmarkWork(Strict):
    """What a site has to do for one benchmark: all approved models on all of its own approved datasets."""

    benchmark_id: int
    name: str
    title: str
    minimum_cases: int
    metrics: list[MetricSchema]
    preparator: CubeRef
    metrics_cube: CubeRef
    demo_dataset_digest: Digest
    image_keys: list[PublicKeyPem] = Field(default=[], max_length=20)
    """One of these keys must have signed the image of a cube, when there are any."""
    datasets: list[DatasetWork]
    models: list[ModelWork]


class SiteWork(Strict):
    """What the registry asks of a site. It can ask; it cannot execute.

    `benchmarks` holds every approved benchmark (so that a site can prepare data for it); its `datasets` and `models`
    hold approved associations alone.
    """

    site_id: int
    benchmarks: list[BenchmarkWork]
    audit_head: "AuditHead"


class AuditHead(Strict):
    sequence: int
    head: str
    """Hexadecimal HMAC-SHA256 of the last entry; a site keeps it and so notices when history changes."""


class AuditEntry(Strict):
    sequence: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    digest: str
    """Hexadecimal HMAC-SHA256 over the previous digest and this entry."""


class AuditVerification(Strict):
    entries: int
    intact: bool
    """The chain is whole, and no row contradicts what it tells."""
    first_broken: int | None
    head: str
    changed_rows: list[str] = Field(default_factory=list)
    """Results and releases that are not what their entries tell, with what differs; looked for in a whole chain alone."""


SiteWork.model_rebuild()
