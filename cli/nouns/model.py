"""`assay model`: a cube with a card, and how it fits a benchmark."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.connect import find, registry
from cli.errors import InvalidInputError
from cli.options import Json, noun
from cli.output import Column, emit_done, emit_list, number, plain, when
from cli.render import emit_one

if TYPE_CHECKING:
    from api.client import RegistryClient
    from api.schemas.cubes import CubePublic

app = noun("Models: register, check against a benchmark, list, show, results.")
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Its name or number.")]


@app.command()
def register(
    card: Annotated[Path, typer.Argument(metavar="CARD", help="YAML: name, title, intended_use, training_data, ...")],
    *,
    cube: Annotated[str | None, typer.Option("--cube", help="Its cube of kind `model`: name or number.")] = None,
    script: Annotated[
        str | None,
        typer.Option("--script", help="For a model of files alone: the cube of kind `script` that runs them."),
    ] = None,
    files: Annotated[
        Path | None, typer.Option("--files", metavar="FOLDER", help="With --script: its files, such as weights.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Register a model: a cube, or a script and files; and the card that people read before they let it in."""
    from api.schemas.cubes import ModelCreate
    from cli.files import merged, read_mapping

    if (cube is None) == (script is None) or (script is None) != (files is None):
        raise InvalidInputError("say --cube, or both --script and --files")
    given = merged(card, read_mapping(card), cube_id=1)
    ModelCreate.model_validate(given)  # before large files travel for nothing
    with registry() as client:
        if script is None or files is None:
            cube_id = find(client.cubes, "cube", str(cube)).id
        else:
            cube_id = _with_script(client, script, files, str(given["name"])).id
        model = client.models.create(ModelCreate.model_validate({**given, "cube_id": cube_id}))
    emit_done(model, f"Registered model {model.name!r} as number {model.id}.", as_json=as_json)


@app.command("list")
def list_models(*, as_json: Json = False) -> None:
    """All models."""
    columns = (
        Column("id", "id"),
        Column("model", "name"),
        Column("title", "title"),
        Column("architecture", "architecture"),
        Column("licence", "licence"),
        Column("cube", "cube_id"),
    )
    with registry() as client:
        found = list(client.models.all())
    emit_list(found, columns, as_json=as_json, empty="No models.")


@app.command()
def show(model: ModelName, *, as_json: Json = False) -> None:
    """One model: its card."""
    with registry() as client:
        emit_one(find(client.models, "model", model), as_json=as_json)


@app.command()
def results(model: ModelName, *, as_json: Json = False) -> None:
    """A model's results at all sites, as far as you may see them."""
    with registry() as client:
        found = [plain(item) for item in client.results.all(model_id=find(client.models, "model", model).id)]
    metrics = dict.fromkeys(name for item in found for name in item["metrics"])
    columns = (
        Column("dataset", "dataset_name"),
        Column("cases", "cases"),
        *(Column(name, ("metrics", name), number) for name in metrics),
        Column("isolation", "isolation"),
        Column("finished (UTC)", "finished_at", when),
    )
    emit_list(found, columns, as_json=as_json, empty="No results that you may see.")


@app.command()
def check(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Names or numbers.")],
    *,
    benchmark: Annotated[str, typer.Option("--benchmark", "-b", help="Against which benchmark: name or number.")],
    reports: Annotated[
        Path, typer.Option("--reports", metavar="FOLDER", help="Where to write a report for each model.")
    ] = Path(),
    as_json: Json = False,
) -> None:
    """Run models through the whole pipeline on the benchmark's demo dataset, on this host, before asking to join.

    Each report is a file for `assay association request --compatibility`. Exit code 10: a model failed.
    """
    from cli.compatibility import run_checks

    run_checks(models, benchmark, reports, as_json=as_json)


def _with_script(client: "RegistryClient", script: str, files: Path, name: str) -> "CubePublic":
    """A cube of somebody's script and one's own files: both are named by digest, and run together."""
    from api.schemas.cubes import CubeCreate, CubeKind
    from cli.files import send_folder
    from cli.progress import scratch

    found = find(client.cubes, "cube", script)
    if found.kind != CubeKind.SCRIPT:
        raise InvalidInputError(
            f"the cube {found.name!r} is a {found.kind.value!r}, not a 'script': name one whose only task is run_script,"
            " without labels_path"
        )
    with scratch() as space:
        pack = space / "pack.tar"
        client.blobs.download(found.pack_digest, pack)
        client.blobs.upload(pack)
    return client.cubes.create(
        CubeCreate(
            name=name,
            kind=CubeKind.MODEL,
            pack_digest=found.pack_digest,
            additional_files_digest=send_folder(client, files, f"{name}'s files"),
            parameters=found.parameters,
            description=f"Files of its owner, run by the script {found.name!r}.",
        )
    )
