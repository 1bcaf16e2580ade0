"""Attempts at a step: one folder each, named by what is run and a number, held by whoever waits for it.

A process that ends without notice leaves its folders behind, no longer held. The next one to want the same step finds
them: where the step itself still runs, the attempt goes on; otherwise it is over, and the next number begins.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.home import Home

_KEY: Final = re.compile(r"(.+)-(\d+)")


@dataclass(slots=True)
class Attempt:
    """One attempt, held by this process until it is closed or left."""

    key: str
    folder: Path
    log: Path
    resumed: bool
    """Another process began it, and its step may still run."""
    _lock: int

    def close(self) -> None:
        """The attempt is over: its folder goes, its log stays."""
        shutil.rmtree(self.folder, ignore_errors=True)
        _lock_file(self.folder).unlink(missing_ok=True)
        os.close(self._lock)

    def leave(self) -> None:
        """Let go of it, for the next process to find."""
        os.close(self._lock)


async def take_attempt(home: Home, stem: str, still_runs: Callable[[str], Awaitable[bool]]) -> Attempt:
    """The attempt at a step that was left behind and still runs, or else a new one.

    Args:
        home: the site's folder.
        stem: what is run; the same for the same task of the same cube on the same inputs.
        still_runs: whether the runtime has a step of a key.
    """
    attempts, logs = home.folder("attempts"), home.folder("logs")
    for folder in sorted(attempts.glob(f"{stem}-*")):
        if folder.is_dir() and (lock := _try_lock(folder)) is not None:
            found = Attempt(folder.name, folder, logs / f"{folder.name}.log", resumed=True, _lock=lock)
            try:
                goes_on = folder.is_dir() and await still_runs(folder.name)
            except BaseException:
                found.leave()  # nobody can say: it is for whoever asks next
                raise
            if goes_on:
                return found
            found.close()
    while True:
        folder = attempts / f"{stem}-{_next_number(stem, attempts, logs)}"
        lock = _try_lock(folder)
        if lock is None:
            continue
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            os.close(lock)
            continue
        log = logs / f"{folder.name}.log"
        log.touch(mode=0o600)  # takes the number for ever
        return Attempt(folder.name, folder, log, resumed=False, _lock=lock)


def keys_under_way(home: Home) -> frozenset[str]:
    """Keys of attempts that are held, or were left behind by a process that ended."""
    return frozenset(path.name for path in home.folder("attempts").iterdir() if path.is_dir())


def abandoned(home: Home, older_than_s: float, now_s: float, *, since_s: float) -> Iterator[Attempt]:
    """Attempts that nobody holds, and nobody took up for so long; each is held while it is looked at.

    Args:
        home: the site's folder.
        older_than_s: so long.
        now_s: seconds since the epoch, as the two others.
        since_s: when those began who might take them up; a step may have run for hours before.
    """
    for folder in sorted(home.folder("attempts").iterdir()):
        if not _lock_file(folder).exists() or not folder.is_dir():
            continue
        if now_s - max(folder.stat().st_mtime, since_s) > older_than_s:
            lock = _try_lock(folder)
            if lock is not None:
                yield Attempt(folder.name, folder, home.folder("logs") / f"{folder.name}.log", resumed=True, _lock=lock)


def _next_number(stem: str, attempts: Path, logs: Path) -> int:
    names = [path.name for path in attempts.glob(f"{stem}-*")]
    names += [path.name for path in logs.glob(f"{stem}-*.log")]
    found = [_KEY.fullmatch(name.removesuffix(".log").removesuffix(".lock")) for name in names]
    return 1 + max((int(match[2]) for match in found if match is not None and match[1] == stem), default=0)


def _try_lock(folder: Path) -> int | None:
    """Hold an attempt, unless somebody does: the kernel lets go when its holder ends."""
    descriptor = os.open(_lock_file(folder), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
