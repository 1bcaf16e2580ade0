"""Steps: one task of one cube, from its inputs to outputs that are whole, or not there at all."""

import asyncio
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.attempts import Attempt, take_attempt
from agents.cube_store import CubeUnavailableError
from agents.endpoints.gateway import endpoint_of
from agents.errors import StepFailedError
from agents.runtimes.outputs import safe_outputs
from agents.runtimes.probe import ProtectionMissingError
from agents.runtimes.protocol import MIB, CubeBundle, RuntimeSetupError, StepOutcome, StepRequest
from agents.runtimes.telling import NOBODY, Listener
from agents.site import Site
from api.schemas.border import ErrorClass, ProbeOutcome
from api.schemas.cubes import CubeRef
from cubes.contract import Task, TaskName
from cubes.digests import digest_of, short

_FULL_BYTES: Final = 4 * MIB
"""A disk with less than this is full, whatever the cube said of it."""
_OPTIONAL: Final = frozenset({"parameters_file", "additional_files", "model_files", "metadata_path"})


@dataclass(frozen=True, slots=True)
class StepOutputs:
    """What a step left: volume name to path, in a folder that the caller moves from or discards."""

    attempt: Attempt
    volumes: Mapping[str, Path]
    outcome: StepOutcome
    probe: ProbeOutcome
    """What the deny probe had found when the step ran; it stands on everything made of these outputs."""

    def discard(self) -> None:
        self.attempt.close()

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


async def run_step(
    site: Site,
    cube: CubeBundle,
    task: TaskName,
    inputs: Mapping[str, Path],
    label: str,
    *,
    identity: str = "",
    listener: Listener = NOBODY,
    outputs: Mapping[str, Path] | None = None,
    begun: Callable[[], None] = lambda: None,
) -> StepOutputs:
    """Run one task in the site's runtime, within the site's slots and limits.

    Where steps outlive the agent, one that an earlier agent started and nobody saw end is taken over.

    Args:
        site: whose runtime, slots and limits.
        cube: made ready on this host.
        task: which of its tasks.
        inputs: volume name to path; volumes that the contract does not name are not passed on.
        label: for people who look at folders and logs.
        identity: of the inputs, where their paths do not say what they hold.
        listener: hears the beginning of the log as it is written, and why the step waits.
        outputs: where output volumes lie that an earlier run of the task began and this one goes on with; they stay
            there however it ends. Without them each run starts with empty ones.
        begun: called when the step has its slot.

    Raises:
        StepFailedError: the step failed, steps are not isolated here, or the site cannot run them as it is set up.
    """
    site.require_isolation()
    stem = f"{_file_name(label)}-{task.value}-{_what_runs(site, cube, task, inputs, identity)}"
    try:
        wanted = _wanted(cube, task)
        async with site.turn(cube, wanted):
            begun()
            probe = site.require_isolation()  # it may have been run again while this step waited
            return await _attempt(site, cube, task, inputs, stem=stem, probe=probe, listener=listener, outputs=outputs)
    except ProtectionMissingError as error:
        raise StepFailedError(str(error), ErrorClass.NOT_ISOLATED) from error
    except (RuntimeSetupError, OSError) as error:
        raise StepFailedError(f"{stem!r} cannot run at this site: {error}", ErrorClass.SITE_SETUP) from error


async def _attempt(
    site: Site,
    cube: CubeBundle,
    task: TaskName,
    inputs: Mapping[str, Path],
    *,
    stem: str,
    probe: ProbeOutcome,
    listener: Listener,
    outputs: Mapping[str, Path] | None,
) -> StepOutputs:
    attempt = await take_attempt(site.home, stem, site.runtime.holds)
    done = False
    try:
        wanted = cube.contract.tasks[task]
        with endpoint_of(
            site.home,
            site.settings.endpoints,
            wanted,
            cube.pack_digest,
            record=attempt.log.with_suffix(".calls.jsonl"),
            folder=attempt.folder / ".endpoint",
        ) as endpoint:
            request = _request(
                site, cube, task, {**inputs, **endpoint}, attempt=attempt, listener=listener, outputs=outputs
            )
            outcome = await site.runtime.run(request)
        if outcome.error == ErrorClass.CLUSTER_UNREACHABLE and site.runtime.outlives_agent:
            done = True
            attempt.leave()  # its pod goes on, and is taken over by whoever asks for the same
        _refuse_failure(outcome, attempt.folder)
        left = {name: request.volumes[name] for name in cube.contract.tasks[task].output_volumes}
        for folder in {attempt.folder, *(path.parent for path in left.values())}:
            await asyncio.to_thread(safe_outputs, folder)
        done = True
        only_host = site.settings.endpoints[wanted.endpoint].host if wanted.endpoint else None
        return StepOutputs(attempt, left, outcome, probe.model_copy(update={"only_host": only_host}))
    except asyncio.CancelledError:
        if site.leaving and site.runtime.outlives_agent:
            done = True
            attempt.leave()
        raise
    finally:
        if not done:
            attempt.close()


