"""How results become ranks. Pure: what goes in decides what comes out.

A metric that is a mean over cases pools exactly. One that is not (AUROC, sensitivity) cannot be computed for all cases
together by anybody who does not have them, so its number is the mean of the datasets' own values, weighted by cases, and is
called that. There is no interval around it: the registry has neither a case nor the classes' sizes, and the datasets' own
values, which differ more between hospitals than chance explains, stand beside it instead. Where a metric is defined for no
model on a dataset (AUROC without positive cases), the dataset does not count for it; where it is undefined for one model
only, that model's number is not defined: nobody gains by failing on hard data.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.schemas.benchmarks import Aggregation, LeaderboardRow
from cubes.metrics import Direction, MetricSchema

_DIGITS = 12
"""Significant ones that count when two models are compared: the last bits depend on the order of a sum."""


@dataclass(frozen=True, slots=True)
class Place:
    """A dataset that counts."""

    name: str
    site_id: int
    cases: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's metrics on one dataset."""

    model_id: int
    dataset_id: int
    metrics: Mapping[str, float]
    isolated: bool


@dataclass(frozen=True, slots=True)
class Contest:
    """Everything that a leaderboard is made of.

    Args:
        models: number to name, of all approved models.
        datasets: number to dataset, of all approved datasets.
        measured: at most one a model and dataset.
    """

    metrics: Sequence[MetricSchema]
    primary: MetricSchema
    models: Mapping[int, str]
    datasets: Mapping[int, Place]
    measured: Sequence[Measured]

    @property
    def measured_datasets(self) -> list[Place]:
        """Those that any model has a result on."""
        return [place for _, place in self._measured]

    @property
    def not_counted(self) -> dict[str, list[str]]:
        """Metric to the measured datasets that do not count for it."""
        found = {
            metric.name: [place.name for number, place in self._measured if not self.counts(metric.name, number)]
            for metric in self.metrics
        }
        return {metric: names for metric, names in found.items() if names}

    def counts(self, metric: str, dataset_id: int) -> bool:
        """Whether a metric is defined on a dataset for any model."""
        here = (m.metrics[metric] for m in self.measured if m.dataset_id == dataset_id)
        return any(not math.isnan(value) for value in here)

    @property
    def _measured(self) -> list[tuple[int, Place]]:
        return [(number, self.datasets[number]) for number in sorted({m.dataset_id for m in self.measured})]


def method(metric: MetricSchema) -> Aggregation:
    return Aggregation.POOLED if metric.decomposable else Aggregation.WEIGHTED_MEAN


def rank(contest: Contest) -> list[LeaderboardRow]:
    """Rows in order: complete before incomplete, better before worse, what is not a number last.

    Rows that are equal in all of that share a rank, and the next rank counts them all (1, 1, 3).
    """
    rows = [_row(contest, number, name) for number, name in contest.models.items()]
    rows.sort(key=lambda row: (_order(contest.primary, row), row.model_name))
    ranked: list[LeaderboardRow] = []
    for position, row in enumerate(rows, start=1):
        ties = ranked and _order(contest.primary, ranked[-1]) == _order(contest.primary, row)
        ranked.append(row.model_copy(update={"rank": ranked[-1].rank if ties else position}))
    return ranked


def _row(contest: Contest, model_id: int, name: str) -> LeaderboardRow:
    own = [m for m in contest.measured if m.model_id == model_id]
    places = [contest.datasets[m.dataset_id] for m in own]
    return LeaderboardRow(
        rank=0,
        model_id=model_id,
        model_name=name,
        sites=len({place.site_id for place in places}),
        cases=sum(place.cases for place in places),
        complete=bool(own) and len(own) == len(contest.measured_datasets),
        metrics={metric.name: _mean(contest, metric.name, own) for metric in contest.metrics},
        per_dataset={place.name: dict(m.metrics) for place, m in zip(places, own, strict=True)},
        isolated=all(m.isolated for m in own) if own else None,
    )


def _mean(contest: Contest, metric: str, own: Sequence[Measured]) -> float:
    counting = [m for m in own if contest.counts(metric, m.dataset_id)]
    total = sum(contest.datasets[m.dataset_id].cases for m in counting)
    if not total:
        return math.nan
    values = [m.metrics[metric] for m in counting]
    weights = [contest.datasets[m.dataset_id].cases / total for m in counting]
    parts = [value * weight for value, weight in zip(values, weights, strict=True)]
    if not all(map(math.isfinite, values)):
        return sum(parts)
    # Rounded weights may add up to a little more than one: accuracy is never above the best of its datasets.
    return min(max(math.fsum(parts), min(values)), max(values))


def _order(primary: MetricSchema, row: LeaderboardRow) -> tuple[bool, bool, float]:
    value = row.metrics[primary.name]
    if math.isnan(value):
        return not row.complete, True, 0.0
    rounded = float(f"{value:.{_DIGITS}g}")
    return not row.complete, False, -rounded if primary.direction == Direction.HIGHER else rounded
