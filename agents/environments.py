"""Python environments for cubes: made once from a hash-locked list, named by its digest, never the application's own.

The list and the packages come from strangers, and an environment is made on the host, before any isolation. So nothing
of theirs runs here: wheels alone, never a build; byte code is compiled by the host's interpreter without `site`, since
a package's `.pth` file would run as soon as the environment's own interpreter starts; and a list that names an address,
a file or an option of the installer is refused, so that packages come from the site's own index alone.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from agents.errors import AgentError
from agents.locks import locked
from cubes.digests import digest_of

Progress = Callable[[str], None]
Requirements = tuple[str, ...]
MAX_LIST_BYTES: Final = 4 << 20
_TAIL: Final = 12
_REQUIREMENT: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._, -]+\])?\s*==\s*[A-Za-z0-9.!+_-]+"
    r"(\s*;[A-Za-z0-9_.'\"<>=!~() -]+?)?(\s+--hash=sha256:[0-9a-f]{64})+"
)
_NAME: Final = re.compile(r"[0-9a-f]{64}")


class EnvironmentUnavailableError(AgentError):
    """An environment cannot be made. The message holds what the installer said last."""


@dataclass(frozen=True, slots=True)
class CachedEnvironment:
    """An environment that is there."""

    digest: str
    """Of the locked list, the Python and the machine."""
    size: int
    """Bytes on disk."""
    made_at: datetime


class EnvironmentCache:
    """Environments below one folder, shared by all who may read it.

    Args:
        folder: where they lie; made when it is missing.
        interpreter: the Python that they are made for; the one that this application runs on when left out.
    """

    def __init__(self, folder: Path, *, interpreter: Path | None = None) -> None:
        self.folder = folder
        self._interpreter = interpreter or Path(sys.base_prefix) / "bin" / "python3"

    def get(self, requirements: Path | None, progress: Progress | None = None) -> Path | None:
        """The environment for a hash-locked list; made when it is missing, which takes the time of a download.

        What is cached needs no network. Several processes that want the same one make it once.

        Returns:
            Its folder, or None when the list is absent or empty: the bare interpreter is enough.

        Raises:
            EnvironmentUnavailableError: the list is not locked with hashes or names more than packages, or one of
                them cannot be had.
        """
        wanted = () if requirements is None else locked_requirements(requirements)
        if not wanted:
            return None
        folder = self.folder / self.digest_of(wanted).removeprefix("sha256:")
        if not folder.is_dir():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(folder.with_suffix(".lock")):
                if not folder.is_dir():
                    self._make(wanted, folder, progress or (lambda _line: None))
        return folder

    def digest_of(self, wanted: Requirements) -> str:
        """What makes two environments the same: requirements, Python, machine."""
        python = [sys.implementation.cache_tag, platform.python_version(), str(self._interpreter.resolve())]
        return digest_of({"requirements": [*wanted], "python": python, "machine": platform.machine()})

    def list(self) -> tuple[CachedEnvironment, ...]:
        """What is cached, the oldest first."""
        if not self.folder.is_dir():
            return ()
        found = [
            CachedEnvironment(f"sha256:{path.name}", _size(path), datetime.fromtimestamp(path.stat().st_mtime, UTC))
            for path in self.folder.iterdir()
            if _NAME.fullmatch(path.name)
        ]
        return tuple(sorted(found, key=lambda environment: (environment.made_at, environment.digest)))

    def remove(self, digest: str) -> None:
        """Remove one; the next step that needs it makes it again. No step may be running in it.

        Raises:
            EnvironmentUnavailableError: there is none of that digest.
        """
        name = digest.removeprefix("sha256:")
        folder = self.folder / name
        if not _NAME.fullmatch(name) or not folder.is_dir():
            raise EnvironmentUnavailableError(f"no environment {digest!r} is cached here: list those that are")
        with locked(folder.with_suffix(".lock")):
            gone = folder.with_name(f".{name}.{uuid4().hex}")
            folder.rename(gone)
            shutil.rmtree(gone)

    def _make(self, wanted: Requirements, folder: Path, progress: Progress) -> None:
        for left in folder.parent.glob(f".{folder.name}.*"):  # by a crash; nobody else makes it, we hold the lock
            shutil.rmtree(left, ignore_errors=True)
        fresh = folder.with_name(f".{folder.name}.{uuid4().hex}")
        python = str(self._interpreter)
        try:
            _uv(progress, "venv", "--no-project", "--relocatable", "--python", python, str(fresh))
            requirements = fresh / "requirements.lock"
            requirements.write_text("\n".join(wanted) + "\n", encoding="utf-8")
            _uv(progress, "pip", "sync", "--require-hashes", "--only-binary", ":all:", "--link-mode", "hardlink",
                "--no-compile-bytecode", "--python", str(fresh / "bin" / "python"), str(requirements))  # fmt: skip
            progress("compiling")
            _run(progress, [python, "-I", "-S", "-m", "compileall", "-q", "-j", "0", str(fresh / "lib")], may_fail=True)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def locked_requirements(path: Path) -> Requirements:
    """The requirements of a list, each `name==version --hash=sha256:...`; nothing else may be in it.

    Raises:
        EnvironmentUnavailableError: with the line that does not belong.
    """
    try:
        text = path.read_bytes()[: MAX_LIST_BYTES + 1].decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentUnavailableError(f"the list {path.name!r} cannot be read: {error}") from error
    if len(text) > MAX_LIST_BYTES:
        raise EnvironmentUnavailableError(f"the list {path.name!r} is larger than {MAX_LIST_BYTES} bytes: shorten it")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in re.sub(r"\\\r?\n", " ", text).splitlines())
    wanted = [" ".join(line.split()) for line in lines if line]
    for line in wanted:
        if not _REQUIREMENT.fullmatch(line):
            raise EnvironmentUnavailableError(
                f"the list {path.name!r} holds {line[:120]!r}, which is no name==version with --hash=sha256:...: lock"
                " it with `uv pip compile --generate-hashes --no-annotate --no-emit-index-url`"
            )
    return tuple(sorted(wanted))


def _uv(progress: Progress, *arguments: str) -> None:
    import uv  # noqa: PLC0415 - only those who make environments need it

    # The index is the user's own affair: uv reads it from their environment or configuration.
    _run(progress, [uv.find_uv_bin(), *arguments], UV_PYTHON_DOWNLOADS="never", UV_NO_PROGRESS="1")


def _run(progress: Progress, command: list[str], *, may_fail: bool = False, **changes: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"} | changes
    last: deque[str] = deque(maxlen=_TAIL)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
    ) as running:
        for line in running.stderr or ():
            last.append(line.rstrip())
            progress(line.rstrip())
    # Some packages ship files in a future or past Python: not compiling them is no failure.
    if running.returncode != 0 and not may_fail:
        said = "\n".join(last)
        raise EnvironmentUnavailableError(f"a cube's Python environment cannot be made ({command[1]}):\n{said}")


def _size(folder: Path) -> int:
    return sum((Path(here) / name).lstat().st_size for here, _, names in os.walk(folder) for name in names)
