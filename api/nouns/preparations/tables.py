"""Preparations: the fraction of cases per status, the newest that a site told."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, UniqueConstraint
from sqlmodel import Field

from api.core.database import RegistryTable
from api.storage.columns import UtcDateTime, now


class Preparation(RegistryTable, table=True):
    __tablename__ = "preparation"
    __table_args__ = (UniqueConstraint("site_id", "benchmark_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    benchmark_id: int = Field(foreign_key="benchmark.id", index=True)
    site_id: int = Field(foreign_key="site.id")
    name: str
    """Of the dataset that it is to become."""
    fractions: dict[str, Any] = Field(sa_type=JSON)
    measured_at: datetime = Field(sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
