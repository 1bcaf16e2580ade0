"""`assay cube`: what runs in a step."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from cli.connect import find, registry
from cli.errors import InvalidInputError
from cli.images import Logins, PlainHttp, pinned
from cli.nouns.cube_by_hand import run_by_hand
from cli.options import Json, noun
from cli.output import (
    Column,
    digest,
    emit_done,
    emit_json,
    emit_list,
    joined,
    print_facts,
    print_table,
    say,
    size,
    when,
)
from cli.render import emit_one

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cubes.contract import Contract, Task

app = noun("Cubes: init, validate, test, register, attach, list, show, attachments.")
Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="A folder with `container_config.yaml` or `mlcube.yaml` at its root.")
]
Kind = Literal["data_preparator", "model", "metrics", "script"]
Sbom = Annotated[
    Path | None, typer.Option("--sbom", metavar="FILE", help="A bill of materials: CycloneDX or SPDX JSON.")
]
Vulnerabilities = Annotated[
    Path | None, typer.Option("--vulnerabilities", metavar="FILE", help="A report: CycloneDX, Trivy or Grype JSON.")
]
_KINDS: Final = {
    "data_preparator": "data preparator",
    "model": "model",
    "metrics": "metrics cube",
    "script": "script for models of files alone",
}
app.command("test")(run_by_hand)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    *,
    kind: Annotated[Kind, typer.Option("--kind", help="What it is to be.")] = "model",
) -> None:
    """Begin a cube: a contract and programs that work as they are, to be replaced by yours."""
    from shutil import copytree, ignore_patterns

    from cubes import templates
    from cubes.contract import load_contract

    if folder.exists():
        raise InvalidInputError(f"{str(folder)!r} is there already: name a new folder")
    copytree(Path(templates.__file__).parent / kind, folder, ignore=ignore_patterns("__pycache__"))
    contract = load_contract(folder)
    task, first = next(iter(contract.tasks.items()))
    given = " ".join(f"--input {name}=PATH" for name in first.input_volumes)
    say(
        f"A {_KINDS[kind]} is in {folder}. Look at it, and run its first task by hand:\n"
        f"  assay cube validate {folder}\n"
        f"  assay cube test {folder} {task.value} {given} --output NEW_FOLDER"
    )


@app.command("validate")
@app.command()
def check(folder: Folder, *, as_json: Json = False) -> None:
    """Read a cube's contract as a site will, and say what was understood. Exit code 7: it cannot be used."""
    from cli.progress import scratch
    from cubes.contract import load_contract
    from cubes.packing import pack_folder

    contract = load_contract(folder)
    kind = contract.kind()
    with scratch() as space:
        packed = pack_folder(folder, space / "pack.tar")
    found = {
        "kind": kind,
        "pack_digest": packed.digest,
        "bytes": packed.size,
        "files": packed.files,
        "contract": contract.model_dump(mode="json", by_alias=True),
    }
    if as_json:
        emit_json(found)
    else:
        _explain(contract, kind, packed.digest, f"{packed.files} files, {size(packed.size)}")


@app.command()
def register(
    folder: Folder,
    *,
    name: Annotated[str, typer.Option("--name", help="A short name: lower-case letters, digits, `.`, `_`, `-`.")],
    kind: Annotated[Kind | None, typer.Option("--kind", help="What it is; its tasks say so when left out.")] = None,
    files: Annotated[
        Path | None, typer.Option("--files", metavar="FOLDER", help="Additional files, such as weights.")
    ] = None,
    parameters: Annotated[
        Path | None, typer.Option("--parameters", metavar="FILE", help="YAML that each step is given.")
    ] = None,
    description: Annotated[str, typer.Option("--description", help="Markdown for people.")] = "",
    sbom: Sbom = None,
    vulnerabilities: Vulnerabilities = None,
    plain_http: PlainHttp = None,
    logins: Logins = None,
    as_json: Json = False,
) -> None:
    """Pack a cube and register it: from now on its digest is what is approved and what runs."""
    from api.schemas.cubes import CubeCreate
    from cli.attachments import check_attachments, send_attachments
    from cli.files import read_mapping, send_folder

    found = _kind(folder, kind)
    attached = {"sbom": sbom, "vulnerabilities": vulnerabilities}
    check_attachments(attached)
    values = {} if parameters is None else read_mapping(parameters)
    with registry() as client, pinned(folder, plain_http, logins) as cube_folder:
        pack = send_folder(client, cube_folder.folder, name)
        extra = None if files is None else send_folder(client, files, f"{name}'s additional files")
        cube = client.cubes.create(
            CubeCreate.model_validate(
                {
                    "name": name,
                    "kind": found,
                    "pack_digest": pack,
                    "additional_files_digest": extra,
                    "parameters": values,
                    "description": description,
                    **send_attachments(client, attached),
                }
            )
        )
    emit_done(
        cube,
        f"Registered {cube.kind.value} cube {cube.name!r} as number {cube.id}: {cube.pack_digest}",
        as_json=as_json,
    )


