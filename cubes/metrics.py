"""Metrics: what a metrics cube may report, and how its report is read."""

import math
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

    def allows(self, number: float) -> bool:
        """Whether a number lies within the range; NaN always does: a metric may be undefined."""
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        return math.isnan(number) or low <= number <= high

    def is_bounded_well(self) -> bool:
        """Whether the bounds are finite, and the lower is below the upper."""
        bounds = [bound for bound in (self.minimum, self.maximum) if bound is not None]
        return all(math.isfinite(bound) for bound in bounds) and bounds == sorted(set(bounds))
