"""`assay dataset cases`: people in a staged preparation, which stops where somebody must look."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.connect import AtSite, site_store
from cli.errors import ConflictError, NotFoundError
from cli.options import Json, noun
from cli.output import Column, emit_done, emit_json, emit_list, plain, print_facts, when

if TYPE_CHECKING:
    from agents.store.tables import Dataset, Gate
    from cubes.contract import Task

app = noun("Cases of a staged preparation: which wait for what, open, mark, go on, and what the registry hears of it.")
DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help="Its name at the site.")]
CaseName = Annotated[str, typer.Argument(metavar="CASE", help="As `list` names it.")]

_GATE = "continue_preparation"
_COLUMNS = (
    Column("case", "name"),
    Column("status", "status"),
    Column("", "status_name"),
    Column("comment", "comment"),
    Column("marked by", "marked_by"),
    Column("note", "note"),
    Column("marked (UTC)", "marked_at", when),
)


@dataclass(frozen=True, slots=True)
class _Preparation:
    here: AtSite
    dataset: "Dataset"
    folder: Path


@app.command("list")
def list_cases(
    dataset: DatasetName,
    *,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait for somebody.")] = False,
    as_json: Json = False,
) -> None:
    """Each case, what it waits for, and who has marked it."""
    from agents.staging import marks_of, report_of

    with _preparation(dataset) as found:
        report, marks = report_of(found.folder), marks_of(found.folder)
    rows = [
        {
            **_record(case),
            "marked_by": mark and mark.by,
            "note": mark and mark.note,
            "marked_at": mark and plain(mark.at),
        }
        for case in report.cases
        if case.is_open or not waiting
        for mark in [marks.get(case.name)]
    ]
    emit_list(rows, _COLUMNS, as_json=as_json, empty="No case waits for anybody." if waiting else "No cases yet.")


@app.command("open")
def open_case(
    dataset: DatasetName,
    case: CaseName,
    *,
    editor: Annotated[
        str | None, typer.Option("--with", metavar="PROGRAM", help="Start it with the case's files as arguments.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Where a case's files lie on this host; people mend or complete them there."""
    from agents.staging import files_of, find_case, report_of

    with _preparation(dataset, "start") as found:
        row = find_case(report_of(found.folder), case)
        raw = {"data_path": Path(found.dataset.data_path), "labels_path": Path(found.dataset.labels_path)}
        files = files_of(found.folder, _prepare_task(found), raw, row)
    facts = {
        **_record(row),
        "data_path": "",
        "labels_path": "",
        **{f"{what} file": str(p) for what, p in files.items()},
    }
    if editor is not None:
        _start(editor, list(files.values()))
    if as_json:
        emit_json(facts)
    else:
        print_facts({name: str(value) for name, value in facts.items() if value != ""})


@app.command()
def mark(
    dataset: DatasetName,
    case: CaseName,
    *,
    note: Annotated[str, typer.Option("--note", "-n", help="What was done, for the others.")] = "",
    as_json: Json = False,
) -> None:
    """Say that a case is dealt with, so that others leave it alone."""
    from agents.staging import mark_case, unmarked

    with _preparation(dataset, "start") as found:
        person = found.here.person
        made = mark_case(found.folder, case, by=person.label, note=note)
        left = len(unmarked(found.folder))
    following = "Next: `assay dataset cases go-on`." if not left else f"{left} case(s) still wait."
    emit_done({"case": case, **plain(made), "still_waiting": left}, f"Marked {case!r}. {following}", as_json=as_json)


@app.command("go-on")
def go_on(
    dataset: DatasetName,
    *,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why. It is kept for ever, with your name.")],
    anyway: Annotated[bool, typer.Option("--anyway", help="Although cases are not marked.")] = False,
    as_json: Json = False,
) -> None:
    """Let the preparator go on where its report says. For data owners: it is the approval of the preparation's gate."""
    from agents.staging import unmarked
    from agents.store.gates import decide
    from api.schemas.benchmarks import Verdict

    with _preparation(dataset, "decide") as found:
        left = unmarked(found.folder)
        if left and not anyway:
            raise ConflictError(
                f"{len(left)} case(s) are not marked, {left[0]!r} among them: mark them, or say --anyway"
            )
        gate = _gate(found)
        with found.here.store.write() as session:
            decision = decide(
                session,
                gate_id=gate.id,
                digest=gate.digest,
                verdict=Verdict.APPROVE,
                person=found.here.person,
                reason=reason,
            )
    emit_done(decision, f"The preparator of {dataset!r} goes on.", as_json=as_json)


@app.command()
def share(
    dataset: DatasetName,
    *,
    yes: Annotated[
        bool | None, typer.Option("--yes/--no", help="Whether it may hear of it; left out, what was said last.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Whether the registry hears which fraction of cases is in which status; never a name or a comment.

    For data owners. Without their yes it hears nothing.
    """
    from agents.store import consents

    with site_store("look" if yes is None else "decide") as here, here.store.write() as session:
        said = (
            consents.newest(session, dataset) if yes is None else consents.say(session, dataset, here.person, given=yes)
        )
        agreed = consents.consents(session, dataset)
    word = "hears" if agreed else "does not hear"
    who = "" if said is None else f" ({said.person}, {when(plain(said.at))} UTC)"
    emit_done(
        {"dataset": dataset, "shared": agreed, "said": plain(said)},
        f"The registry {word} how far {dataset!r} is{who}.",
        as_json=as_json,
    )


@contextmanager
def _preparation(name: str, right: str = "look") -> Iterator[_Preparation]:
    """A dataset's staged preparation, as one of the site's people.

    Raises:
        NotFoundError: it is not staged, or not begun.
    """
    from agents.staging import is_begun
    from agents.store.datasets import find_dataset

    with site_store(right) as here:
        with here.store.read() as session:
            dataset = find_dataset(session, name)
        folder = Path(dataset.folder or "")
        if not dataset.folder or not is_begun(folder):
            raise NotFoundError(f"there is no report of cases for {name!r}: it is not prepared in stages, or not begun")
        yield _Preparation(here, dataset, folder)


def _record(case: Any) -> dict[str, Any]:
    return {
        name: getattr(case, name) for name in ("name", "status", "status_name", "comment", "data_path", "labels_path")
    }


def _prepare_task(found: _Preparation) -> "Task":
    """The preparator's contract, from its unpacked pack: it says where the step saw the files."""
    from agents.planner import find_benchmark
    from api.schemas.records import SiteWork
    from cubes.contract import TaskName, load_contract

    work = SiteWork.model_validate_json(found.here.home.work_file.read_text(encoding="utf-8"))
    benchmark = find_benchmark(work, found.dataset.benchmark_id)
    if benchmark is None:
        raise NotFoundError(f"the registry no longer offers the benchmark of {found.dataset.name!r}")
    digest = benchmark.preparator.pack_digest.removeprefix("sha256:")
    return load_contract(found.here.home.path / "cubes" / digest / "content").tasks[TaskName.PREPARE]


def _gate(found: _Preparation) -> "Gate":
    from agents.store.gates import list_gates

    with found.here.store.read() as session:
        for gate in list_gates(session):
            if (gate.name, gate.subject) == (_GATE, found.dataset.name):
                return gate
    raise ConflictError(f"the preparation of {found.dataset.name!r} asks nothing now: see `assay job list`")


def _start(program: str, files: list[Path]) -> None:
    import shlex
    import subprocess

    subprocess.run([*shlex.split(program), *map(str, files)], check=True)
