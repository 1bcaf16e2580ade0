"""`assay dataset`: from raw folders at a site to a registration at the registry."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.connect import at_site, benchmark_names, find, registry, site_store
from cli.nouns import dataset_cases as cases
from cli.options import DAY_S, AtSite, Json, Timeout, noun
from cli.output import Column, digest, emit_done, emit_list, note, plain, when
from cli.render import emit_one

if TYPE_CHECKING:
    from agents.home import Home

app = noun("Datasets: prepare and register at a site, cases of a staged preparation, list, show.")
app.add_typer(cases.app, name="cases")

_COLUMNS = (
    Column("dataset", "name"),
    Column("title", "title"),
    Column("benchmark", "benchmark_name"),
    Column("cases", "cases"),
    Column("root", "root", digest),
)


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="A short name: lower-case letters, digits, `.`, `_`, `-`.")],
    *,
    benchmark: Annotated[str, typer.Option("--benchmark", "-b", help="For which benchmark: name or number.")],
    data: Annotated[Path, typer.Option("--data", help="Folder of the raw data.")],
    labels: Annotated[Path, typer.Option("--labels", help="Folder of the raw labels.")],
    title: Annotated[str | None, typer.Option("--title", help="A line for people; the name when left out.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is prepared and a person is asked.")] = False,
    timeout: Timeout = DAY_S,
    as_json: Json = False,
) -> None:
    """Prepare raw data for a benchmark. Nothing is said about them outside before a data owner has approved it."""
    from agents.running import agent_process
    from agents.store import datasets, jobs
    from agents.store.tables import JobKind
    from cli.nouns.job import tell_end

    with site_store("start") as here:
        benchmark_id = _benchmark_id(here.home, benchmark)
        with here.store.write() as session:
            datasets.add_dataset(
                session,
                name=_checked_name(name),
                title=title or name,
                benchmark_id=benchmark_id,
                data_path=data,
                labels_path=labels,
                requested_by=here.person.id or 0,
            )
            job = jobs.ask(session, JobKind.PREPARE, subject=name, parameters={}, requested_by=here.person.id)
        if agent_process(here.home) is None:
            note("The agent is not running: the job waits until it is started (`assay agent start`).")
        if wait:
            tell_end(here, job.id, through_gates=False, timeout_s=timeout, as_json=as_json)
        else:
            emit_done(job, f"Asked for. Follow it with `assay job wait {job.id[:8]}`.", as_json=as_json)


@app.command("list")
def list_datasets(*, site: AtSite = None, as_json: Json = False) -> None:
    """Datasets of the site, or those of the registry that you may see."""
    if at_site(site):
        columns = (
            *_COLUMNS,
            Column("state", "state"),
            Column("registered as", "registered_id"),
            Column("note", "message"),
        )
        emit_list(
            _here(), columns, as_json=as_json, empty="No datasets at this site: see `assay dataset prepare --help`."
        )
        return
    with registry() as client:
        names = {item.id: item.name for item in client.benchmarks.all()}
        found = [{**plain(item), "benchmark_name": names.get(item.benchmark_id)} for item in client.datasets.all()]
    emit_list(
        found, (Column("id", "id"), *_COLUMNS, Column("site", "site_name")), as_json=as_json, empty="No datasets."
    )


@app.command()
def show(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Its name; at the registry also its number.")],
    *,
    site: AtSite = None,
    as_json: Json = False,
) -> None:
    """One dataset: statistics, digests, state."""
    if at_site(site):
        from agents.store.datasets import find_dataset

        with site_store() as here, here.store.read() as session:
            emit_one(find_dataset(session, dataset), as_json=as_json)
    else:
        with registry() as client:
            emit_one(find(client.datasets, "dataset", dataset), as_json=as_json)


@app.command()
def progress(
    *,
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", "-b", help="Only for this one: name or number.")
    ] = None,
    as_json: Json = False,
) -> None:
    """How far preparations in stages are, at the registry: what sites tell where their data owner agreed."""
    columns = (
        Column("site", "site_name"),
        Column("dataset", "name"),
        Column("benchmark", "benchmark_name"),
        Column("cases by status", "fractions", _percentages),
        Column("measured (UTC)", "measured_at", when),
    )
    with registry() as client:
        names = {item.id: item.name for item in client.benchmarks.all()}
        number = None if benchmark is None else find(client.benchmarks, "benchmark", benchmark).id
        found = [
            {**plain(item), "benchmark_name": names.get(item.benchmark_id)}
            for item in client.preparations.all(benchmark_id=number)
        ]
    emit_list(found, columns, as_json=as_json, empty="No preparation that you may see.")


def _percentages(fractions: dict[str, float]) -> str:
    return ", ".join(
        f"{status}: {fraction:.0%}" for status, fraction in sorted(fractions.items(), key=lambda i: int(i[0]))
    )


def _here() -> list[dict[str, Any]]:
    from agents.store import datasets

    with site_store() as here, here.store.read() as session:
        names = benchmark_names(here.home)
        return [
            {**plain(item), "benchmark_name": names.get(item.benchmark_id)} for item in datasets.list_datasets(session)
        ]


def _benchmark_id(home: "Home", reference: str) -> int:
    """The number of a benchmark that the registry told this site of."""
    from cli.errors import NotFoundError

    names = benchmark_names(home)
    found = [number for number, name in names.items() if reference in {name, str(number)}]
    if not found:
        listed = ", ".join(sorted(names.values())) or "none yet: is the agent running?"
        raise NotFoundError(f"the registry offers no benchmark {reference!r} to this site; it offers: {listed}")
    return found[0]


def _checked_name(name: str) -> str:
    """The name, if the registry will take it: better said now than after a night of preparation.

    Raises:
        pydantic.ValidationError: it will not.
    """
    from pydantic import TypeAdapter

    from api.schemas.common import Name

    return TypeAdapter(Name).validate_python(name)
