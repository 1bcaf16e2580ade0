"""The tables of a site's store. They share nothing with the registry's."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sqlalchemy import JSON, LargeBinary, UniqueConstraint
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from api.schemas.benchmarks import Verdict
from api.schemas.border import ErrorClass, ExecutionState, PayloadKind, Step
from api.storage.columns import UtcDateTime, now


def new_id() -> str:
    return uuid4().hex


class SiteTable(SQLModel, registry=registry()):
    """The base of the site's tables, with a metadata of its own: the registry has tables of the same names."""


class Role(StrEnum):
    """What a person at the site may do: a data owner decides, an operator starts work, a viewer looks."""

    DATA_OWNER = "data_owner"
    OPERATOR = "operator"
    VIEWER = "viewer"


class Person(SiteTable, table=True):
    id: int | None = Field(default=None, primary_key=True)
    email: str = Field(unique=True)
    name: str
    role: Role
    token_hash: str = Field(unique=True)
    password_hash: str | None = None
    """For signing in to the pages, where the site has no identity provider: argon2id."""
    oidc_subject: str | None = Field(default=None, unique=True)
    """Issuer and subject at the identity provider, from the first time that they came from there."""
    benchmarks: list[int] | None = Field(default=None, sa_type=JSON)
    """A viewer's: they see the flow runs of these alone; None: of all."""
    expires_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)

    @property
    def label(self) -> str:
        """Name and address, as they stand in decisions."""
        return f"{self.name} <{self.email}>"


class DatasetState(StrEnum):
    PREPARING = "preparing"
    OUTSTANDING = "outstanding"
    """A staged preparation waits for people to deal with cases."""
    PREPARED = "prepared"
    REGISTERED = "registered"
    REJECTED = "rejected"
    FAILED = "failed"


