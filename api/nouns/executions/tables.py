"""Executions: the newest state of each step, as the site tells it."""

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from api.core.database import RegistryTable
from api.schemas.border import ErrorClass, ExecutionState, Step
from api.storage.columns import UtcDateTime, now, word_of


class Execution(RegistryTable, table=True):
    __tablename__ = "execution"
    __table_args__ = (UniqueConstraint("benchmark_id", "model_id", "dataset_id", "identity", "step"),)

    id: int | None = Field(default=None, primary_key=True)
    identity: str
    benchmark_id: int = Field(foreign_key="benchmark.id")
    model_id: int = Field(foreign_key="model.id", index=True)
    dataset_id: int = Field(foreign_key="dataset.id", index=True)
    step: Step = Field(sa_type=word_of(Step))
    state: ExecutionState = Field(sa_type=word_of(ExecutionState), index=True)
    attempt: int
    started_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    exit_code: int | None = None
    error_class: ErrorClass | None = Field(default=None, sa_type=word_of(ErrorClass))
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