@app.command()
def attach(
    cube: Annotated[str, typer.Argument(help="Its name or number.")],
    *,
    sbom: Sbom = None,
    vulnerabilities: Vulnerabilities = None,
    as_json: Json = False,
) -> None:
    """Attach a newer document to a cube of yours. Whoever is being asked about the cube is asked again, with it."""
    from cli.attachments import attach_each, check_attachments

    attached = {"sbom": sbom, "vulnerabilities": vulnerabilities}
    if not any(attached.values()):
        raise InvalidInputError("nothing to attach: say --sbom FILE or --vulnerabilities FILE")
    check_attachments(attached)
    with registry() as client:
        done = attach_each(client, find(client.cubes, "cube", cube).id, attached)
    what = " and ".join(f"the {each.kind.value} {each.digest}" for each in done.attachments if attached[each.kind])
    emit_done(done, f"Cube {done.name!r} has {what} from now on.", as_json=as_json)


@app.command()
def attachments(cube: Annotated[str, typer.Argument(help="Its name or number.")], *, as_json: Json = False) -> None:
    """Every document that its owner ever attached, oldest first; people are shown the newest of each kind."""
    columns = (
        Column("kind", "kind"),
        Column("attached (UTC)", "attached_at", when),
        Column("dated", "dated"),
        Column("counts", "counts", _counts),
        Column("document", "digest", digest),
    )
    with registry() as client:
        found = client.cubes.attachments(find(client.cubes, "cube", cube).id)
    emit_list(found, columns, as_json=as_json, empty="Nothing is attached.")


@app.command("list")
def list_cubes(
    *, kind: Annotated[Kind | None, typer.Option("--kind", help="Only this kind.")] = None, as_json: Json = False
) -> None:
    """All cubes."""
    columns = (
        Column("id", "id"),
        Column("cube", "name"),
        Column("kind", "kind"),
        Column("pack", "pack_digest", digest),
        Column("additional files", "additional_files_digest", digest),
        Column("parameters", "parameters_digest", digest),
    )
    with registry() as client:
        found = list(client.cubes.all(kind=kind))
    emit_list(found, columns, as_json=as_json, empty="No cubes.")


@app.command()
def show(cube: Annotated[str, typer.Argument(help="Its name or number.")], *, as_json: Json = False) -> None:
    """One cube: digests, parameters, contract."""
    with registry() as client:
        emit_one(find(client.cubes, "cube", cube), as_json=as_json)


def _kind(folder: Path, kind: str | None) -> str:
    """The kind that the contract makes it.

    Raises:
        ContractError: the contract cannot be used.
        InvalidInputError: it is another kind than was said.
    """
    from cubes.contract import load_contract

    found = load_contract(folder).kind()
    if kind not in {None, found}:
        raise InvalidInputError(
            f"the tasks of {str(folder)!r} make it a {found!r}, not a {kind!r}: correct --kind. A script that reads labels is"
            " a metrics cube: no model sees them"
        )
    return found


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def _explain(contract: "Contract", kind: str, pack: str, amount: str) -> None:
    facts = {
        "kind": kind,
        "container type": contract.container_type.value,
        "image": contract.image,
        "its own files": _file_system(contract),
        "before it runs": contract.container_type.unsupported or contract.unpinned,
        "Python packages": contract.requirements,
        "pack": f"{pack} ({amount})",
    }
    print_facts({name: value for name, value in facts.items() if value})
    say("")
    headings = ("task", "command", "reads", "writes", "cpu", "memory", "gpu", "seconds")
    print_table(headings, [_task(name.value, task) for name, task in contract.tasks.items()])
    say("")
    print_table(("task", "volume", "inside the step", "is a", "can be"), list(_mounts(contract)))
    if contract.metrics:
        say("")
        print_table(("metric", "title", "better", "range", "decomposable"), [_metric(m) for m in contract.metrics])


def _file_system(contract: "Contract") -> str:
    return "can be changed, and are as before in the next step" if contract.disposable_root else "read-only"


def _task(name: str, task: "Task") -> list[str]:
    resources = task.resources
    return [
        name,
        " ".join((*task.run_args.entrypoint, *task.run_args.command)) or "-",
        joined(list(task.input_volumes)),
        joined(list(task.output_volumes)),
        f"{resources.cpu:g}",
        size(resources.memory_bytes),
        str(resources.gpu),
        f"{task.deadline_s:g}",
    ]


def _mounts(contract: "Contract") -> "Iterator[list[str]]":
    for name, task in contract.tasks.items():
        for volumes, may in ((task.input_volumes, "read"), (task.output_volumes, "written")):
            for volume, place in volumes.items():
                yield [name.value, volume, place.mount_path, place.type, may]


def _metric(metric: Any) -> list[str]:
    low = "-inf" if metric.minimum is None else f"{metric.minimum:g}"
    high = "inf" if metric.maximum is None else f"{metric.maximum:g}"
    return [
        metric.name,
        metric.title,
        metric.direction.value,
        f"{low} to {high}",
        "yes" if metric.decomposable else "no",
    ]
