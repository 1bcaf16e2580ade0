"""The runtime protocol: how one step of a cube runs, whatever runs it.

A runtime is judged by the same deny probe as every other. It gets paths on this host and gives back an outcome; it
never raises for what a cube does, only for what the site itself got wrong.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from api.schemas.border import ErrorClass, ProbeOutcome
from cubes.contract import Contract, TaskName

MIB = 1024 * 1024


class RuntimeSetupError(Exception):
    """The site cannot run steps as it is set up. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one step may use; each is enforced by the runtime, never by the cube's good will."""

    deadline_s: float = 3600.0
    """Wall-clock seconds from the step's start to its end, however busy or silent it is."""
    memory_bytes: int = 4096 * MIB
    processes: int = 256
    output_bytes: int = 2048 * MIB
    """All output folders together."""
    log_bytes: int = 16 * MIB
    """Stdout and stderr together; a step that writes more is ended."""


@dataclass(frozen=True, slots=True)
class CubeBundle:
    """A cube made ready on this host: unpacked, verified, its digest known."""

    contract: Contract
    pack_digest: str
    folder: Path
    """The unpacked pack; its `container_config.yaml` is `contract`."""
    additional_files: Path | None = None
    """Unpacked folder of additional files, verified against their digest."""
    parameters_file: Path | None = None


@dataclass(frozen=True, slots=True)
class StepRequest:
    """One task of one cube with its volumes."""

    key: str
    """Unique per step and attempt at this site; safe as a file name."""
    cube: CubeBundle
    task: TaskName
    volumes: Mapping[str, Path]
    """Volume name of the contract to a path on this host. Inputs must exist; outputs exist, are empty and writable."""
    log: Path
    """Where stdout and stderr go; stays at the site."""
    limits: Limits = field(default_factory=Limits)
    tell: Callable[[str], None] | None = None
    """Called with the first lines of the log as they are written; they never leave the site."""
    note: Callable[[str], None] | None = None
    """Called with why a step waits, in the words of whatever runs it: never with the step's own."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """How a step ended. `error` is None exactly when the exit code was 0 and every limit was kept."""

    started_at: datetime
    finished_at: datetime
    exit_code: int | None
    """None when the step was ended from outside or never started."""
    error: ErrorClass | None
    message: str = ""
    """For the site's own people: what happened and the last lines of the log."""
    peak_memory_bytes: int | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


class Runtime(Protocol):
    """Runs steps. Implementations: `process` (namespaces), `docker` (one container), `kubernetes` (one Job a step)."""

    name: str
    outlives_agent: bool
    """Whether a step goes on when this process ends, so that running it again with the same key re-attaches to it."""

    def probe(self) -> ProbeOutcome:
        """Run the deny probe with its positive control; blocking, seconds.

        Never raises for missing isolation: the outcome says `not_isolated` and which check failed.
        """
        ...

    async def run(self, request: StepRequest) -> StepOutcome:
        """Run one step to its end. Cancelling the awaiting task ends the step and everything it started.

        Where steps outlive the agent, one of the same key that runs or has ended is taken over, never started twice.

        Raises:
            RuntimeSetupError: the site, not the cube, is at fault (an input does not exist, no interpreter).
        """
        ...

    async def holds(self, key: str) -> bool:
        """Whether a step of that key runs or has ended here and can be taken over."""
        ...

    async def make_ready(self, cube: CubeBundle) -> None:
        """Fetch what the cube's steps will need (image, packages) before their turn. Failing is the step's affair."""
        ...

    async def sweep(self, keep: Callable[[], Collection[str]]) -> int:
        """End steps of this site that nobody waits for any more; returns how many.

        Args:
            keep: keys of attempts under way. Asked once the steps are known: one that begins meanwhile is not taken.
        """
        ...

    def leave(self) -> None:
        """The agent is about to stop: steps that outlive it are left running when their tasks are cancelled from now on."""
        ...
