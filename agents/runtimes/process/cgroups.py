"""Control groups for one step, where this process may make them (root, or a delegated subtree): memory and processes."""

import contextlib
import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
_PREFIX: Final = "assay-"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class StepGroups:
    """The groups of one step: empty when this process may make none."""

    folders: tuple[Path, ...] = ()

    @property
    def join_files(self) -> list[str]:
        return [str(folder / "cgroup.procs") for folder in self.folders]

    def members(self) -> set[int]:
        """The step's processes, by their number on this host."""
        found: set[int] = set()
        for folder in self.folders:
            with contextlib.suppress(OSError, ValueError):
                found |= {int(pid) for pid in (folder / "cgroup.procs").read_text(encoding="ascii").split()}
        return found

    def killed_for_memory(self) -> bool:
        """Whether the kernel ended a process of the step for its memory."""
        return any(_count(folder, "oom_kill") > 0 for folder in self.folders)

    def peak_memory(self) -> int | None:
        """Bytes of memory at their highest; None where the kernel does not say."""
        for folder in self.folders:
            for name in ("memory.peak", "memory.max_usage_in_bytes"):
                with contextlib.suppress(OSError, ValueError):
                    return int((folder / name).read_text(encoding="ascii"))
        return None

    def remove(self) -> None:
        """Remove the groups; the last process may take a moment to be gone."""
        for folder in self.folders:
            for _ in range(50):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.02)
                else:
                    break


def make_groups(*, memory_bytes: int, processes: int) -> StepGroups:
    """Groups for one step with these limits, or none where this process may not make them."""
    name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
    if (ROOT / "cgroup.controllers").exists():
        limits = {"memory.max": memory_bytes, "pids.max": processes, "memory.swap.max": 0}
        return _make({_own_v2_parent() / name: limits})
    return _make(
        {
            ROOT / "memory" / name: {"memory.limit_in_bytes": memory_bytes},
            ROOT / "pids" / name: {"pids.max": processes},
        }
    )


def sweep() -> None:
    """Remove empty groups of agents that were killed before they could."""
    for parent in (ROOT / "memory", ROOT / "pids", _own_v2_parent()):
        with contextlib.suppress(OSError):
            for folder in parent.glob(_PREFIX + "*"):
                agent = folder.name.removeprefix(_PREFIX).partition("-")[0]
                if agent.isdigit() and not Path("/proc", agent).exists():
                    with contextlib.suppress(OSError):  # not empty: somebody's step still runs in it
                        folder.rmdir()


def _make(wanted: dict[Path, dict[str, int]]) -> StepGroups:
    """All of these groups, or none."""
    made: list[Path] = []
    try:
        for folder, limits in wanted.items():
            folder.mkdir()
            made.append(folder)
            for file, value in limits.items():
                if file != "memory.swap.max" or (folder / file).exists():  # a kernel without swap accounting
                    (folder / file).write_text(str(value), encoding="ascii")
    except OSError:
        StepGroups(tuple(made)).remove()
        return StepGroups()
    return StepGroups(tuple(made))


def _own_v2_parent() -> Path:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
            if line.startswith("0::"):
                # A group with processes cannot have controlled children: make them beside ours.
                return (ROOT / line[3:].strip("/")).parent if line[3:] != "/" else ROOT
    return ROOT


def _count(folder: Path, key: str) -> int:
    for name in ("memory.events", "memory.oom_control"):
        with contextlib.suppress(OSError):
            for line in (folder / name).read_text(encoding="ascii").splitlines():
                if line.startswith(key + " "):
                    return int(line.split()[1])
    return 0