def _what_runs(site: Site, cube: CubeBundle, task: TaskName, inputs: Mapping[str, Path], identity: str) -> str:
    """The same for the same task of the same cube on the same inputs. What lies at a site is named by its content."""
    named = {**inputs, "parameters": cube.parameters_file, "additional": cube.additional_files}
    parts = {name: str(path) for name, path in named.items()}
    return short(digest_of([site.settings.site, cube.pack_digest, task.value, parts, identity]))[:16]


def _wanted(cube: CubeBundle, task: TaskName) -> Task:
    wanted = cube.contract.tasks.get(task)
    if wanted is None:
        raise StepFailedError(
            f"the cube {cube.pack_digest} has no task {task.value!r}: it was registered as another kind of cube",
            ErrorClass.CUBE_UNAVAILABLE,
        )
    return wanted


def _request(
    site: Site,
    cube: CubeBundle,
    task: TaskName,
    inputs: Mapping[str, Path],
    *,
    attempt: Attempt,
    listener: Listener,
    outputs: Mapping[str, Path] | None,
) -> StepRequest:
    wanted = cube.contract.tasks[task]
    folder = attempt.folder
    return StepRequest(
        key=attempt.key,
        cube=cube,
        task=task,
        volumes={**_input_paths(wanted, cube, inputs, folder), **(outputs or _output_paths(wanted, folder))},
        log=attempt.log,
        limits=site.limits(deadline_s=wanted.deadline_s, memory_bytes=wanted.resources.memory_bytes),
        tell=listener.log,
        note=listener.note,
    )


def _refuse_failure(outcome: StepOutcome, folder: Path) -> None:
    if outcome.error is None:
        return
    if outcome.error == ErrorClass.EXIT_CODE and shutil.disk_usage(folder).free < _FULL_BYTES:
        raise StepFailedError(
            f"the disk that holds {str(folder.parent)!r} is full: make room (see `assay site storage`) and run it"
            f" again. {outcome.message}",
            ErrorClass.SITE_SETUP,
            outcome.exit_code,
        )
    raise StepFailedError(outcome.message, outcome.error, outcome.exit_code)


def _file_name(label: str) -> str:
    """A label as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", label)[:80].strip(".-") or "step"


def _output_paths(task: Task, folder: Path) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for name, volume in task.output_volumes.items():
        path = folder / name
        path.touch(mode=0o600) if volume.type == "file" else path.mkdir(mode=0o700, exist_ok=True)
        paths[name] = path
    return paths


def _input_paths(task: Task, cube: CubeBundle, inputs: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    own = {
        "parameters_file": cube.parameters_file,
        "additional_files": cube.additional_files,
        "model_files": cube.additional_files,
    }
    paths: dict[str, Path] = {}
    for name in task.input_volumes:
        path = inputs.get(name) or own.get(name)
        if path is None:
            if name not in _OPTIONAL:
                raise RuntimeSetupError(f"it was given no {name!r}")
            path = _nothing(name, folder)
        paths[name] = path
    return paths


def _nothing(name: str, folder: Path) -> Path:
    """An empty stand-in for an optional input that was not given."""
    path = folder / f".no-{name}"
    if name == "parameters_file":
        path.write_text("{}\n", encoding="utf-8")
    else:
        path.mkdir(mode=0o700, exist_ok=True)
    return path
