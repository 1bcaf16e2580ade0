"""Metrics: what a metrics cube may report, and how its report is read."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MetricName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class Direction(StrEnum):
    HIGHER = "higher"
    LOWER = "lower"


class MetricSchema(BaseModel):
    """One metric: what it is called, which way is better, where it lies.

    `decomposable` says whether the metric of a union of cases is the mean over cases of per-case values
    (accuracy and the Brier score are, AUROC is not): only then may a leaderboard pool it over sites by cases.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=True)

    name: MetricName
    title: str = Field(default="", max_length=100)
    direction: Direction = Direction.HIGHER
    minimum: float | None = None
    maximum: float | None = None
    unit: str = Field(default="1", max_length=20)
    decomposable: bool = False
