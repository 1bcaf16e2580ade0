"""Lending: a step's user is another than the agent's where the agent is root, and must read its inputs all the same."""

import os
import stat
from pathlib import Path


def lend(path: Path, user: int, *, writable: bool) -> None:
    """Give a step's user what it is to read or write, where the agent is root and its own files are closed to others.

    What everybody may read stays as it is, and so does what belongs to others than root: it is not the agent's.
    """
    if os.geteuid() != 0 or not (writable or _closed(path)):
        return
    for found in (path, *(path.rglob("*") if path.is_dir() else ())):
        if found.lstat().st_uid == 0:
            os.chown(found, user, user, follow_symlinks=False)


def _closed(path: Path) -> bool:
    mode = path.stat().st_mode
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & wanted != wanted
