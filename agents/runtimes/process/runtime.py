"""The runtime itself: prepares a step, lets it be supervised, says how it ended."""

import asyncio
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from agents.environments import EnvironmentCache
from agents.errors import AgentError
from agents.images.cube_images import CubeImages
from agents.images.errors import ImageError
from agents.images.store import UnpackedImage
from agents.runtimes.outcomes import step_outcome
from agents.runtimes.probe import run_probe
from agents.runtimes.process.cgroups import StepGroups, make_groups, sweep
from agents.runtimes.process.errors import SurroundingsError
from agents.runtimes.process.spec import Surroundings, default_interpreter, launcher_spec
from agents.runtimes.process.supervisor import Watched, supervise
from agents.runtimes.protocol import CubeBundle, RuntimeSetupError, StepOutcome, StepRequest
from api.schemas.border import ErrorClass, Isolation, ProbeOutcome


class ProcessRuntime:
    """Runs cubes in namespaces: no network, a root of their own, no capabilities, filtered system calls.

    Args:
        work: a folder of the runtime's own, for mount points and probes.
        environments: where cubes' Python environments come from.
        images: where cubes that are images come from; without it, folders alone run.
        allow_unisolated: where the deny probe finds that the kernel refuses namespaces, run steps as plain processes
            from then on: INSECURE, they see this host. The runtime's name then says so in every outcome of the probe.
        interpreter: the Python for cubes that bring none, and for the launcher.
        weaken: protections to leave out; for tests that show that the probe notices.
    """

    def __init__(
        self,
        work: Path,
        environments: EnvironmentCache,
        *,
        images: CubeImages | None = None,
        allow_unisolated: bool = False,
        interpreter: Path | None = None,
        weaken: frozenset[str] = frozenset(),
    ) -> None:
        self.name = "process"
        self.outlives_agent = False
        self._work, self._environments, self._images = work, environments, images
        self._allow_unisolated = allow_unisolated
        self._interpreter = interpreter or default_interpreter()
        self._weaken = weaken
        self._plain = False
        self._log = structlog.get_logger().bind(runtime=self.name)
        sweep()

    def probe(self) -> ProbeOutcome:
        """Run the deny probe with its positive control; see agents.runtimes.probe.

        Only here a runtime that may becomes a plain one, so that no step is less isolated than the last outcome says.
        """
        outcome = run_probe(self, self._work)
        self._log.info("deny probe", isolation=outcome.isolation.value, memory_and_processes_by=self.limits_by)
        refused = outcome.checks.get("namespaces_are_allowed") is False
        if self._allow_unisolated and refused and not self._plain:
            self._plain, self.name = True, "unisolatedprocess"
            self._log.warning(
                "INSECURE: STEPS ARE NOT ISOLATED. This kernel refuses namespaces and allow_unisolated is set: cubes"
                " can read this host's files and reach its network. Every result says so for ever."
            )
            outcome = outcome.model_copy(update={"runtime": self.name, "isolation": Isolation.NOT_ISOLATED})
        return outcome

    @property
    def limits_by(self) -> str:
        """What holds memory and processes of steps on this host."""
        groups = make_groups(memory_bytes=64 << 20, processes=8)
        groups.remove()
        return "control groups" if groups.folders else "resource limits and a watcher"

    async def run(self, request: StepRequest) -> StepOutcome:
        """Run one step; see agents.runtimes.protocol.Runtime."""
        if request.task not in request.cube.contract.tasks:
            raise RuntimeSetupError(f"step {request.key!r} asks for {request.task.value!r}, which its cube has not")
        started = datetime.now(UTC)
        try:
            image = await asyncio.to_thread(self._image, request.cube)
        except ImageError as error:
            unavailable = ErrorClass.IMAGE_UNAVAILABLE
            return step_outcome(request, started_at=started, exit_code=None, error=unavailable, reason=str(error))
        environment = await asyncio.to_thread(self._environment, request.cube)
        try:
            return await self._run(request, environment, image)
        except (ImageError, SurroundingsError) as error:
            if image is None:
                raise
            # The image's own links and files are in the way of what a step needs.
            cannot = ErrorClass.CANNOT_START
            return step_outcome(request, started_at=started, exit_code=None, error=cannot, reason=str(error))

    async def _run(self, request: StepRequest, environment: Path | None, image: UnpackedImage | None) -> StepOutcome:
        limits = request.limits
        groups = make_groups(memory_bytes=limits.memory_bytes, processes=limits.processes)
        started = datetime.now(UTC)
        try:
            with self._surroundings(environment, image, groups) as around:
                ended = await supervise(self._watched(request, around, groups))
        finally:
            groups.remove()
        return step_outcome(
            request,
            started_at=started,
            exit_code=ended.exit_code,
            error=ended.error,
            peak_memory_bytes=ended.peak_memory_bytes or None,
        )

    async def holds(self, _key: str) -> bool:
        """Never: a step ends with the agent that started it."""
        return False

    async def make_ready(self, cube: CubeBundle) -> None:
        """Pull the cube's image or make its Python environment while others compute."""
        try:
            await asyncio.to_thread(self._image, cube)
            await asyncio.to_thread(self._environment, cube)
        except (AgentError, RuntimeSetupError) as error:
            self._log.warning("a cube could not be made ready ahead of its turn", reason=str(error))

    async def sweep(self, _keep: Callable[[], Collection[str]]) -> int:
        """Nothing to do: no step outlives its agent."""
        return 0

    def leave(self) -> None:
        """Nothing to do: no step outlives its agent."""

    @contextmanager
    def _surroundings(
        self, environment: Path | None, image: UnpackedImage | None, groups: StepGroups
    ) -> Iterator[Surroundings]:
        # Steps share it: on the host it stays an empty folder, the mounts exist in each step's namespace alone.
        root = self._work / "root"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        around = Surroundings(
            root=root,
            interpreter=self._interpreter,
            environment=environment,
            image=image,
            join_files=tuple(groups.join_files),
            weaken=self._weaken,
        )
        if not self._plain:
            yield around
            return
        with tempfile.TemporaryDirectory(prefix="scratch-", dir=self._work, ignore_cleanup_errors=True) as scratch:
            yield replace(around, plain=True, scratch=scratch)

    def _watched(self, request: StepRequest, around: Surroundings, groups: StepGroups) -> Watched:
        task = request.cube.contract.tasks[request.task]
        return Watched(
            interpreter=self._interpreter,
            spec=launcher_spec(request, around),
            log=request.log,
            limits=request.limits,
            outputs=tuple(request.volumes[name] for name in task.output_volumes),
            groups=groups,
            tell=request.tell,
        )

    def _environment(self, cube: CubeBundle) -> Path | None:
        named = cube.contract.requirements
        return None if named is None else self._environments.get(cube.folder / named)

    def _image(self, cube: CubeBundle) -> UnpackedImage | None:
        """The cube's image.

        Raises:
            ImageError: it cannot be had, or is not what was approved.
            RuntimeSetupError: this site runs no images.
        """
        kind = cube.contract.container_type
        if not kind.is_image:
            return None
        if self._images is None or self._plain:
            raise RuntimeSetupError(
                f"the process runtime runs Folder cubes here, not {kind.value}: an image needs namespaces, and a folder"
                " of images in the site's settings"
            )
        return self._images.of(cube)
