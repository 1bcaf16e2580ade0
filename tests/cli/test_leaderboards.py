"""A leaderboard as a table and as CSV: no claim about a model that never ran."""

import csv
import io

import pytest

from api.nouns.leaderboard.ranking import Contest, Measured, Place, rank
from api.schemas.benchmarks import Aggregation, Leaderboard
from cli.leaderboards import emit_leaderboard
from cubes.metrics import MetricSchema

AUROC = MetricSchema(name="auroc")


@pytest.fixture
def board() -> Leaderboard:
    """One model that ran, one that did not."""
    contest = Contest(
        metrics=[AUROC],
        primary=AUROC,
        models={1: "ran", 2: "idle"},
        datasets={1: Place("north/cases", 1, 10)},
        measured=[Measured(1, 1, {"auroc": 0.5}, isolated=True)],
    )
    return Leaderboard(
        benchmark_id=1,
        benchmark_name="fna",
        primary_metric="auroc",
        metrics=[AUROC],
        method={"auroc": Aggregation.WEIGHTED_MEAN},
        not_counted={},
        sites=1,
        cases=10,
        unmeasured=0,
        withheld=0,
        released_at=None,
        rows=rank(contest),
    )


class TestIsolated:
    def test_people_read_a_dash(self, board: Leaderboard, capsys: pytest.CaptureFixture[str]) -> None:
        emit_leaderboard(board, as_csv=False, as_json=False)
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert [(line[1], line[-1]) for line in lines if line[1:2] in (["model"], ["ran"], ["idle"])] == [
            ("model", "isolated"),
            ("ran", "yes"),
            ("idle", "-"),
        ]

    def test_spreadsheets_have_an_empty_cell(self, board: Leaderboard, capsys: pytest.CaptureFixture[str]) -> None:
        emit_leaderboard(board, as_csv=True, as_json=False)
        rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
        assert [(row["model"], row["isolated"]) for row in rows] == [("ran", "True"), ("idle", "")]
