"""From a step request to what the launcher is told: mounts, environment, limits."""

import base64
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from agents.images.program import program_of
from agents.images.store import UnpackedImage
from agents.runtimes.process.errors import filter_missing
from agents.runtimes.process.seccomp import filter_program
from agents.runtimes.protocol import StepRequest
from agents.runtimes.surroundings import (
    CUBE,
    ENVIRONMENT,
    SCRATCH,
    checked_volumes,
    image_environment,
    task_environment,
)
from cubes.contract import Task

STEP_UID: Final = 10001
_OLD: Final = "/.old"
_TAKEN: Final = (CUBE, ENVIRONMENT, _OLD)
_LINKED: Final = ("/bin", "/sbin", "/lib", "/lib64", "/lib32")
# What programs below /usr refer to: Debian's libraries (BLAS) are links through alternatives.
_SYSTEM: Final = ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")
_FILES: Final = {
    "/etc/passwd": f"root:x:0:0:root:/:/bin/sh\nstep:x:{STEP_UID}:{STEP_UID}:step:/tmp:/bin/sh\n",
    "/etc/group": f"root:x:0:\nstep:x:{STEP_UID}:\n",
    "/etc/hosts": "127.0.0.1 localhost step\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


_IMAGE_FILES: Final = {"/etc/hosts": _FILES["/etc/hosts"]}
_MOST_SCRATCH: Final = 512 << 20


class Mount(NamedTuple):
    """One path of this host inside the step; a tuple because the launcher reads it from JSON."""

    source: str
    target: str
    writable: bool = False
    executable: bool = True


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a step gets from its runtime rather than from its cube."""

    root: Path
    """An empty folder: the mount point of the step's root, in its own namespace alone."""
    interpreter: Path
    environment: Path | None = None
    image: UnpackedImage | None = None
    """For cubes that are images: the step's root, in place of the host's programs."""
    join_files: tuple[str, ...] = ()
    weaken: frozenset[str] = frozenset()
    """Protections to leave out, for tests of the probe alone."""
    scratch: str = SCRATCH
    plain: bool = False
    """No namespaces at all: an operator insisted."""


def launcher_spec(request: StepRequest, around: Surroundings) -> dict[str, Any]:
    """What the launcher reads, as plain data.

    Raises:
        RuntimeSetupError: the volumes are not those of the contract, an input does not exist, or the filter cannot
            be made.
        ImageRefusedError: the image has nothing to run, or nobody to run it as.
    """
    task = request.cube.contract.tasks[request.task]
    common = {
        "parent": os.getpid(),
        "plain": around.plain,
        "weaken": sorted(around.weaken),
        "root": str(around.root),
        "limits": _limits(request, plain=around.plain),
        "tmp": min(request.limits.memory_bytes, _MOST_SCRATCH),
        "cgroups": list(around.join_files),
        "filter": _filter(around),
    }
    if around.image is None:
        return common | _folder_spec(request, task, around)
    return common | _image_spec(request, task, around.image)


def _folder_spec(request: StepRequest, task: Task, around: Surroundings) -> dict[str, Any]:
    volumes = _volumes(request, task, _TAKEN)
    paths = {} if not around.plain else _host_paths(request, volumes)
    return {
        "uid": STEP_UID,
        "image": None,
        "disposable": False,
        "links": {path: str(Path(path).readlink()) for path in _LINKED if Path(path).is_symlink()},
        "files": _FILES,
        "mounts": [*_host(around), Mount(str(request.cube.folder), CUBE), *volumes],
        "cwd": str(request.cube.folder) if around.plain else CUBE,
        "command": [_elsewhere(word, paths) for word in (*task.run_args.entrypoint, *task.run_args.command)],
        "environment": _environment(task, around, paths),
    }


def _image_spec(request: StepRequest, task: Task, image: UnpackedImage) -> dict[str, Any]:
    program = program_of(image.record.process, task.run_args, image.root)
    return {
        "uid": program.user or STEP_UID,
        "image": {"root": str(image.root), "layer": min(request.limits.memory_bytes, _MOST_SCRATCH)},
        "disposable": request.cube.contract.disposable_root,
        "links": {},
        "files": _IMAGE_FILES,
        "mounts": _volumes(request, task, (_OLD,)),
        "cwd": program.directory,
        "command": list(program.words),
        "environment": image_environment(task, program.environment),
    }


def _filter(around: Surroundings) -> str:
    if "filter" in around.weaken:
        return ""
    try:
        return base64.b64encode(filter_program()).decode()
    except (ImportError, OSError, RuntimeError) as error:
        if around.plain:
            return ""
        raise filter_missing(error) from error


def _host(around: Surroundings) -> Iterator[Mount]:
    """The host's programs, read-only, and nothing else of it."""
    yield Mount("/usr", "/usr")
    for path in _LINKED:
        if Path(path).is_dir() and not Path(path).is_symlink():
            yield Mount(path, path)
    for path in _SYSTEM:
        if Path(path).exists():
            yield Mount(path, path, executable=Path(path).is_dir())
    # A virtual environment may name its interpreter's folder by a link (as uv's own Pythons are): both names work.
    # Only what an interpreter needs of its prefix, since that may be somebody's home.
    prefixes = {around.interpreter.parent.parent, around.interpreter.resolve().parent.parent}
    for prefix in sorted(prefixes):
        if not prefix.is_relative_to("/usr") and str(prefix) != "/":
            for part in ("bin", "lib", "lib64"):
                if (prefix / part).is_dir():
                    yield Mount(str((prefix / part).resolve()), str(prefix / part))
    if around.environment is not None:
        yield Mount(str(around.environment), ENVIRONMENT)


def _volumes(request: StepRequest, task: Task, taken: tuple[str, ...]) -> list[Mount]:
    # Libraries among additional files must be loadable; nothing else that comes from outside may be executed.
    return [
        Mount(str(path), volume.mount_path, name in task.output_volumes, name == "additional_files")
        for name, (volume, path) in checked_volumes(request, taken).items()
    ]


def _search_path(around: Surroundings) -> str:
    environment = ENVIRONMENT if not around.plain else str(around.environment)
    own = [f"{environment}/bin"] if around.environment else []
    return ":".join([*own, str(around.interpreter.parent), "/usr/bin", "/bin"])


def _environment(task: Task, around: Surroundings, paths: Mapping[str, str]) -> dict[str, str]:
    return {
        **{name: _elsewhere(value, paths) for name, value in task_environment(task).items()},
        "PATH": _search_path(around),
        "HOME": around.scratch,
        "TMPDIR": around.scratch,
    }


def _host_paths(request: StepRequest, volumes: list[Mount]) -> dict[str, str]:
    """Where volumes lie when nothing can be mounted: the longest paths first."""
    paths = {CUBE: str(request.cube.folder)} | {volume.target: volume.source for volume in volumes}
    return dict(sorted(paths.items(), key=lambda item: -len(item[0])))


def _elsewhere(word: str, paths: Mapping[str, str]) -> str:
    """A word of a command with the paths that it names replaced by the host's."""
    for target, source in paths.items():
        head, found, tail = word.partition(target)
        if found and (not tail or tail.startswith("/")) and (not head or head.endswith("=")):
            return head + source + tail
    return word


def _limits(request: StepRequest, *, plain: bool) -> dict[str, int]:
    limits = request.limits
    return {
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 4096,
        "RLIMIT_FSIZE": limits.output_bytes,
        # Counted for the step's own user namespace; the kernel exempts root, for whom a control group counts. Without
        # a namespace it would count everything that this user runs: the watcher counts then.
        **({} if plain else {"RLIMIT_NPROC": limits.processes}),
        # Address space is not memory: this only stops the absurd. Memory itself is watched, or limited by its group.
        "RLIMIT_AS": limits.memory_bytes * 4 + (4 << 30),
    }


def default_interpreter() -> Path:
    """The Python that runs cubes which bring no environment: the one this application runs on."""
    return Path(sys.base_prefix) / "bin" / "python3"
