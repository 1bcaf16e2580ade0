"""Releases: what a committee made visible, as it stood then."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from api.core.database import RegistryTable
from api.storage.columns import UtcDateTime, now


class Release(RegistryTable, table=True):
    """A frozen leaderboard. Triggers refuse to change or delete it; later results need a release of their own."""

    __tablename__ = "leaderboard_release"
    __table_args__ = ({"info": {"append_only": True}},)

    id: int | None = Field(default=None, primary_key=True)
    benchmark_id: int = Field(foreign_key="benchmark.id", index=True)
    gate_id: int = Field(foreign_key="gate.id", unique=True)
    results_up_to: int
    """The newest result that it counts: what came later is not released by it."""
    leaderboard: dict[str, Any] = Field(sa_type=JSON)
    released_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
