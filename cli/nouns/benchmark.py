"""`assay benchmark`: a clinical task, its cubes, its committee and its leaderboard."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.connect import find, registry
from cli.options import Json, noun
from cli.output import Column, emit_done, emit_list, note, when
from cli.render import emit_one

if TYPE_CHECKING:
    from api.client import RegistryClient
    from api.schemas.benchmarks import BenchmarkPublic

app = noun(
    "Benchmarks: register, update, submit, list, show, committee, policy, replace-metrics, close, leaderboard, release."
)
committee = noun("Who decides in a benchmark.")
app.add_typer(committee, name="committee")

Name = Annotated[str, typer.Argument(metavar="BENCHMARK", help="Its name or number.")]
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The person's address at the registry.")]
Approval = Literal["never", "always", "allow_list"]


@app.command()
def register(
    specification: Annotated[
        Path, typer.Argument(metavar="SPEC", help="YAML: name, title, clinical_setting, task, labelling_method, ...")
    ],
    *,
    preparator: Annotated[str, typer.Option("--preparator", help="Its data preparator cube: name or number.")],
    metrics: Annotated[str, typer.Option("--metrics", help="Its metrics cube: name or number.")],
    demo_dataset: Annotated[
        Path, typer.Option("--demo-dataset", metavar="FOLDER", help="Public raw data, with `paths.yaml` at its root.")
    ],
    reference_model: Annotated[
        str | None, typer.Option("--reference-model", help="A model that others can measure theirs by: name or number.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Register a benchmark as a draft. Its metrics are those of its metrics cube, unless the specification names them."""
    from api.schemas.benchmarks import BenchmarkCreate
    from cli.files import merged, read_mapping, send_folder

    given = read_mapping(specification)
    with registry() as client:
        scorer = find(client.cubes, "cube", metrics)
        given.setdefault("metrics", scorer.contract.get("metrics", []))
        values = merged(
            specification,
            given,
            preparator_cube_id=find(client.cubes, "cube", preparator).id,
            metrics_cube_id=scorer.id,
            reference_model_id=None if reference_model is None else find(client.models, "model", reference_model).id,
            demo_dataset_digest=f"sha256:{'0' * 64}",
        )
        BenchmarkCreate.model_validate(values)  # before a large dataset travels for nothing
        values["demo_dataset_digest"] = send_folder(client, demo_dataset, "demo dataset")
        made = client.benchmarks.create(BenchmarkCreate.model_validate(values))
    emit_done(
        made,
        f"Registered benchmark {made.name!r} as number {made.id}, a draft. Next: `assay benchmark submit {made.name}`.",
        as_json=as_json,
    )


@app.command()
def update(
    benchmark: Name,
    specification: Annotated[Path, typer.Argument(metavar="SPEC", help="YAML, as for `register`.")],
    *,
    as_json: Json = False,
) -> None:
    """Replace the text of a draft, or of one that was rejected; cubes and demo dataset stay."""
    from api.schemas.benchmarks import BenchmarkCreate
    from cli.files import read_mapping

    with registry() as client:
        found = _find(client, benchmark)
        kept = {name: getattr(found, name) for name in BenchmarkCreate.model_fields}
        changed = BenchmarkCreate.model_validate({**kept, **read_mapping(specification)})
        done = client.benchmarks.update(found.id, changed)
    emit_done(done, f"Benchmark {done.name!r} says what {str(specification)!r} says.", as_json=as_json)


@app.command()
def submit(benchmark: Name, *, as_json: Json = False) -> None:
    """Ask a platform administrator to approve a draft."""
    with registry() as client:
        gate = client.benchmarks.submit(_find(client, benchmark).id)
    emit_done(gate, f"Submitted: a platform administrator decides at gate {gate.id}.", as_json=as_json)


@app.command("list")
def list_benchmarks(*, as_json: Json = False) -> None:
    """Benchmarks that you may see."""
    columns = (
        Column("id", "id"),
        Column("benchmark", "name"),
        Column("title", "title"),
        Column("state", "state"),
        Column("primary metric", "primary_metric"),
        Column("released (UTC)", "released_at", when),
    )
    with registry() as client:
        emit_list(client.benchmarks.all(), columns, as_json=as_json, empty="No benchmarks.")


@app.command()
def show(benchmark: Name, *, as_json: Json = False) -> None:
    """One benchmark: its whole specification."""
    with registry() as client:
        emit_one(_find(client, benchmark), as_json=as_json)


