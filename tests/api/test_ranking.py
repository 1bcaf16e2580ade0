"""How results become ranks."""

import math
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from api.nouns.leaderboard.ranking import Contest, Measured, Place, method, rank
from api.schemas.benchmarks import Aggregation, LeaderboardRow
from cubes.contract import load_contract
from cubes.metrics import Direction, MetricSchema

AUROC = MetricSchema(name="auroc")
ACCURACY = MetricSchema(name="accuracy", decomposable=True)
BRIER = MetricSchema(name="brier", direction=Direction.LOWER, decomposable=True)
PLACES = {1: Place("north/cases", 1, 100), 2: Place("south/cases", 2, 300)}

Values = Mapping[str, Mapping[int, float]]
"""Model to dataset to the value of the primary metric."""


def _rank(
    values: Values, primary: MetricSchema = AUROC, *, not_isolated: set[str] | None = None
) -> dict[str, LeaderboardRow]:
    numbers = {name: number for number, name in enumerate(values, start=1)}
    contest = Contest(
        metrics=[primary],
        primary=primary,
        models={number: name for name, number in numbers.items()},
        datasets=PLACES,
        measured=[
            Measured(numbers[name], dataset, {primary.name: value}, name not in (not_isolated or set()))
            for name, own in values.items()
            for dataset, value in own.items()
        ],
    )
    return {row.model_name: row for row in rank(contest)}


def _ranks(values: Values, primary: MetricSchema = AUROC) -> list[tuple[str, int]]:
    return [(name, row.rank) for name, row in _rank(values, primary).items()]


class TestMean:
    def test_datasets_weigh_as_many_cases_as_they_have(self) -> None:
        row = _rank({"a": {1: 0.5, 2: 0.9}})["a"]
        assert row.metrics["auroc"] == pytest.approx((0.5 * 100 + 0.9 * 300) / 400)
        assert (row.sites, row.cases) == (2, 400)

    def test_each_datasets_own_value_is_kept(self) -> None:
        assert _rank({"a": {1: 0.5, 2: 0.9}})["a"].per_dataset == {
            "north/cases": {"auroc": 0.5},
            "south/cases": {"auroc": 0.9},
        }

    def test_a_single_dataset_is_its_own_mean_exactly(self) -> None:
        assert _rank({"a": {2: 0.1 + 0.2}})["a"].metrics["auroc"] == 0.1 + 0.2

    def test_large_numbers_do_not_overflow(self) -> None:
        assert _rank({"a": {1: 1e308, 2: 1e308}})["a"].metrics["auroc"] == pytest.approx(1e308)

    @pytest.mark.parametrize(
        ("value", "sizes"),
        [
            (1.0, [41, 43, 12, 27, 1]),
            (0.9, [1, 2, 3, 5, 7, 11, 13, 49]),
            (-0.3, [1, 2, 3, 5, 7, 11, 13, 49]),
            (0.0, [41, 43]),
        ],
    )
    def test_it_is_what_all_datasets_say_when_they_say_the_same(self, value: float, sizes: list[int]) -> None:
        """To the last bit: rounding makes nobody better than perfect."""
        contest = Contest(
            metrics=[ACCURACY],
            primary=ACCURACY,
            models={1: "same"},
            datasets={number: Place(f"site-{number}/cases", number, size) for number, size in enumerate(sizes)},
            measured=[Measured(1, number, {"accuracy": value}, isolated=True) for number in range(len(sizes))],
        )
        assert rank(contest)[0].metrics["accuracy"] == value

    def test_a_dataset_on_which_it_is_defined_for_nobody_does_not_count(self) -> None:
        rows = _rank({"a": {1: math.nan, 2: 0.9}, "b": {1: math.nan, 2: 0.8}})
        assert (rows["a"].metrics["auroc"], rows["a"].rank) == (0.9, 1)

    def test_nobody_gains_by_an_undefined_value_where_others_have_one(self) -> None:
        rows = _rank({"gamed": {1: math.nan, 2: 0.99}, "honest": {1: 0.5, 2: 0.9}})
        assert math.isnan(rows["gamed"].metrics["auroc"])
        assert (rows["honest"].rank, rows["gamed"].rank) == (1, 2)

    def test_a_model_without_results_has_no_number(self) -> None:
        row = _rank({"a": {1: 0.5}, "broken": {}})["broken"]
        assert math.isnan(row.metrics["auroc"])
        assert (row.sites, row.cases, row.complete, row.per_dataset) == (0, 0, False, {})


class TestMethod:
    def test_a_mean_over_cases_is_called_pooled(self) -> None:
        assert method(ACCURACY) == Aggregation.POOLED

    def test_what_cannot_be_pooled_is_not_called_so(self) -> None:
        assert method(AUROC) == Aggregation.WEIGHTED_MEAN


