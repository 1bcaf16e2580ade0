"""One runner per home. Prefect's claim protects against two runners that look at once, not against two that recover."""

import fcntl
import os
from pathlib import Path

from agents.errors import AgentError


class RunnerLockedError(AgentError):
    """Another process runs this home's flows already."""


class RunnerLock:
    """A file lock that the kernel lets go of when its process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take it, or refuse to go on.

        Raises:
            RunnerLockedError: somebody else holds it; with their process identifier.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
            os.close(descriptor)
            raise RunnerLockedError(
                f"{str(self._path)!r} is held by process {holder or 'unknown'}: stop that one first"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._descriptor = descriptor

    def is_held(self) -> bool:
        """Whether the file that we locked is still the one that others would lock."""
        if self._descriptor is None:
            return False
        try:
            there, ours = self._path.stat(), os.fstat(self._descriptor)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
