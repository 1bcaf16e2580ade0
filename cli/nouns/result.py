"""`assay result`: what executions measured; at a site also what has not left, or never will."""

from typing import Annotated, Any

import typer

from cli.connect import at_site, benchmark_names, registry, site_store
from cli.options import AtSite, Json, noun
from cli.output import Column, emit_list, number, plain
from cli.render import emit_one

app = noun("Results: list, show.")


@app.command("list")
def list_results(
    dataset: Annotated[str | None, typer.Option("--dataset", help="Only this dataset.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only this model.")] = None,
    *,
    benchmark: Annotated[str | None, typer.Option("--benchmark", help="Only this benchmark.")] = None,
    site: AtSite = None,
    as_json: Json = False,
) -> None:
    """Results: at a site all that were computed here, at the registry those that you may see."""
    found = _here() if at_site(site) else _at_registry()
    chosen = [
        item
        for item in found
        if dataset in {None, item["dataset_name"]}
        and model in {None, item["model_name"], str(item["model_id"])}
        and benchmark in {None, item.get("benchmark_name"), str(item["benchmark_id"])}
    ]
    emit_list(chosen, _columns(chosen), as_json=as_json, empty="No results.")


@app.command()
def show(
    result: Annotated[int, typer.Argument(metavar="RESULT", help="The result's number.")],
    *,
    site: AtSite = None,
    as_json: Json = False,
) -> None:
    """One result: metrics, digests, and the isolation under which it was made; at a site also what stays there."""
    if at_site(site):
        from agents.measured import more_of
        from agents.store.executions import get_score

        with site_store() as here, here.store.read() as session:
            score = get_score(session, result)
            emit_one({**plain(score), "more_that_stays_here": more_of(here.home, score)}, as_json=as_json)
    else:
        with registry() as client:
            emit_one(client.results.get(result), as_json=as_json)


def _here() -> list[dict[str, Any]]:
    from agents.store.executions import scores_in
    from agents.store.tables import ScoreState

    with site_store() as here, here.store.read() as session:
        names = benchmark_names(here.home)
        return [
            {**plain(score), "benchmark_name": names.get(score.benchmark_id)}
            for score in scores_in(session, *ScoreState)
        ]


def _at_registry() -> list[dict[str, Any]]:
    with registry() as client:
        names = {benchmark.id: benchmark.name for benchmark in client.benchmarks.all()}
        return [{**plain(item), "benchmark_name": names.get(item.benchmark_id)} for item in client.results.all()]


def _columns(items: list[dict[str, Any]]) -> list[Column]:
    """Fixed columns, and one for each metric that occurs."""
    metrics = dict.fromkeys(name for item in items for name in item["metrics"])
    state = [Column("state", "state")] if any("state" in item for item in items) else []
    return [
        Column("result", "id"),
        Column("model", "model_name"),
        Column("dataset", "dataset_name"),
        *state,
        Column("cases", "cases"),
        *(Column(name, ("metrics", name), number) for name in metrics),
    ]
