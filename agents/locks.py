"""File locks: the kernel lets go of them with the process that holds them, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agents.errors import HomeError
from agents.home import Home


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock; whoever else wants it waits. The file stays: a lock on a removed file protects nothing."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def held_alone(path: Path, what: str) -> Iterator[None]:
    """Hold a lock, with our process's number in its file; nobody waits for it.

    Raises:
        HomeError: another process holds it; the message says `what` is held and by which process.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip() or "unknown"
            raise HomeError(f"{what} (process {holder}): stop it, or leave the work to it") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def only_agent(home: Home) -> Iterator[None]:
    """Be the one agent of a site: two would start each job twice.

    Raises:
        HomeError: another process is it; the message names that process.
    """
    with held_alone(home.agent_lock, f"an agent of {str(home.path)!r} runs already"):
        yield
