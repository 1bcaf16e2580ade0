"""Gates and the decisions at them."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, UniqueConstraint
from sqlmodel import Field

from api.core.database import RegistryTable
from api.schemas.benchmarks import GateKind, GateState, Verdict
from api.storage.columns import UtcDateTime, now, word_of


class Gate(RegistryTable, table=True):
    """A place where people must decide about exactly `shown`."""

    __tablename__ = "gate"

    id: int | None = Field(default=None, primary_key=True)
    kind: GateKind = Field(sa_type=word_of(GateKind))
    subject_id: int = Field(index=True)
    benchmark_id: int = Field(foreign_key="benchmark.id", index=True)
    title: str
    shown: dict[str, Any] = Field(sa_type=JSON)
    digest: str
    revision: int = 1
    """Grows whenever what is shown changes: decisions about an earlier revision no longer count."""
    requested_by: int = Field(foreign_key="user_account.id")
    quorum: int
    state: GateState = Field(default=GateState.OPEN, sa_type=word_of(GateState), index=True)
    verdict: Verdict | None = Field(default=None, sa_type=word_of(Verdict))
    flow_run_id: str | None = None
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Decision(RegistryTable, table=True):
    """What one person decided. Triggers refuse to change or delete it."""

    __tablename__ = "decision"
    # The second also lets one of two simultaneous decisions of the same person fail.
    __table_args__ = (UniqueConstraint("gate_id", "revision", "user_id"), {"info": {"append_only": True}})

    id: int | None = Field(default=None, primary_key=True)
    gate_id: int = Field(foreign_key="gate.id")
    revision: int
    user_id: int | None = Field(default=None, foreign_key="user_account.id", index=True)
    user_name: str
    """Name and address as they were then."""
    digest: str
    verdict: Verdict = Field(sa_type=word_of(Verdict))
    reason: str
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
