"""Models through the whole pipeline on a benchmark's demo dataset, with a report for each."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.connect import find, quiet_logs, registry
from cli.errors import FailedError
from cli.output import Column, emit_list, note, number
from cli.progress import working

if TYPE_CHECKING:
    from api.schemas.benchmarks import BenchmarkPublic, Compatibility
    from api.schemas.cubes import ModelPublic


def run_checks(models: Sequence[str], benchmark: str, folder: Path, *, as_json: bool) -> None:
    """Check models, write a report for each that ran, say what each measured.

    Raises:
        FailedError: a model failed; the reports of the others are there.
    """
    from cli.processes.bench import check_models

    with registry() as client:
        found = find(client.benchmarks, "benchmark", benchmark)
        wanted = [find(client.models, "model", name) for name in models]
        with quiet_logs(), working(f"checking against {found.name}") as tell:
            outcomes = check_models(client, found, wanted, tell=tell)
    records = [_record(found, model, outcome, folder) for model, outcome in zip(wanted, outcomes, strict=True)]
    columns = (
        Column("model", "model_name"),
        *(Column(metric.name, ("metrics", metric.name), number) for metric in found.metrics),
        Column("report", "report"),
        Column("problem", "problem"),
    )
    emit_list(records, columns, as_json=as_json, empty="Nothing was checked.")
    failed = [record["model_name"] for record in records if record["problem"]]
    if failed:
        raise FailedError(
            f"{', '.join(failed)} failed on the demo dataset of {found.name!r}: mend the cube, check again"
        )
    if not as_json:
        note(f"Next: assay association request MODEL --benchmark {found.name} --compatibility REPORT")


def _record(
    benchmark: "BenchmarkPublic", model: "ModelPublic", outcome: "Compatibility | str", folder: Path
) -> dict[str, Any]:
    """What one model measured, or why it did not; with its report's file."""
    named = {"model_id": model.id, "model_name": model.name, "benchmark": benchmark.name}
    if isinstance(outcome, str):
        return {**named, "metrics": {}, "report": None, "problem": outcome}
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / f"{model.name}.{benchmark.name}.compatibility.json"
    report.write_text(outcome.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return {**named, **outcome.model_dump(mode="json"), "report": str(report), "problem": None}
