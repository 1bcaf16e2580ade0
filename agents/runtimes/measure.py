"""What a running step uses, seen from outside: its processes, their memory, the disk its outputs take."""

import contextlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_ENTRY_BYTES: Final = 4096
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
MAX_DEPTH: Final = 64


@dataclass(frozen=True, slots=True)
class DiskUse:
    """Bytes of a step's outputs; `closed` when nobody can look into a folder of it: closed, or nested too deep."""

    size: int
    closed: bool


def disk_use(outputs: Iterable[Path]) -> DiskUse:
    """What outputs take on disk. Every entry counts at least 4 KiB: empty files fill a disk's tables too.

    Links are counted, never followed, however quickly a running step swaps them for folders.
    """
    total, closed = 0, False
    for output in outputs:
        try:
            use = _whole(output)
        except PermissionError:
            use = DiskUse(0, closed=True)
        total, closed = total + use.size, closed or use.closed
    return DiskUse(total, closed)


def _whole(output: Path) -> DiskUse:
    if not output.is_dir():
        return DiskUse(output.lstat().st_size, closed=False)
    descriptor = os.open(output, _FOLDER)
    try:
        return _below(descriptor, 1)
    finally:
        os.close(descriptor)


def _below(folder: int, depth: int) -> DiskUse:
    total, closed = 0, False
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
                total += max(_ENTRY_BYTES, status.st_size)
                if stat.S_ISDIR(status.st_mode):
                    use = _inside(entry.name, folder, depth)
                    total, closed = total + use.size, closed or use.closed
            except PermissionError:
                closed = True
            except OSError:
                continue  # gone or swapped meanwhile: the next look sees it
    return DiskUse(total, closed)


def _inside(name: str, parent: int, depth: int) -> DiskUse:
    if depth >= MAX_DEPTH:
        return DiskUse(0, closed=True)
    descriptor = os.open(name, _FOLDER, dir_fd=parent)
    try:
        return _below(descriptor, depth + 1)
    finally:
        os.close(descriptor)


def hidden_use(pids: Iterable[int], outputs: Iterable[Path]) -> int:
    """Bytes of files on the outputs' disks that the step holds open but has already removed."""
    disks = {output.stat().st_dev for output in outputs}
    held: dict[tuple[int, int], int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    status = link.stat()
                    if status.st_nlink == 0 and status.st_dev in disks and stat.S_ISREG(status.st_mode):
                        held[status.st_dev, status.st_ino] = status.st_size
    return sum(held.values())


def tree(root: int) -> dict[int, int]:
    """A process and everything it started: process number to resident bytes."""
    parents: dict[int, int] = {}
    resident: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                fields = text.rsplit(")", 1)[1].split()
                parents[int(entry.name)] = int(fields[1])
                resident[int(entry.name)] = int(fields[21]) * _PAGE
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    members, waiting = set[int](), [root]
    while waiting:
        pid = waiting.pop()
        members.add(pid)
        waiting.extend(children.get(pid, []))
    return {pid: resident.get(pid, 0) for pid in members}
