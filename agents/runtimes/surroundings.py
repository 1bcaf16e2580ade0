"""What every runtime gives a step: the environment of its program, and volumes that are those of its contract."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agents.runtimes.protocol import RuntimeSetupError, StepRequest
from cubes.contract import Task, Volume

CUBE: Final = "/cube"
ENVIRONMENT: Final = "/env"
# The step's own, of limited size: not the host's.
SCRATCH: Final = "/tmp"  # noqa: S108
_SEARCH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SIZE: Final = re.compile(r"([0-9]+)([bkmg]?)b?", re.IGNORECASE)
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def task_environment(task: Task) -> dict[str, str]:
    """The variables of a task's program: as many threads as it has processors, then what its contract says."""
    threads = str(max(1, round(task.resources.cpu)))
    return {
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **dict.fromkeys(_THREADS, threads),
        **task.run_args.environment,
    }


def folder_environment(task: Task, packages: Path | None) -> dict[str, str]:
    """The variables of a folder's program in an image that has Python: ours, and where its packages are.

    Args:
        task: whose.
        packages: the environment on this host that the step sees at `/env`; its own interpreter may lie elsewhere
            there, so packages are found by path.
    """
    found = [] if packages is None else sorted(packages.glob("lib/python*/site-packages"))
    inside = [f"{ENVIRONMENT}/{each.relative_to(packages).as_posix()}" for each in found] if packages else []
    search = f"{ENVIRONMENT}/bin:{_SEARCH}" if inside else _SEARCH
    own = {"HOME": SCRATCH, "TMPDIR": SCRATCH, "PYTHONPATH": ":".join(inside), "PATH": search}
    return task_environment(task) | own


def image_environment(task: Task, own: Mapping[str, str]) -> dict[str, str]:
    """The variables of an image's program: the image's own, then ours, then what its contract says.

    Args:
        task: whose.
        own: the image's, where the runtime rather than an engine puts them there.
    """
    return {**own, "HOME": SCRATCH, "TMPDIR": SCRATCH, **task_environment(task)}


def checked_volumes(request: StepRequest, taken: tuple[str, ...]) -> dict[str, tuple[Volume, Path]]:
    """Volume name to what the contract says of it and where it lies on this host.

    Args:
        request: what was asked for.
        taken: paths inside the step that the runtime needs itself.

    Raises:
        RuntimeSetupError: the volumes are not those of the contract, one does not exist, or wants a path that is taken.
    """
    task = request.cube.contract.tasks[request.task]
    named = {**task.input_volumes, **task.output_volumes}
    if set(request.volumes) != set(named):
        wrong = ", ".join(sorted(set(request.volumes) ^ set(named)))
        raise RuntimeSetupError(f"the volumes of step {request.key!r} are not those of its contract: {wrong}")
    for name, volume in named.items():
        path, target = request.volumes[name], volume.mount_path
        if not (path.is_dir() if volume.type == "directory" else path.is_file()):
            raise RuntimeSetupError(f"volume {name!r} of step {request.key!r} is no {volume.type}: {str(path)!r}")
        if target == SCRATCH or any(target == path or target.startswith(path + "/") for path in taken):
            raise RuntimeSetupError(
                f"volume {name!r} of step {request.key!r} wants {target!r}, which the runtime needs itself: change the"
                " contract's mount path, for example to /mlcommons/volumes/..."
            )
    return {name: (volume, request.volumes[name]) for name, volume in named.items()}


def gpus_of(task: Task) -> int:
    """How many GPUs a task asks for, by our own key or by the one that other federations use."""
    asked = task.run_args.gpus
    if task.resources.gpu or asked is None:
        return task.resources.gpu
    if isinstance(asked, int) or asked.isdigit():
        return int(asked)
    return len(asked.split(",")) if asked.startswith("device=") else 1


def shared_memory_of(task: Task, *, at_least: int, at_most: int) -> int:
    """Bytes of /dev/shm: as the task asks, in Docker's words (64m, 8g, or bytes), within what the site gives."""
    asked = task.run_args.shm_size
    found = None if asked is None else _SIZE.fullmatch(str(asked))
    wanted = 0 if found is None else int(found[1]) << {"": 0, "b": 0, "k": 10, "m": 20, "g": 30}[found[2].lower()]
    return min(wanted or at_least, at_most)
