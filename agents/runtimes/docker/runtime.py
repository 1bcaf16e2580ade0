"""The runtime itself: makes a step's container, watches it from outside, says how it ended."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from agents.environments import EnvironmentCache
from agents.errors import AgentError
from agents.images.cube_images import CubeImages
from agents.images.errors import ImageError
from agents.runtimes.docker.container import Around, step_container
from agents.runtimes.docker.engine import CannotStartError, Engine, Said
from agents.runtimes.docker.settings import DockerSettings
from agents.runtimes.lending import lend
from agents.runtimes.measure import disk_use
from agents.runtimes.outcomes import step_outcome
from agents.runtimes.probe import ThisHost, run_probe
from agents.runtimes.protocol import CubeBundle, RuntimeSetupError, StepOutcome, StepRequest
from agents.runtimes.telling import Teller
from agents.runtimes.waiting import uninterrupted
from api.schemas.border import ErrorClass, ProbeOutcome

_LOOK_EVERY_S: Final = 0.2
_DRAIN_S: Final = 5.0
_KILLED: Final = 137
_LATE_S: Final = 2.0
"""How long a container that was killed is asked why: engines learn of a lack of memory by an event of its own, which may come
after the one of the end (containerd issue 12260; ordered since its pull request 12714)."""
_NOT_ASKED: Final = (
    "no_tracing",  # the engine's seccomp profile lets a program trace its own children; nobody else is in the container
    "no_hypervisor_sockets",  # profiles before Docker 23 let them be made; there is no other address to reach
)


class DockerGround(ThisHost):
    """Judges `docker`: the engine's user namespace is the host's unless the engine remaps it, and other rules hold."""

    def told(self) -> Mapping[str, Any]:
        told = dict(super().told())
        namespaces = {name: link for name, link in told["namespaces"].items() if name != "user"}
        return told | {"namespaces": namespaces, "not_asked": _NOT_ASKED}


@dataclass(slots=True)
class _Ended:
    exit_code: int | None = None
    error: ErrorClass | None = None
    reason: str = ""


class DockerRuntime:
    """Runs steps as containers: no network, no capabilities, no new privileges, limits on everything.

    Args:
        work: a folder of the runtime's own, for probes.
        site: the site's name, by which its containers are known.
        settings: the `[docker]` table.
        environments: where folder cubes' Python environments come from.
        images: what was carried to this site, and its logins.
    """

    def __init__(
        self, work: Path, site: str, settings: DockerSettings, environments: EnvironmentCache, images: CubeImages
    ) -> None:
        self.name = "docker"
        self.outlives_agent = False
        self._work, self._site, self._settings, self._environments = work, site, settings, environments
        self._engine = Engine(settings, site, images)
        self._log = structlog.get_logger().bind(runtime=self.name)
        root = os.geteuid() == 0
        self._user, self._group = (settings.user, settings.user) if root else (os.geteuid(), os.getegid())

    def probe(self) -> ProbeOutcome:
        """Run the deny probe with its positive control; see agents.runtimes.probe."""
        outcome = run_probe(self, self._work, DockerGround())
        self._log.info("deny probe", isolation=outcome.isolation.value)
        return outcome

    async def run(self, request: StepRequest) -> StepOutcome:
        """Run one step; see agents.runtimes.protocol.Runtime."""
        if request.task not in request.cube.contract.tasks:
            raise RuntimeSetupError(f"step {request.key!r} asks for {request.task.value!r}, which its cube has not")
        started = datetime.now(UTC)
        try:
            config = await asyncio.to_thread(self._prepared, request)
            ended = await self._run(request, config)
        except ImageError as error:
            ended = _Ended(error=ErrorClass.IMAGE_UNAVAILABLE, reason=str(error))
        except CannotStartError as error:
            ended = _Ended(error=ErrorClass.CANNOT_START, reason=str(error))
        self._log.info("step over", key=request.key, error=ended.error, exit_code=ended.exit_code)
        return step_outcome(
            request, started_at=started, exit_code=ended.exit_code, error=ended.error, reason=ended.reason
        )

    async def holds(self, _key: str) -> bool:
        """Never: a step is watched by the agent that started it, and ends with it."""
        return False

    async def make_ready(self, cube: CubeBundle) -> None:
        """Pull the cube's image, or make its environment, while others compute."""
        try:
            await asyncio.to_thread(self._engine.ensure_image, cube, self._settings.image)
            await asyncio.to_thread(self._environment, cube)
        except (AgentError, RuntimeSetupError) as error:
            self._log.warning("a cube could not be made ready ahead of its turn", reason=str(error))

    async def sweep(self, keep: Callable[[], Collection[str]]) -> int:
        """Remove containers of agents that were killed before they could."""
        return await asyncio.to_thread(self._engine.sweep, keep)

    def leave(self) -> None:
        """Nothing to do: steps end with their agent."""

    def close(self) -> None:
        self._engine.close()

    def _prepared(self, request: StepRequest) -> dict[str, Any]:
        image = self._engine.ensure_image(request.cube, self._settings.image)
        environment = self._environment(request.cube)
        task = request.cube.contract.tasks[request.task]
        for name, path in request.volumes.items():
            lend(path, self._user, writable=name in task.output_volumes)
        folders = () if request.cube.contract.container_type.is_image else (request.cube.folder, environment)
        for folder in folders:
            if folder is not None:
                lend(folder, self._user, writable=False)
        around = Around(self._site, image, self._user, self._group, environment)
        return step_container(request, self._settings, around)

    def _environment(self, cube: CubeBundle) -> Path | None:
        named = cube.contract.requirements
        return None if named is None else self._environments.get(cube.folder / named)

    async def _run(self, request: StepRequest, config: dict[str, Any]) -> _Ended:
        log = _LogCopy(request)
        starting = asyncio.ensure_future(asyncio.to_thread(self._engine.start, config, log.begin))
        try:
            name = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await uninterrupted(self._undo(starting))
            raise
        try:
            ended = await self._watch(name, request, log)
        finally:
            await uninterrupted(asyncio.to_thread(self._engine.remove, name))
            await uninterrupted(asyncio.to_thread(log.finish))
        if ended.error is None and log.too_large:
            return _Ended(error=ErrorClass.LOG_TOO_LARGE)
        return ended

    async def _undo(self, starting: "asyncio.Future[str]") -> None:
        """Cancelled while the engine was making the container: wait for it, to remove it."""
        try:
            name = await starting
        except (CannotStartError, RuntimeSetupError):
            return
        await asyncio.to_thread(self._engine.remove, name)

    async def _watch(self, name: str, request: StepRequest, log: "_LogCopy") -> _Ended:
        """Until the container is over or has passed a limit."""
        end = time.monotonic() + request.limits.deadline_s
        outputs = [request.volumes[volume] for volume in request.cube.contract.tasks[request.task].output_volumes]
        while True:
            state = await asyncio.to_thread(self._engine.state, name)
            passed = await asyncio.to_thread(_passed, outputs, request)
            if state is None:
                return _Ended(error=ErrorClass.POD_DELETED, reason="somebody removed its container")
            if state["Status"] == "exited":
                out_of_memory = await self._is_out_of_memory(name, state)
                return _Ended(error=ErrorClass.MEMORY) if out_of_memory else _Ended(state["ExitCode"], passed)
            if passed is not None or log.too_large or time.monotonic() > end:
                return _Ended(error=passed or (ErrorClass.LOG_TOO_LARGE if log.too_large else ErrorClass.DEADLINE))
            await asyncio.sleep(min(_LOOK_EVERY_S, max(0.0, end - time.monotonic())))

    async def _is_out_of_memory(self, name: str, state: dict[str, Any]) -> bool:
        end = time.monotonic() + (_LATE_S if state["ExitCode"] == _KILLED else 0.0)
        while not state["OOMKilled"] and time.monotonic() < end:
            await asyncio.sleep(_LOOK_EVERY_S)
            again = await asyncio.to_thread(self._engine.state, name)
            state = state if again is None else again
        return bool(state["OOMKilled"])


def _passed(outputs: list[Path], request: StepRequest) -> ErrorClass | None:
    use = disk_use(outputs)
    if use.closed:
        return ErrorClass.OUTPUT_MALFORMED
    # The folders themselves are the site's.
    allowed = request.limits.output_bytes + 4096 * len(outputs)
    return ErrorClass.OUTPUT_TOO_LARGE if use.size > allowed else None


@dataclass(slots=True)
class _LogCopy:
    """Copies what a container says into the step's log, in a thread of its own; stops when it is too much."""

    request: StepRequest
    too_large: bool = False
    _thread: threading.Thread | None = field(default=None, init=False)

    def begin(self, said: Said) -> None:
        descriptor = os.open(self.request.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        self._thread = threading.Thread(target=self._copy, args=(said, descriptor), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        if self._thread is not None:
            self._thread.join(_DRAIN_S)

    def _copy(self, said: Said, descriptor: int) -> None:
        teller, left = Teller(self.request.tell), self.request.limits.log_bytes
        with os.fdopen(descriptor, "wb", buffering=0) as file, closing(said):
            for piece in said:
                file.write(piece[:left])
                teller.feed(piece)
                left -= len(piece)
                if left < 0:
                    self.too_large = True
                    break
        teller.end()
