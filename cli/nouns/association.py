"""`assay association`: a model's or dataset's place in a benchmark."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.connect import find, registry
from cli.errors import NotFoundError
from cli.options import Json, noun
from cli.output import Column, emit_done, emit_list, plain, when
from cli.render import emit_one

if TYPE_CHECKING:
    from api.client import RegistryClient

app = noun(
    "Associations of models and datasets with benchmarks: request, list, show, history, withdraw, priority, consent, attach."
)
Kind = Literal["model", "dataset"]
Number = Annotated[int, typer.Argument(metavar="ASSOCIATION", help="Its number, from `assay association list`.")]
Benchmark = Annotated[str | None, typer.Option("--benchmark", "-b", help="Only this benchmark: name or number.")]


@app.command()
def request(
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="The model or dataset: name or number.")],
    *,
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Needed where a model and a dataset share the name.")
    ] = None,
    benchmark: Annotated[str, typer.Option("--benchmark", "-b", help="Which benchmark: name or number.")],
    note: Annotated[str, typer.Option("--note", help="A word to those who decide.")] = "",
    compatibility: Annotated[
        Path | None, typer.Option("--compatibility", metavar="FILE", help="The report of `assay model check`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask that a model or a dataset may take part in a benchmark. Those who ask never decide."""
    from api.schemas.benchmarks import AssociationCreate, Compatibility

    report = None if compatibility is None else Compatibility.model_validate_json(compatibility.read_bytes())
    with registry() as client:
        found_kind, subject_id = _subject(client, subject, kind)
        made = client.associations.create(
            AssociationCreate.model_validate(
                {
                    "benchmark_id": find(client.benchmarks, "benchmark", benchmark).id,
                    "kind": found_kind,
                    "subject_id": subject_id,
                    "note": note,
                    "compatibility": report,
                }
            )
        )
    emit_done(
        made, f"Asked for: association {made.id} of {found_kind} {subject!r} is {made.state.value}.", as_json=as_json
    )


@app.command("list")
def list_associations(
    *,
    benchmark: Benchmark = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only models, or only datasets.")] = None,
    state: Annotated[
        Literal["requested", "approved", "rejected", "withdrawn"] | None, typer.Option("--state", help="Only these.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Associations that you may see."""
    columns = (
        Column("id", "id"),
        Column("benchmark", "benchmark_name"),
        Column("kind", "kind"),
        Column("subject", "subject_name"),
        Column("state", "state"),
        Column("priority", "priority"),
        Column("consent (UTC)", "consented_at", when),
        Column("asked for (UTC)", "created_at", when),
    )
    with registry() as client:
        benchmark_id = None if benchmark is None else find(client.benchmarks, "benchmark", benchmark).id
        names = {item.id: item.name for item in client.benchmarks.all()}
        found = [
            {**plain(item), "benchmark_name": names.get(item.benchmark_id)}
            for item in client.associations.all(benchmark_id=benchmark_id, kind=kind, state=state)
        ]
    emit_list(found, columns, as_json=as_json, empty="No associations.")


@app.command()
def show(association: Number, *, as_json: Json = False) -> None:
    """One association, with what its compatibility check measured."""
    with registry() as client:
        emit_one(client.associations.get(association), as_json=as_json)


@app.command()
def history(association: Number, *, as_json: Json = False) -> None:
    """What became of it, step by step: nothing of this is ever changed."""
    columns = (
        Column("at (UTC)", "at", when),
        Column("state", "state"),
        Column("by user", "by"),
        Column("reason", "reason"),
    )
    with registry() as client:
        emit_list(client.associations.history(association), columns, as_json=as_json, empty="No history.")


@app.command()
def withdraw(
    association: Number, *, reason: Annotated[str, typer.Option("--reason", "-r", help="Why.")], as_json: Json = False
) -> None:
    """Take it back: no new executions are asked for."""
    with registry() as client:
        emit_done(
            client.associations.withdraw(association, reason),
            f"Association {association} is withdrawn.",
            as_json=as_json,
        )


@app.command()
def priority(
    association: Number,
    value: Annotated[int, typer.Argument(metavar="PRIORITY", min=-1000, max=1000, help="Higher runs first.")],
    *,
    as_json: Json = False,
) -> None:
    """Say which models sites should run first; for the committee."""
    from api.schemas.benchmarks import PriorityUpdate

    with registry() as client:
        changed = client.associations.set_priority(association, PriorityUpdate(priority=value))
    emit_done(changed, f"Association {association} has priority {value}.", as_json=as_json)


@app.command()
def attach(
    association: Number,
    report: Annotated[Path, typer.Argument(metavar="FILE", help="The report of `assay model check`.")],
    *,
    as_json: Json = False,
) -> None:
    """Bring the compatibility report of a model that the committee invited."""
    from api.schemas.benchmarks import Compatibility

    measured = Compatibility.model_validate_json(report.read_bytes())
    with registry() as client:
        done = client.associations.attach_compatibility(association, measured)
    emit_done(done, f"Association {association} has its report.", as_json=as_json)


@app.command()
def consent(
    association: Number,
    *,
    revoke: Annotated[bool, typer.Option("--revoke", help="Hide them again.")] = False,
    as_json: Json = False,
) -> None:
    """As the model's owner: let others see its results in this benchmark."""
    with registry() as client:
        if revoke:
            hidden = client.associations.revoke_consent(association)
            emit_done(hidden, f"The results of association {association} are hidden again.", as_json=as_json)
            return
        emit_done(
            client.associations.consent(association),
            f"The results of association {association} may be shown.",
            as_json=as_json,
        )


def _subject(client: "RegistryClient", reference: str, kind: str | None) -> tuple[str, int]:
    """Whether it is a model or a dataset, and its number.

    Raises:
        NotFoundError: it is neither, or it could be both and nothing says which.
    """
    if kind is not None:
        nouns: dict[str, Any] = {"model": client.models, "dataset": client.datasets}
        return kind, find(nouns[kind], kind, reference).id
    found = [("model", item.id) for item in client.models.all() if item.name == reference]
    found += [("dataset", item.id) for item in client.datasets.all() if item.name == reference]
    if len(found) != 1:
        problem = "several things are" if found else "neither a model nor a dataset is"
        raise NotFoundError(
            f"{problem} called {reference!r}: add --kind model or --kind dataset, with its name or number"
        )
    return found[0]
