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
    """Nothing that came later is in it."""
    leaderboard: dict[str, Any] = Field(sa_type=JSON)
    released_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class ReleaseResult(RegistryTable, table=True):
    """A result that a release counts, as its gate showed. Triggers refuse to change or delete it."""

    __tablename__ = "release_result"
    __table_args__ = ({"info": {"append_only": True}},)

    release_id: int = Field(foreign_key="leaderboard_release.id", primary_key=True)
    result_id: int = Field(foreign_key="result.id", primary_key=True, index=True)
