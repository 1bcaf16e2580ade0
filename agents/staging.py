"""Staged preparations: a preparator that stops for people, and goes on where its report says.

What it has made so far lies where the prepared dataset will lie, run after run; a stop, a crash or a failure loses none of
it. Only once its sanity check has passed is there a manifest, and with it a dataset.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from agents.errors import ConflictError, InvalidInputError, NotFoundError
from agents.home import write_private
from agents.locks import locked
from api.storage.columns import now
from cubes.case_report import REPORT_VOLUME, Case, CaseReport, read_case_report
from cubes.contract import Contract, Task, TaskName, Volume

PLACES: Final = {"output_path": "data", "output_labels_path": "labels", "metadata_path": "metadata"}
"""Output of a preparator to the part of the prepared dataset that it becomes."""
_STAGE, _MARKS = "stage.json", "marks.json"


class Stage(BaseModel):
    """How far a staged preparation has come."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: int = 0
    """How often `prepare` has come to its end."""
    waits: bool = False
    """Whether people must do something before it is run again."""


class Mark(BaseModel):
    """Somebody says that a case is dealt with, for this run of the preparator."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: str
    at: datetime
    note: str
    run: int


class _Marks(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    cases: dict[str, Mark] = {}


def is_staged(contract: Contract) -> bool:
    """Whether a preparator keeps a report of its cases."""
    return REPORT_VOLUME in contract.tasks[TaskName.PREPARE].output_volumes


def output_places(folder: Path, task: Task) -> dict[str, Path]:
    """Where a staged preparation's outputs lie below its folder; made when they are missing."""
    places = {name: _place(folder, name, volume) for name, volume in task.output_volumes.items()}
    for name, path in places.items():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if task.output_volumes[name].type == "directory":
            path.mkdir(mode=0o700, exist_ok=True)
        else:
            path.touch(mode=0o600)
    return places


def report_of(folder: Path) -> CaseReport:
    """The cases of a staged preparation.

    Raises:
        ReportError: there is none, or it cannot be read; the preparator may be writing it just now.
    """
    place = folder / "report"
    return read_case_report(place if place.is_dir() else folder / "report.yaml")


def is_begun(folder: Path) -> bool:
    """Whether a folder holds what a staged preparation has made so far."""
    return (folder / "report.yaml").is_file() or (folder / "report").is_dir()


def read_stage(folder: Path) -> Stage:
    try:
        return Stage.model_validate_json((folder / _STAGE).read_bytes())
    except FileNotFoundError:
        return Stage()


def write_stage(folder: Path, stage: Stage) -> None:
    write_private(folder / _STAGE, stage.model_dump_json())


def marks_of(folder: Path) -> Mapping[str, Mark]:
    """Case to what somebody said of it since the preparator last ran."""
    run = read_stage(folder).runs
    return {case: mark for case, mark in _all_marks(folder).items() if mark.run == run}


def mark_case(folder: Path, case: str, *, by: str, note: str) -> Mark:
    """Note that a case is dealt with.

    Raises:
        NotFoundError: no such case.
        ConflictError: the preparator is at work, or the case waits for nobody.
    """
    with locked(folder / "marks.lock"):  # of two who mark at once, neither's word is lost
        stage, found = read_stage(folder), find_case(report_of(folder), case)
        if not stage.waits:
            raise ConflictError("the preparator is at work: cases can be marked once it waits for people")
        if not found.is_open:
            raise ConflictError(f"case {case!r} waits for nobody: its status is {found.status_name or found.status!r}")
        mark = Mark(by=by, at=now(), note=note, run=stage.runs)
        write_private(folder / _MARKS, _Marks(cases={**marks_of(folder), case: mark}).model_dump_json())
        return mark


def unmarked(folder: Path) -> list[str]:
    """Cases that wait for a person and that nobody has marked."""
    marks = marks_of(folder)
    return [case.name for case in report_of(folder).open_cases if case.name not in marks]


def find_case(report: CaseReport, name: str) -> Case:
    """One case by its name.

    Raises:
        NotFoundError: there is none.
    """
    for case in report.cases:
        if case.name == name:
            return case
    raise NotFoundError(f"there is no case {name!r} in the report: see `assay dataset cases list`")


def files_of(folder: Path, task: Task, raw: Mapping[str, Path], case: Case) -> dict[str, Path]:
    """Where a case's files lie at the site: what the report says of them was true inside the step.

    Raises:
        InvalidInputError: the report names a place that the step never had.
    """
    named = {"data": case.data_path, "labels": case.labels_path}
    mounts = dict(_mounts(folder, task, raw))
    return {what: _outside(path, mounts) for what, path in named.items() if path}


def _mounts(folder: Path, task: Task, raw: Mapping[str, Path]) -> Iterable[tuple[str, Path]]:
    for name, volume in task.output_volumes.items():
        yield volume.mount_path, _place(folder, name, volume)
    for name, volume in task.input_volumes.items():
        if name in raw:
            yield volume.mount_path, raw[name]


def _outside(path: str, mounts: Mapping[str, Path]) -> Path:
    for mount, place in mounts.items():
        below = Path(path.removeprefix(mount).lstrip("/"))
        if (path == mount or path.startswith(mount + "/")) and ".." not in below.parts:
            found = place / below
            if found.resolve().is_relative_to(place.resolve()):
                return found
    raise InvalidInputError(
        f"the report names {path!r}, which is in none of the preparator's volumes: {sorted(mounts)}"
    )


def _place(folder: Path, name: str, volume: Volume) -> Path:
    if name == REPORT_VOLUME:
        return folder / ("report" if volume.type == "directory" else "report.yaml")
    return folder / PLACES[name]


def _all_marks(folder: Path) -> Mapping[str, Mark]:
    try:
        return _Marks.model_validate_json((folder / _MARKS).read_bytes()).cases
    except FileNotFoundError:
        return {}
