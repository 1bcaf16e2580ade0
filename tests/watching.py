"""Looking at what others add and remove meanwhile: folders, processes, control groups."""

import os
from pathlib import Path
from typing import Final

import pytest

CGROUPS: Final = Path("/sys/fs/cgroup")


def found(folder: Path, pattern: str) -> list[Path]:
    """What matches below a folder at some moment.

    Until Python 3.13 a folder that goes between being listed and being opened ends `glob` with an error.
    """
    while True:
        try:
            return list(folder.glob(pattern))
        except FileNotFoundError:
            continue


def goes_meanwhile(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Somebody removes a file once it is known to be one."""
    look = Path.is_file

    def is_file(path: Path) -> bool:
        known = look(path)
        if path.name == name:
            path.unlink(missing_ok=True)
        return known

    monkeypatch.setattr(Path, "is_file", is_file)


def groups_of(agent: int) -> list[Path]:
    """Control groups of the steps of a process; those of other agents come and go beside them."""
    return [path for path in found(CGROUPS, f"**/assay-{agent}-*") if path.is_dir()]


def processes(mark: str) -> list[int]:
    """Processes of this host, but for this one, whose command line holds a text."""
    seen = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it has ended
            if mark.encode() in line:
                seen.append(int(entry.name))
    return seen
