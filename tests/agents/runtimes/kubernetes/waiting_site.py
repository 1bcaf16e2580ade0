"""A site whose steps wait for a word: all five of them, run at once through the site's own door.

As a program (`python -m tests.agents.runtimes.kubernetes.waiting_site FOLDER`) it is an agent that is about to be killed.
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

from agents.errors import StepFailedError
from agents.runtimes.protocol import CubeBundle
from agents.site import Site
from agents.steps import run_step
from cubes.contract import VOLUMES, TaskName, parse_contract

TASKS: Final = (TaskName.PREPARE, TaskName.SANITY_CHECK, TaskName.STATISTICS, TaskName.INFER, TaskName.EVALUATE)
_KINDS: Final = (TASKS[:3], TASKS[3:4], TASKS[4:])
"""A cube is a preparator, a model or a metrics cube."""
_PROGRAM: Final = """
import os, pathlib, time
while not os.path.exists("/in/word/go"):
    time.sleep(0.05)
for output in pathlib.Path("/").glob("out/*"):
    (output / "x" if output.is_dir() else output).write_text("a: 1")
"""
_INPUTS: Final = {"evaluate": ("predictions", "labels")}
_OUTPUTS: Final = {"prepare": ("output_path", "output_labels_path"), "sanity_check": ()}
_FILES: Final = {"statistics", "evaluate"}


def bundles(folder: Path) -> dict[TaskName, CubeBundle]:
    """One cube for each kind; written where they are missing."""
    found: dict[TaskName, CubeBundle] = {}
    for number, tasks in enumerate(_KINDS):
        cube = folder / f"cube-{number}"
        if not cube.exists():
            cube.mkdir(mode=0o755)
            (cube / "main.py").write_text(_PROGRAM)
        contract = parse_contract("container_type: Folder\ntasks:\n" + "".join(map(_task, tasks)))
        found |= {task: CubeBundle(contract, f"sha256:{number:064}", cube) for task in tasks}
    return found


def _task(task: TaskName) -> str:
    inputs = _inputs(task)
    places = {name: f"/in/{'word' if name == inputs[0] else name}" for name in inputs}
    outputs = _OUTPUTS.get(task.value, ("output_path",))
    kind = "file" if task.value in _FILES else "directory"
    return "\n".join([
        f"  {task.value}:",
        "    run_args: {command: python3 main.py}",
        "    resources: {cpu: 0.2, memory: 64Mi}",
        f"    input_volumes: {{{', '.join(f'{n}: {{mount_path: {p}, type: directory}}' for n, p in places.items())}}}",
        f"    output_volumes: {{{', '.join(f'{n}: {{mount_path: /out/{n}, type: {kind}}}' for n in outputs)}}}",
        "",
    ])  # fmt: skip


def _inputs(task: TaskName) -> tuple[str, ...]:
    known = _INPUTS.get(task.value, ("data_path", "labels_path"))
    return known[:1] if task == TaskName.INFER else known


def word(folder: Path, task: TaskName) -> Path:
    """The input in which a task waits for a file called `go`."""
    return folder / "inputs" / task.value / _inputs(task)[0]


async def run_all(site: Site, folder: Path) -> dict[str, str]:
    """Run the five steps at once: task to how it ended, empty when well."""
    return dict(await asyncio.gather(*(run_task(site, folder, task) for task in TASKS)))


async def run_task(site: Site, folder: Path, task: TaskName) -> tuple[str, str]:
    """Run one of them: the task, and how it ended."""
    inputs = {name: folder / "inputs" / task.value / name for name in _inputs(task)}
    for path in inputs.values():
        path.mkdir(parents=True, exist_ok=True)
    try:
        outputs = await run_step(site, bundles(folder)[task], task, inputs, task.value)
    except StepFailedError as error:
        return task.value, f"{error.error_class}: {error}"
    empty = [name for name in VOLUMES[task].needed if name in outputs.volumes and not _written(outputs.volumes[name])]
    outputs.discard()
    return task.value, f"empty: {empty}" if empty else ""


def _written(path: Path) -> bool:
    return path.stat().st_size > 0 if path.is_file() else any(path.iterdir())


if __name__ == "__main__":
    asyncio.run(run_all(Site(Path(sys.argv[1]) / "home"), Path(sys.argv[1])))
