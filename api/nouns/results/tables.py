"""Results: the metrics that a named person at a site let go."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, UniqueConstraint
from sqlmodel import Field

from api.core.database import RegistryTable
from api.schemas.border import Isolation
from api.storage.columns import UtcDateTime, now, word_of


class Result(RegistryTable, table=True):
    """Evidence: triggers refuse to change or delete it. A new metrics cube gives a new result beside it."""

    __tablename__ = "result"
    # The same cube may be registered as two models, and one dataset's files for two benchmarks.
    __table_args__ = (
        UniqueConstraint("score", "benchmark_id", "model_id", "dataset_id"),
        {"info": {"append_only": True}},
    )

    id: int | None = Field(default=None, primary_key=True)
    execution: str
    score: str
    benchmark_id: int = Field(foreign_key="benchmark.id", index=True)
    model_id: int = Field(foreign_key="model.id", index=True)
    dataset_id: int = Field(foreign_key="dataset.id", index=True)
    metrics_cube_id: int = Field(foreign_key="cube.id")
    model_digest: str
    metrics_digest: str
    dataset_root: str
    metrics: dict[str, Any] = Field(sa_type=JSON)
    """Non-finite numbers tagged, since JSON cannot carry them."""
    cases: int = Field(sa_type=BigInteger)
    started_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime = Field(sa_type=UtcDateTime)
    isolation: Isolation = Field(sa_type=word_of(Isolation))
    probe: dict[str, Any] = Field(sa_type=JSON)
    decision: dict[str, Any] = Field(sa_type=JSON)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
