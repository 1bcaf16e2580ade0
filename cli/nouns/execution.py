"""`assay execution`: which models ran on which datasets, and what is outstanding."""

from typing import Annotated, Any

import typer

from cli.connect import at_site, registry, site, site_store
from cli.errors import FailedError
from cli.options import DAY_S, AtSite, Json, Timeout, noun
from cli.output import Column, digest, emit_json, emit_list, plain, say, when

app = noun("Executions: list, run what is outstanding, retry, trail of digests.")
Benchmark = Annotated[str | None, typer.Option("--benchmark", "-b", help="Only this benchmark: name or number.")]
Dataset = Annotated[str | None, typer.Option("--dataset", "-d", help="Only this dataset.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Only this model: name or number.")]

_COLUMNS = (
    Column("model", "model_name"),
    Column("dataset", "dataset_name"),
    Column("step", "step"),
    Column("state", "state"),
    Column("attempt", "attempt"),
    Column("error", "error_class"),
    Column("exit code", "exit_code"),
    Column("started (UTC)", "started_at", when),
    Column("execution", "identity", digest),
)
_OUTSTANDING = (
    Column("model", "model_name"),
    Column("dataset", "dataset_name"),
    Column("benchmark", "benchmark_name"),
    Column("priority", "priority"),
    Column("execution", "identity", digest),
)


@app.command("list")
def list_executions(
    *,
    outstanding: Annotated[
        bool, typer.Option("--outstanding", help="At the site: what has not run and is not under way.")
    ] = False,
    benchmark: Benchmark = None,
    dataset: Dataset = None,
    model: Model = None,
    site: AtSite = None,
    as_json: Json = False,
) -> None:
    """Executions in their newest state, at the site with the message that never leaves it."""
    if outstanding:
        found = _outstanding(benchmark, dataset, model)
        emit_list(found, _OUTSTANDING, as_json=as_json, empty="Nothing is outstanding.")
        return
    found = [
        item
        for item in (_here() if at_site(site) else _at_registry())
        if benchmark in {None, str(item["benchmark_id"]), item.get("benchmark_name")}
        and dataset in {None, item["dataset_name"]}
        and model in {None, item["model_name"], str(item["model_id"])}
    ]
    emit_list(found, _COLUMNS, as_json=as_json, empty="No executions.")


@app.command()
def run(
    *,
    benchmark: Benchmark = None,
    dataset: Dataset = None,
    model: Model = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also those that failed.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all have ended, through the gates.")] = False,
    timeout: Timeout = DAY_S,
    as_json: Json = False,
) -> None:
    """Ask for what is outstanding at the site. A data owner still decides at each gate; asking twice runs nothing twice."""
    from agents.orders import Choice, order_executions
    from cli.waiting import require_good_end, wait_for_job

    with site_store("start") as here, site() as whole:
        ordered = order_executions(
            whole, Choice(benchmark, dataset, model), requested_by=here.person.id, retry_failed=retry_failed
        )
        if wait:
            ordered = [wait_for_job(here.store, job.id, through_gates=True, timeout_s=timeout)[0] for job in ordered]
    if as_json:
        emit_json(ordered)
    elif not ordered:
        say("Nothing is outstanding.")
    for job in ordered:
        if not as_json:
            say(f"{len(job.parameters['models'])} model(s) on {job.subject}: job {job.id[:8]}, {job.state.value}.")
        if wait:
            require_good_end(job)


@app.command()
def retry(*, benchmark: Benchmark = None, dataset: Dataset = None, model: Model = None, as_json: Json = False) -> None:
    """Ask again for what failed: the same as `run --retry-failed`."""
    run(benchmark=benchmark, dataset=dataset, model=model, retry_failed=True, as_json=as_json)


@app.command()
def trail(
    execution: Annotated[
        str, typer.Argument(metavar="EXECUTION", help="Its digest, or the first eight of its digits.")
    ],
    *,
    as_json: Json = False,
) -> None:
    """From what was registered to what left: each digest of one execution at this site. Exit code 10: one does not fit."""
    from dataclasses import asdict

    from agents.trail import find_one, trail_of

    with site_store() as here, site() as whole:
        with here.store.read() as session:
            found = find_one(session, execution)
        links = trail_of(whole, found)
    columns = (
        Column("moment", "moment"),
        Column("what", "what"),
        Column("digest", "digest"),
        Column("fits", "fits", lambda value: "yes" if value else "NO"),
        Column("", "note"),
    )
    emit_list([asdict(link) for link in links], columns, as_json=as_json, empty="Nothing is known of it.")
    if broken := [link for link in links if not link.fits]:
        raise FailedError(f"the {broken[0].what} that was {broken[0].moment} does not fit: {broken[0].digest}")


def _here() -> list[dict[str, Any]]:
    from agents.store.executions import describe
    from agents.store.executions import list_executions as all_executions
    from cli.connect import benchmark_names

    with site_store() as here, here.store.read() as session:
        names = benchmark_names(here.home)
        return [{**describe(item), "benchmark_name": names.get(item.benchmark_id)} for item in all_executions(session)]


def _at_registry() -> list[dict[str, Any]]:
    with registry() as client:
        names = {item.id: item.name for item in client.benchmarks.all()}
        return [{**plain(item), "benchmark_name": names.get(item.benchmark_id)} for item in client.executions.all()]


def _outstanding(benchmark: str | None, dataset: str | None, model: str | None) -> list[dict[str, Any]]:
    from agents.orders import Choice, list_outstanding

    with site_store(), site() as whole:
        return [
            {
                "identity": unit.identity,
                "score": unit.score,
                "benchmark_id": unit.benchmark.benchmark_id,
                "benchmark_name": unit.benchmark.name,
                "model_id": unit.model.model_id,
                "model_name": unit.model.name,
                "dataset_name": unit.dataset.name,
                "priority": unit.model.priority,
            }
            for unit in list_outstanding(whole, Choice(benchmark, dataset, model))
        ]
