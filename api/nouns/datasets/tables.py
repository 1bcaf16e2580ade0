"""Datasets: what a site registered of its prepared data. Digests and approved statistics; never a case."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, UniqueConstraint
from sqlmodel import Field

from api.core.database import RegistryTable
from api.storage.columns import UtcDateTime, now


class Dataset(RegistryTable, table=True):
    __tablename__ = "dataset"
    __table_args__ = (UniqueConstraint("site_id", "benchmark_id", "name", "root"),)

    id: int | None = Field(default=None, primary_key=True)
    name: str
    title: str
    benchmark_id: int = Field(foreign_key="benchmark.id", index=True)
    site_id: int = Field(foreign_key="site.id")
    preparator_digest: str
    root: str
    data_root: str
    labels_root: str
    metadata_root: str | None = None
    cases: int = Field(sa_type=BigInteger)
    statistics: dict[str, Any] = Field(sa_type=JSON)
    decision: dict[str, Any] = Field(sa_type=JSON)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
