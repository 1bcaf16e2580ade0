"""Benchmarks and their committees."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from api.core.database import RegistryTable
from api.schemas.benchmarks import BenchmarkState
from api.storage.columns import UtcDateTime, now, word_of


class Benchmark(RegistryTable, table=True):
    __tablename__ = "benchmark"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    title: str
    clinical_setting: str
    task: str
    labelling_method: str
    inclusion_criteria: str
    documentation: str
    metrics: list[dict[str, Any]] = Field(sa_type=JSON)
    primary_metric: str
    preparator_cube_id: int = Field(foreign_key="cube.id")
    metrics_cube_id: int = Field(foreign_key="cube.id")
    reference_model_id: int | None = Field(default=None, foreign_key="model.id")
    demo_dataset_digest: str
    minimum_cases: int
    model_policy: dict[str, Any] = Field(sa_type=JSON)
    dataset_policy: dict[str, Any] = Field(sa_type=JSON)
    image_keys: list[str] = Field(default=[], sa_type=JSON)
    model_owner_consent: bool
    owner_id: int = Field(foreign_key="user_account.id", index=True)
    state: BenchmarkState = Field(default=BenchmarkState.DRAFT, sa_type=word_of(BenchmarkState), index=True)
    released_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Membership(RegistryTable, table=True):
    """A person on a benchmark's committee."""

    __tablename__ = "committee_member"

    benchmark_id: int = Field(foreign_key="benchmark.id", primary_key=True)
    user_id: int = Field(foreign_key="user_account.id", primary_key=True, index=True)
    added_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