class TestRank:
    def test_higher_is_better_where_the_metric_says_so(self) -> None:
        assert _ranks({"a": {1: 0.1}, "b": {1: 0.2}}) == [("b", 1), ("a", 2)]

    def test_lower_is_better_where_the_metric_says_so(self) -> None:
        assert _ranks({"b": {1: 0.2}, "a": {1: 0.1}}, BRIER) == [("a", 1), ("b", 2)]

    def test_equals_share_a_rank_and_the_next_counts_them(self) -> None:
        assert _ranks({"c": {1: 0.5}, "b": {1: 0.7}, "a": {1: 0.7}}) == [("a", 1), ("b", 1), ("c", 3)]

    def test_the_last_bits_of_a_sum_make_no_difference(self) -> None:
        assert _ranks({"a": {1: 0.3}, "b": {1: 0.1 + 0.2}}) == [("a", 1), ("b", 1)]

    def test_what_is_not_a_number_comes_last(self) -> None:
        assert _ranks({"a": {1: math.nan}, "b": {1: 0.1}, "c": {1: math.nan}}) == [("b", 1), ("a", 2), ("c", 2)]

    @pytest.mark.parametrize(("primary", "first"), [(AUROC, "a"), (BRIER, "b")])
    def test_infinity_follows_the_direction(self, primary: MetricSchema, first: str) -> None:
        assert _ranks({"a": {1: math.inf}, "b": {1: 0.0}}, primary)[0] == (first, 1)

    def test_infinities_of_both_signs_are_no_number(self) -> None:
        assert _ranks({"a": {1: math.inf, 2: -math.inf}, "b": {1: 0.0, 2: 0.0}}) == [("b", 1), ("a", 2)]

    def test_who_did_not_run_everywhere_is_not_above_who_did(self) -> None:
        rows = _rank({"easy": {1: 0.99}, "whole": {1: 0.9, 2: 0.8}})
        assert [(name, row.rank, row.complete) for name, row in rows.items()] == [
            ("whole", 1, True),
            ("easy", 2, False),
        ]

    def test_a_dataset_that_nobody_ran_on_yet_makes_nobody_incomplete(self) -> None:
        assert _rank({"a": {1: 0.5}})["a"].complete

    def test_without_any_result_everybody_is_first(self) -> None:
        assert _ranks({"b": {}, "a": {}}) == [("a", 1), ("b", 1)]


class TestIsolated:
    def test_one_result_without_isolation_marks_the_row(self) -> None:
        rows = _rank({"a": {1: 0.5}, "b": {1: 0.5}}, not_isolated={"b"})
        assert (rows["a"].isolated, rows["b"].isolated) == (True, False)

    def test_a_model_that_never_ran_claims_nothing(self) -> None:
        assert _rank({"a": {1: 0.5}, "idle": {}})["idle"].isolated is None

    def test_neither_does_it_where_an_earlier_release_says_so(self) -> None:
        row = _rank({"a": {1: 0.5}, "idle": {}})["idle"].model_dump(mode="json")
        assert LeaderboardRow.model_validate({**row, "isolated": True}).isolated is None


def _case(number: int) -> tuple[float, int]:
    """A probability and a label that somewhat follows it."""
    probability = (number * 37 % 101) / 100
    return probability, int((number * 53 % 97) / 97 < 0.8 * probability + 0.1)


@pytest.fixture(scope="module")
def measure() -> Callable[[list[tuple[float, int]]], dict[str, float]]:
    """The reference benchmark's own metrics."""
    measured: Callable[[list[tuple[float, int]]], dict[str, float]] = runpy.run_path(
        str(Path(__file__).parents[2] / "cubes/breast_fna/metrics/evaluate.py")
    )["metrics"]
    return measured


class TestAgainstAllCases:
    """Four hospitals' cases: what the registry makes of their metrics alone, held against the cases themselves.

    Oracle: scikit-learn 1.9.1 and numpy 2.4.6 (`roc_auc_score` of each, `average` by cases; the others of all together).
    """

    CASES: Final = {
        "a": [_case(number) for number in range(40)],
        "b": [_case(number) for number in range(40, 100)],
        "c": [_case(number) for number in range(100, 200)],
        "healthy": [(_case(number)[0], 0) for number in range(200, 220)],
    }

    @pytest.fixture
    def contest(self, measure: Callable[[list[tuple[float, int]]], dict[str, float]]) -> Contest:
        metrics = load_contract(Path(__file__).parents[2] / "cubes/breast_fna/metrics").metrics
        return Contest(
            metrics=metrics,
            primary=metrics[0],
            models={1: "net"},
            datasets={n: Place(name, n, len(cases)) for n, (name, cases) in enumerate(self.CASES.items())},
            measured=[Measured(1, n, measure(cases), isolated=True) for n, cases in enumerate(self.CASES.values())],
        )

    def test_what_is_called_pooled_is_that_of_all_cases(self, contest: Contest) -> None:
        (row,) = rank(contest)
        assert {m.name for m in contest.metrics if method(m) == Aggregation.POOLED} == {"accuracy", "brier"}
        assert row.metrics["accuracy"] == pytest.approx(0.7090909090909091, abs=1e-12)
        assert row.metrics["brier"] == pytest.approx(0.20585863636363635, abs=1e-12)

    def test_a_mean_is_over_the_datasets_where_it_is_defined(self, contest: Contest) -> None:
        (row,) = rank(contest)
        assert row.metrics["auroc"] == pytest.approx(0.7724666666666667, abs=1e-12)
        assert row.metrics["sensitivity"] == pytest.approx(0.7216666666666667, abs=1e-12)

    def test_and_not_what_all_cases_would_give(
        self, contest: Contest, measure: Callable[[list[tuple[float, int]]], dict[str, float]]
    ) -> None:
        """Which is why it is not called so."""
        (row,), together = rank(contest), measure([case for cases in self.CASES.values() for case in cases])
        assert together["auroc"] == pytest.approx(0.7560925066312999, abs=1e-12)
        assert abs(row.metrics["auroc"] - together["auroc"]) > 0.01
        for metric in contest.metrics:
            if method(metric) == Aggregation.POOLED:
                assert row.metrics[metric.name] == pytest.approx(together[metric.name], abs=1e-12)

    def test_what_does_not_count_is_said(self, contest: Contest) -> None:
        assert contest.not_counted == {name: ["healthy"] for name in ("auroc", "auprc", "sensitivity")}
        (row,) = rank(contest)
        assert (row.sites, row.cases) == (4, 220)
