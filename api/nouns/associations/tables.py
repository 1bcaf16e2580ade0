"""Associations: a model's or a dataset's place in a benchmark, with everything that became of it."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, UniqueConstraint
from sqlmodel import Field

from api.core.database import RegistryTable
from api.schemas.benchmarks import AssociationKind, AssociationState
from api.storage.columns import UtcDateTime, now, word_of


class Association(RegistryTable, table=True):
    """One row a pair; asked for again after an end, it is the same row, and its history tells so."""

    __tablename__ = "association"
    __table_args__ = (
        UniqueConstraint("benchmark_id", "model_id"),
        UniqueConstraint("benchmark_id", "dataset_id"),
        CheckConstraint("(model_id IS NULL) <> (dataset_id IS NULL)", name="one_subject"),
    )

    id: int | None = Field(default=None, primary_key=True)
    benchmark_id: int = Field(foreign_key="benchmark.id")
    kind: AssociationKind = Field(sa_type=word_of(AssociationKind))
    model_id: int | None = Field(default=None, foreign_key="model.id", index=True)
    dataset_id: int | None = Field(default=None, foreign_key="dataset.id", index=True)
    requested_by: int = Field(foreign_key="user_account.id")
    invited: bool = False
    """Whether the committee asked and the owner decides; otherwise it is the other way round."""
    note: str = ""
    compatibility: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    state: AssociationState = Field(sa_type=word_of(AssociationState), index=True)
    priority: int = 0
    consented_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Change(RegistryTable, table=True):
    """One step of an association's history. Triggers refuse to change or delete it."""

    __tablename__ = "association_change"
    __table_args__ = ({"info": {"append_only": True}},)

    id: int | None = Field(default=None, primary_key=True)
    association_id: int = Field(foreign_key="association.id", index=True)
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    state: AssociationState = Field(sa_type=word_of(AssociationState))
    by: int | None = Field(default=None, foreign_key="user_account.id")
    reason: str