@app.command()
def policy(
    benchmark: Name,
    *,
    models: Annotated[
        Approval | None, typer.Option("--models", help="When a model joins without the committee.")
    ] = None,
    datasets: Annotated[
        Approval | None, typer.Option("--datasets", help="When a dataset joins without the committee.")
    ] = None,
    allow_model: Annotated[
        list[str] | None,
        typer.Option("--allow-model", metavar="EMAIL", help="Owners on the list for models; all of them."),
    ] = None,
    allow_dataset: Annotated[
        list[str] | None,
        typer.Option("--allow-dataset", metavar="EMAIL", help="Owners on the list for datasets; all of them."),
    ] = None,
    model_quorum: Annotated[int | None, typer.Option("--model-quorum", min=1, help="Votes that a model needs.")] = None,
    dataset_quorum: Annotated[
        int | None, typer.Option("--dataset-quorum", min=1, help="Votes that a dataset needs.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Who may join without waiting for the committee, and how many votes the others need; for the committee."""
    from api.schemas.benchmarks import BenchmarkPolicyUpdate

    with registry() as client:
        found = _find(client, benchmark)
        changes = {
            "model_policy": _policy(found.model_policy, models, allow_model, model_quorum),
            "dataset_policy": _policy(found.dataset_policy, datasets, allow_dataset, dataset_quorum),
        }
        if any(changes.values()):
            found = client.benchmarks.update_policy(found.id, BenchmarkPolicyUpdate.model_validate(changes))
    emit_one({"model_policy": found.model_policy, "dataset_policy": found.dataset_policy}, as_json=as_json)


@app.command("replace-metrics")
def replace_metrics(
    benchmark: Name,
    cube: Annotated[str, typer.Argument(metavar="CUBE", help="The new metrics cube: name or number.")],
    *,
    as_json: Json = False,
) -> None:
    """Another metrics cube: sites score again what they have inferred, and infer nothing again."""
    with registry() as client:
        scorer = find(client.cubes, "cube", cube)
        done = client.benchmarks.replace_metrics_cube(_find(client, benchmark).id, scorer.id)
    emit_done(done, f"Benchmark {benchmark!r} is scored by {scorer.name!r} from now on.", as_json=as_json)


@app.command()
def close(benchmark: Name, *, as_json: Json = False) -> None:
    """End a benchmark: nothing joins any more, and sites are asked for nothing."""
    with registry() as client:
        emit_done(
            client.benchmarks.close(_find(client, benchmark).id), f"Benchmark {benchmark!r} is closed.", as_json=as_json
        )


@app.command()
def release(benchmark: Name, *, as_json: Json = False) -> None:
    """Ask the committee to release the leaderboard."""
    with registry() as client:
        gate = client.benchmarks.release(_find(client, benchmark).id)
    emit_done(gate, f"The committee decides at gate {gate.id}: `assay gate show {gate.id}`.", as_json=as_json)


@app.command()
def leaderboard(
    benchmark: Name,
    *,
    released: Annotated[
        bool,
        typer.Option("--released", help="As it was released, also for the committee, who otherwise see it as it is."),
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="For spreadsheets.")] = False,
    as_json: Json = False,
) -> None:
    """Models by the primary metric; equal ones share a rank."""
    from cli.leaderboards import emit_leaderboard

    with registry() as client:
        board = client.benchmarks.leaderboard(_find(client, benchmark).id, released=released or None)
    emit_leaderboard(board, as_csv=as_csv, as_json=as_json)


@committee.command("list")
def list_members(benchmark: Name, *, as_json: Json = False) -> None:
    """The committee of a benchmark."""
    columns = (Column("id", "id"), Column("name", "name"), Column("email", "email"))
    with registry() as client:
        members = client.benchmarks.committee(_find(client, benchmark).id)
    emit_list(members, columns, as_json=as_json, empty="Nobody.")


@committee.command("add")
def add_member(benchmark: Name, email: Email, *, as_json: Json = False) -> None:
    """Let somebody decide in a benchmark."""
    from api.schemas.benchmarks import CommitteeMember

    with registry() as client:
        user = find(client.users, "user", email, key="email")
        found = _find(client, benchmark)
        client.benchmarks.add_member(found.id, CommitteeMember(user_id=user.id))
    emit_done(user, f"{user.name} <{user.email}> is on the committee of {found.name!r}.", as_json=as_json)


@committee.command("remove")
def remove_member(benchmark: Name, email: Email, *, as_json: Json = False) -> None:
    """Somebody decides in a benchmark no longer; what they decided stays."""
    with registry() as client:
        user = find(client.users, "user", email, key="email")
        found = _find(client, benchmark)
        client.benchmarks.remove_member(found.id, user.id)
    emit_done(user, f"{user.email} is no longer on the committee of {found.name!r}.", as_json=as_json)
    if not as_json:
        note("What they decided stays decided.")


def _find(client: "RegistryClient", reference: str) -> "BenchmarkPublic":
    return find(client.benchmarks, "benchmark", reference)


def _policy(now: Any, approval: str | None, allowed: list[str] | None, quorum: int | None) -> dict[str, Any] | None:
    """The policy with what was asked to change; None when nothing was."""
    given = {"auto_approval": approval, "allow_list": allowed or None, "quorum": quorum}
    changes = {name: value for name, value in given.items() if value is not None}
    return {**now.model_dump(mode="json"), **changes} if changes else None
