"""Steps: one task of one cube, from its inputs to outputs that are whole, or not there at all."""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from agents.cube_store import CubeUnavailableError
from agents.errors import StepFailedError
from agents.runtimes.process import safe_outputs
from agents.runtimes.protocol import CubeBundle, StepOutcome, StepRequest
from agents.site import Site
from api.schemas.border import ErrorClass
from api.schemas.cubes import CubeRef
from cubes.contract import Task, TaskName


@dataclass(frozen=True, slots=True)
class StepOutputs:
    """What a step left: volume name to path, in a folder that the caller moves from or discards."""

    folder: Path
    volumes: Mapping[str, Path]
    outcome: StepOutcome

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self, volume: str, target: Path) -> None:
        """Move one output to where it belongs, replacing what an interrupted attempt left there."""
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if target.exists():
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        self.volumes[volume].rename(target)


async def make_ready(site: Site, ref: CubeRef) -> CubeBundle:
    """Fetch, verify and unpack a cube, unless that is done.

    Raises:
        StepFailedError: it cannot be had, or is not what its digest says.
    """
    try:
        return await asyncio.to_thread(site.cubes.bundle, ref)
    except CubeUnavailableError as error:
        raise StepFailedError(str(error), ErrorClass.CUBE_UNAVAILABLE) from error


async def run_step(site: Site, cube: CubeBundle, task: TaskName, inputs: Mapping[str, Path], label: str) -> StepOutputs:
    """Run one task in the site's runtime, within the site's slots and limits.

    Args:
        site: whose runtime, slots and limits.
        cube: made ready on this host.
        task: which of its tasks.
        inputs: volume name to path; volumes that the contract does not name are not passed on.
        label: for people who look at folders and logs.

    Raises:
        StepFailedError: the step failed, or steps are not isolated here.
    """
    site.require_isolation()
    contract_task = cube.contract.tasks[task]
    key = f"{label}-{task.value}-{uuid4().hex[:8]}"
    folder = site.home.folder("attempts") / key
    folder.mkdir(mode=0o700)
    outputs = _output_paths(contract_task, folder)
    request = StepRequest(
        key=key,
        cube=cube,
        task=task,
        volumes={**_input_paths(contract_task, cube, inputs, folder), **outputs},
        log=site.home.folder("logs") / f"{key}.log",
        limits=site.limits(deadline_s=contract_task.deadline_s, memory_bytes=contract_task.resources.memory_bytes),
    )
    done = False
    try:
        async with site.slots:
            outcome = await site.runtime.run(request)
        if outcome.error is not None:
            raise StepFailedError(outcome.message, outcome.error, outcome.exit_code)
        await asyncio.to_thread(safe_outputs, folder)
        done = True
        return StepOutputs(folder, outputs, outcome)
    finally:
        if not done:
            shutil.rmtree(folder, ignore_errors=True)


def _output_paths(task: Task, folder: Path) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for name, volume in task.output_volumes.items():
        path = folder / name
        path.touch(mode=0o600) if volume.type == "file" else path.mkdir(mode=0o700)
        paths[name] = path
    return paths


def _input_paths(task: Task, cube: CubeBundle, inputs: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    own = {"parameters_file": cube.parameters_file, "additional_files": cube.additional_files}
    paths: dict[str, Path] = {}
    for name in task.input_volumes:
        path = inputs.get(name) or own.get(name)
        if path is None:
            path = _nothing(name, folder)
        paths[name] = path
    return paths


def _nothing(name: str, folder: Path) -> Path:
    """An empty stand-in for an optional input that was not given."""
    path = folder / f".no-{name}"
    if name == "parameters_file":
        path.write_text("{}\n", encoding="utf-8")
    else:
        path.mkdir(mode=0o700)
    return path
