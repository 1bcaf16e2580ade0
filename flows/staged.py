"""From raw data to a sane dataset, with people in between where the preparator keeps a report of cases.

A failing sanity check while cases are open is no failure: the flow rests until a data owner says that people have done
their part, and the preparator goes on where its report says.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from agents.errors import StepFailedError
from agents.site import Site
from agents.staging import read_stage, report_of, write_stage
from agents.store.datasets import find_dataset, update_dataset
from agents.store.tables import DatasetState, Job
from api.schemas.border import ErrorClass
from api.schemas.cubes import CubeRef
from cubes.case_report import CaseReport
from cubes.digests import digest_of
from cubes.errors import ReportError
from flows.describe import describe_cases
from flows.gates import hold
from flows.job_runs import SiteGateBook, report
from flows.pipeline import Prepared, prepare, sanity_check

GATE: Final = "continue_preparation"
_LOOK_EVERY_S: Final = 10.0
_MOST_SHOWN: Final = 200
_T = TypeVar("_T")


async def prepared_with_people(site: Site, job: Job, cube: CubeRef, raw: dict[str, Path], folder: Path) -> Prepared:
    """A prepared and sane dataset; between its stages the flow rests at a gate.

    Raises:
        StepFailedError: the preparator failed, or the data are not sane and no case is open.
        GateRejected: a data owner ended the preparation.
    """
    job_id, name = job.id, job.subject
    with site.store.write() as session:
        update_dataset(session, name, folder=str(folder))  # whoever stops here finds what was done
    while True:
        if read_stage(folder).waits:
            await _wait_for_people(site, folder, name)
        report(site, job_id, step="prepare")
        prepared = await _watched(prepare(cube, raw, folder, name), site, job_id, folder)
        report(site, job_id, step="sanity_check")
        try:
            await sanity_check(cube, prepared, name)
        except StepFailedError as error:
            if error.error_class != ErrorClass.EXIT_CODE or not _open_cases(folder):
                raise
            _set_waiting(site, folder, name, str(error))
        else:
            return prepared


async def _wait_for_people(site: Site, folder: Path, name: str) -> None:
    await hold(
        SiteGateBook(site),
        name=GATE,
        title=f"Go on with the preparation of dataset {name}?",
        subject=name,
        show=lambda: _shown(site, folder, name),
        describe=describe_cases,
    )
    write_stage(folder, read_stage(folder).model_copy(update={"waits": False}))
    with site.store.write() as session:
        update_dataset(session, name, state=DatasetState.PREPARING, message="")


def _shown(site: Site, folder: Path, name: str) -> dict[str, Any]:
    """What people are asked. The number of runs is in it: each is a question of its own."""
    found = report_of(folder)
    with site.store.read() as session:
        title = find_dataset(session, name).title
    rows = [[case.name, case.status_name or str(case.status), case.comment] for case in found.open_cases]
    return {
        "dataset": {"name": name, "title": title},
        "run": read_stage(folder).runs,
        "counts": dict(found.counts),
        "open": len(rows),
        "cases": rows[:_MOST_SHOWN],
        "all_open": digest_of(rows),
    }


def _set_waiting(site: Site, folder: Path, name: str, said: str) -> None:
    found = report_of(folder)
    write_stage(folder, read_stage(folder).model_copy(update={"waits": True}))
    told = f"{len(found.open_cases)} of {len(found.cases)} cases wait for people. The sanity check said: {said}"
    with site.store.write() as session:
        update_dataset(session, name, state=DatasetState.OUTSTANDING, message=told[:20_000])


def _open_cases(folder: Path) -> bool:
    """Whether the report is there and says that somebody must do something."""
    try:
        return bool(report_of(folder).open_cases)
    except ReportError:
        return False


async def _watched(step: Awaitable[_T], site: Site, job_id: str, folder: Path) -> _T:
    """A step, and how far its report says that it has come: a preparation may take days."""
    watcher = asyncio.create_task(_watch(site, job_id, folder))
    try:
        return await step
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher


async def _watch(site: Site, job_id: str, folder: Path) -> None:
    before: CaseReport | None = None
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        with suppress(ReportError):  # not staged, not begun, or being written just now
            found = await asyncio.to_thread(report_of, folder)
            if found != before and found.cases:
                before = found
                await asyncio.to_thread(report, site, job_id, cases=dict(found.counts))