class Dataset(SiteTable, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    title: str
    benchmark_id: int
    data_path: str
    labels_path: str
    state: DatasetState = DatasetState.PREPARING
    message: str = ""
    folder: str | None = None
    """Where the prepared data lie: `data`, `labels`, `metadata`, `manifest.json`."""
    root: str | None = None
    cases: int | None = None
    statistics: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    preparator_digest: str | None = None
    registered_id: int | None = None
    requested_by: int
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class JobKind(StrEnum):
    PREPARE = "prepare"
    EVALUATE = "evaluate"
    RELEASE = "release"
    COMPATIBILITY = "compatibility"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE_JOBS = (JobState.QUEUED, JobState.RUNNING)


class Job(SiteTable, table=True):
    """Something that the site is asked to do: one flow run."""

    id: str = Field(default_factory=new_id, primary_key=True)
    kind: JobKind = Field(index=True)
    subject: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    requested_by: int | None = None
    """The person; none when the agent asked by itself."""
    state: JobState = Field(default=JobState.QUEUED, index=True)
    progress: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    outcome: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    message: str = ""
    flow_run_id: str | None = None
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class GateState(StrEnum):
    OPEN = "open"
    """Opened by a flow that has not yet come to rest."""
    WAITING = "waiting"
    """Its flow run is suspended: a decision may wake it."""
    DECIDED = "decided"
    SUPERSEDED = "superseded"
    """What was to be approved changed, or the flow ended without it."""
    EXPIRED = "expired"
    """Nobody answered in time: what waited for it has ended."""


class Gate(SiteTable, table=True):
    """A place where a person must decide about exactly `shown`."""

    __table_args__ = (UniqueConstraint("flow_run_id", "name", "digest"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    name: str
    title: str
    subject: str
    shown: dict[str, Any] = Field(sa_type=JSON)
    digest: str
    flow_run_id: str = Field(index=True)
    state: GateState = Field(default=GateState.OPEN, index=True)
    quorum: int = 1
    """So many must approve; one rejection rejects."""
    four_eyes: bool = False
    """Whoever asked for the work may not approve it."""
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """After that nobody decides here any more, and what waited ends; until then the question may be renewed."""
    opened_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    woken_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Decision(SiteTable, table=True):
    """What a person decided. Rows are never changed or deleted: triggers see to it."""

    __table_args__ = (UniqueConstraint("gate_id", "counts_for"),)

    id: int | None = Field(default=None, primary_key=True)
    gate_id: str = Field(foreign_key="gate.id", index=True)
    verdict: Verdict
    person_id: int = Field(foreign_key="person.id")
    counts_for: int = Field(foreign_key="person.id")
    """Whose vote it is: their own, or that of whoever delegated to them. Each has one at a gate."""
    person: str
    """Name and address as they were then."""
    digest: str
    reason: str
    withheld: list[str] = Field(default_factory=list, sa_type=JSON)
    """Items of the gate that stay while the rest goes: what this person took out, and those who approved before."""
    decided_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Delegation(SiteTable, table=True):
    """Somebody else may decide in a person's place for a while."""

    id: int | None = Field(default=None, primary_key=True)
    from_person: int = Field(foreign_key="person.id", index=True)
    to_person: int = Field(foreign_key="person.id", index=True)
    gate_name: str | None = None
    """The kind of gate; None: all."""
    until: datetime = Field(sa_type=UtcDateTime)
    reason: str = ""
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class GateEvent(SiteTable, table=True):
    """What happened around a gate beside decisions. Rows are never changed or deleted."""

    __tablename__ = "gate_event"

    id: int | None = Field(default=None, primary_key=True)
    gate_id: str = Field(foreign_key="gate.id", index=True)
    kind: str
    """`opened`, `superseded`, `reminded`, `expired`, `renewed`, `refused`."""
    detail: str = ""
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Execution(SiteTable, table=True):
    """One model on one dataset in one benchmark."""

    __table_args__ = (UniqueConstraint("identity", "benchmark_id", "model_id"),)

    id: int | None = Field(default=None, primary_key=True)
    identity: str = Field(index=True)
    score: str
    """Identity of the score that was last asked for."""
    benchmark_id: int
    model_id: int
    model_name: str
    model_digest: str
    dataset_id: int
    """The registry's identifier of the dataset."""
    dataset_name: str
    step: Step = Step.INFER
    state: ExecutionState = ExecutionState.RUNNING
    attempt: int = 1
    error_class: ErrorClass | None = None
    exit_code: int | None = None
    message: str = ""
    """For the site's own people; never leaves."""
    started_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ScoreState(StrEnum):
    NEW = "new"
    APPROVED = "approved"
    WITHHELD = "withheld"
    SENT = "sent"


class Score(SiteTable, table=True):
    """The metrics of one execution under one metrics cube."""

    __table_args__ = (UniqueConstraint("identity", "benchmark_id", "model_id"),)

    id: int | None = Field(default=None, primary_key=True)
    identity: str = Field(index=True)
    execution: str
    benchmark_id: int
    model_id: int
    model_name: str
    model_digest: str
    metrics_digest: str
    dataset_id: int
    dataset_name: str
    dataset_root: str
    cases: int
    metrics: dict[str, Any] = Field(sa_type=JSON)
    """Non-finite numbers are tagged strings (cubes.digests)."""
    probe: dict[str, Any] = Field(sa_type=JSON)
    state: ScoreState = Field(default=ScoreState.NEW, index=True)
    started_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime = Field(sa_type=UtcDateTime)


class ProgressConsent(SiteTable, table=True):
    """A data owner's word on whether the registry may hear how far a preparation is. The newest row counts; none is a no.

    Rows are never changed or deleted.
    """

    __tablename__ = "progress_consent"

    id: int | None = Field(default=None, primary_key=True)
    dataset: str = Field(index=True)
    given: bool
    person_id: int = Field(foreign_key="person.id")
    person: str
    """Name and address as they were then."""
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class OutboxState(StrEnum):
    QUEUED = "queued"
    SENT = "sent"
    REFUSED = "refused"
    """The registry answered that it will never take it; a person must look."""


class OutboxItem(SiteTable, table=True):
    """One payload on its way out, and, once handed over, the proof of what left and who allowed it."""

    __tablename__ = "outbox"

    id: int | None = Field(default=None, primary_key=True)
    kind: PayloadKind
    subject: str
    """What it is about, for people: a dataset's or model's name."""
    body: bytes = Field(sa_type=LargeBinary)
    size: int
    sha256: str
    idempotency_key: str = Field(unique=True)
    decision_id: int | None = Field(default=None, foreign_key="decision.id")
    state: OutboxState = Field(default=OutboxState.QUEUED, index=True)
    attempts: int = 0
    not_before: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    last_error: str = ""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    offered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When its bytes were first handed to the network or into a bundle; from then on they may be known elsewhere."""
    sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the site learnt that the registry took it."""

    @property
    def left_at(self) -> datetime | None:
        """Older versions noted only what the registry took."""
        return self.offered_at or self.sent_at


class KeptHead(SiteTable, table=True):
    """A head of the registry's audit chain as this site saw it."""

    id: int | None = Field(default=None, primary_key=True)
    sequence: int
    head: str
    seen_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
