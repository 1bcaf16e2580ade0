"""Outputs of a step are what a stranger left: looked over before anything follows them."""

import stat
from collections.abc import Mapping
from pathlib import Path

from agents.errors import StepFailedError
from agents.runtimes.measure import MAX_DEPTH
from api.schemas.border import ErrorClass
from cubes.case_report import REPORT_VOLUME
from cubes.contract import VOLUMES, Task, TaskName


def safe_outputs(folder: Path) -> None:
    """Make sure that a folder holds regular files and folders alone; modes are made readable for the agent.

    Call it when the step is over: nothing may change the folder meanwhile. Links are refused, never followed.

    Raises:
        StepFailedError: a link, pipe, socket or device is among them, or folders are nested too deep.
    """
    waiting = [(folder, 0)]
    while waiting:
        here, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise _malformed(f"the output nests folders more than {MAX_DEPTH} deep")
        here.chmod(0o700)
        for path in here.iterdir():
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                waiting.append((path, depth + 1))
            elif stat.S_ISREG(mode):
                path.chmod(0o600)
            else:
                name = path.relative_to(folder).as_posix()
                raise _malformed(
                    f"the output {name!r} is neither a file nor a folder: links and devices are not accepted"
                )


def missing_output(name: TaskName, task: Task, volumes: Mapping[str, Path]) -> str | None:
    """The first output that the task must write and left empty."""
    for volume in needed_outputs(name, task):
        if volume in task.output_volumes:
            path = volumes[volume]
            empty = not any(path.iterdir()) if path.is_dir() else path.lstat().st_size == 0
            if empty:
                return volume
    return None


def needed_outputs(name: TaskName, task: Task) -> tuple[str, ...]:
    """What the task must write. A staged preparation may have nothing but its report before people have done their part."""
    return (REPORT_VOLUME,) if REPORT_VOLUME in task.output_volumes else VOLUMES[name].needed


def _malformed(message: str) -> StepFailedError:
    return StepFailedError(message, ErrorClass.OUTPUT_MALFORMED, 0)
