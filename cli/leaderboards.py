"""A leaderboard as a table, as JSON, and as CSV."""

import csv
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from cli.output import Column, emit_json, emit_list, number, plain, say, text, when

if TYPE_CHECKING:
    from api.schemas.benchmarks import Leaderboard


def emit_leaderboard(board: "Leaderboard", *, as_csv: bool, as_json: bool) -> None:
    """The rows in the registry's order, and what one has to know to read them."""
    if as_json:
        emit_json(board)
    elif as_csv:
        _write_csv(board)
    else:
        say(f"{board.benchmark_name}: {_standing(board)}")
        emit_list(board.rows, _columns(board), as_json=False, empty="No results yet.")
        for line in _remarks(board):
            say(line)


def _columns(board: "Leaderboard") -> list[Column]:
    others = [metric.name for metric in board.metrics if metric.name != board.primary_metric]
    return [
        Column("rank", "rank"),
        Column("model", "model_name"),
        Column(board.primary_metric, ("metrics", board.primary_metric), number),
        Column("range over datasets", "per_dataset", partial(_range, board.primary_metric)),
        *(Column(metric, ("metrics", metric), number) for metric in others),
        Column("sites", "sites"),
        Column("cases", "cases"),
        *([Column("complete", "complete")] if not all(row.complete for row in board.rows) else []),
        *([Column("isolated", "isolated")] if not all(row.isolated for row in board.rows) else []),
    ]


def _range(metric: str, per_dataset: dict[str, dict[str, Any]]) -> str:
    """The lowest and the highest value that a model has on any one dataset."""
    values = [own[metric] for own in per_dataset.values() if isinstance(own[metric], int | float)]
    return f"{number(min(values))} to {number(max(values))}" if values else "-"


def _standing(board: "Leaderboard") -> str:
    released = f"released {when(board.released_at)} UTC" if board.released_at else "not released"
    directions = {metric.name: metric.direction.value for metric in board.metrics}
    return f"ranked by {board.primary_metric} ({directions.get(board.primary_metric, '-')} is better), {released}"


def _remarks(board: "Leaderboard") -> list[str]:
    means = sorted(name for name, method in board.method.items() if method.value.startswith("mean"))
    pooled = sorted(board.method.keys() - means)
    remarks = [f"{board.sites} site(s), {board.cases} cases."]
    if board.unmeasured:
        remarks.append(f"{board.unmeasured} approved dataset(s) without any result.")
    if pooled:
        remarks.append(f"Of all cases together: {', '.join(pooled)}.")
    if means:
        remarks.append(f"Means over datasets, weighted by cases: {', '.join(means)}.")
    remarks += [
        f"{name}: defined for no model on {', '.join(on)}, which do not count for it."
        for name, on in sorted(board.not_counted.items())
    ]
    if board.rows:
        remarks.append(
            f"Ranks do not say what chance could explain: hold a difference against the range of {board.primary_metric}"
            " over datasets."
        )
    if board.withheld:
        remarks.append(f"{board.withheld} ranked model(s) not shown: their owners have not consented.")
    return remarks


def _write_csv(board: "Leaderboard") -> None:
    """One line a model; numbers in full."""
    names = [metric.name for metric in board.metrics]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["rank", "model", *names, "sites", "cases", "complete", "isolated"])
    for row in map(plain, board.rows):
        writer.writerow(
            [
                row["rank"],
                _cell(row["model_name"]),
                *_numbers(row, names),
                row["sites"],
                row["cases"],
                row["complete"],
                row["isolated"],
            ]
        )


def _numbers(row: dict[str, Any], names: list[str]) -> list[str]:
    return [text(row["metrics"].get(name)) for name in names]


def _cell(value: str) -> str:
    """No cell that a spreadsheet takes for a formula: names of models come from strangers."""
    return f"'{value}" if value[:1] in {"=", "+", "-", "@"} else value
