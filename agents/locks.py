"""File locks: the kernel lets go of them with the process that holds them, however it ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agents.errors import HomeError
from agents.home import Home

_LOOKING_S: Final = 0.5
"""Whoever asks whether a lock is held has it for an instant."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock; whoever else wants it waits. The file stays: a lock on a removed file protects nothing."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class FileLock:
    """A lock that nobody waits long for, with the number of the process that holds it in its file.

    Args:
        path: the file; it stays.
        what: is held; the beginning of what whoever comes second is told.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take it.

        Raises:
            HomeError: another process holds it; the message says `what` is held and by which process.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        until = time.monotonic() + _LOOKING_S
        while not took(descriptor):
            if time.monotonic() >= until:
                holder = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip() or "unknown"
                os.close(descriptor)
                raise HomeError(f"{self._what} (process {holder}): stop it, or leave the work to it")
            time.sleep(0.01)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
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


def took(descriptor: int) -> bool:
    """Take the lock of an open file, unless somebody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def held_alone(path: Path, what: str) -> Iterator[None]:
    """Hold a `FileLock` for as long as the block lasts.

    Raises:
        HomeError: another process holds it.
    """
    lock = FileLock(path, what)
    lock.take()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def only_agent(home: Home) -> Iterator[None]:
    """Be the one agent of a site: two would start each job twice.

    Raises:
        HomeError: another process is it; the message names that process.
    """
    with held_alone(home.agent_lock, f"an agent of {str(home.path)!r} runs already"):
        yield
