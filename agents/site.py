"""A site, put together: its folder, store, cubes and runtime. The agent, its flows and the command line share this."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from agents.attempts import abandoned, keys_under_way
from agents.border import Border
from agents.bundles.carried import Carried
from agents.cube_store import CubeStore
from agents.downloads.cache import Downloads
from agents.downloads.schemes import all_schemes
from agents.environments import EnvironmentCache
from agents.errors import HomeError, StepFailedError
from agents.home import Home, read_private, write_private
from agents.images.credentials import RegistryCredentials
from agents.images.cube_images import CubeImages
from agents.images.registry import RegistryAccess, RegistrySource
from agents.images.store import ImageStore
from agents.images.trust import Demand, ImageTrust
from agents.runtimes.process import ProcessRuntime
from agents.runtimes.protocol import MIB, CubeBundle, Limits, Runtime
from agents.runtimes.surroundings import gpus_of
from agents.store import Store
from agents.verification import Verified, verify_dataset
from api.schemas.border import ErrorClass, Isolation, ProbeOutcome
from api.schemas.cubes import CubeRef
from api.schemas.records import SiteWork
from cubes.contract import Contract, Task
from cubes.image_reference import ImageReference

HOME_VARIABLE = "ASSAY_SITE_HOME"


@runtime_checkable
class Closable(Protocol):
    """A runtime that holds a connection."""

    def close(self) -> None: ...


class Slots:
    """How many steps run at once, within one event loop. Steps that need a GPU may have slots of their own.

    Then the evaluation of one model, which needs none, runs beside the next model's inference.
    """

    def __init__(self, steps: int, gpu_steps: int) -> None:
        self._steps = asyncio.Semaphore(steps)
        self._gpu_steps = asyncio.Semaphore(gpu_steps) if gpu_steps else self._steps
        self.preparing = asyncio.Semaphore(1)
        """One image or environment at a time is made ready ahead of its turn."""

    def of(self, task: Task) -> asyncio.Semaphore:
        return self._gpu_steps if gpus_of(task) else self._steps


class Site:
    """One hospital's site on this host.

    Raises:
        HomeError: the folder is not a site's home.
    """

    def __init__(self, path: Path) -> None:
        self.home = Home(path.resolve())
        self.settings = self.home.settings()
        self.store = Store(self.home.store_file)
        self._slots: WeakKeyDictionary[asyncio.AbstractEventLoop, Slots] = WeakKeyDictionary()
        self._since_s = time.time()
        self.leaving = False
        """The agent is about to stop: steps that outlive it go on, whatever is cancelled from now on."""

    @cached_property
    def border(self) -> Border:
        return Border(self.home, self.store)

    @cached_property
    def environments(self) -> EnvironmentCache:
        return EnvironmentCache(_environments_folder(self.home))

    @cached_property
    def cubes(self) -> CubeStore:
        folder = self.home.folder("cubes")
        return CubeStore(folder, self.carried.fetch, check=self._check_trust, download=self._download)

    @cached_property
    def carried(self) -> Carried:
        """Blobs that came in a bundle are asked before the registry."""
        return Carried(self.home.path / "carried", self._fetch_over_the_border)

    def _fetch_over_the_border(self, digest: str, target: Path) -> None:
        # Asked late: a site without a network has no border to connect.
        self.border.fetch(digest, target)

    def _download(self, url: str, digest: str, target: Path) -> None:
        if (self.carried.folder / digest.removeprefix("sha256:")).is_file():
            self.carried.fetch(digest, target)
        else:
            self.downloads.copy(url, digest, target)

    def _archive(self, url: str, digest: str) -> Path:
        here = self.carried.folder / digest.removeprefix("sha256:")
        return here if here.is_file() else self.downloads.get(url, digest)

    @cached_property
    def downloads(self) -> Downloads:
        settings = self.settings.downloads
        return Downloads(self.home.folder("downloads"), all_schemes(settings, self._hub_token), settings)

    def _hub_token(self) -> str | None:
        return read_private(self.home.hub_token_file) if self.home.hub_token_file.exists() else None

    def _check_trust(self, ref: CubeRef, contract: Contract) -> None:
        self.image_trust.check(contract, self._demands(ref))

    def _demands(self, ref: CubeRef) -> list[Demand]:
        """Whose signatures a cube's image needs: the site's own choice, and every benchmark's that uses the cube."""
        demands = [Demand("this site", self.settings.images.keys)] if self.settings.images.keys else []
        try:
            benchmarks = self.work().benchmarks
        except HomeError:
            benchmarks = []
        for each in benchmarks:
            used = {cube.pack_digest for cube in (each.preparator, each.metrics_cube, *(m.cube for m in each.models))}
            if each.image_keys and ref.pack_digest in used:
                demands.append(Demand(f"the benchmark {each.name!r}", tuple(each.image_keys)))
        return demands

    @cached_property
    def image_access(self) -> RegistryAccess:
        settings = self.settings.images
        return RegistryAccess(
            login=RegistryCredentials(self.home.registries_file).get,
            plain_http=frozenset(settings.plain_http),
            limits=settings.limits(),
        )

    @cached_property
    def images(self) -> CubeImages:
        access = self.image_access
        store = ImageStore(self.home.folder("images"), lambda ref: closing(RegistrySource(ref, access)), access.limits)
        return CubeImages(store, self._archive, access.login)

    @cached_property
    def image_trust(self) -> ImageTrust:
        return ImageTrust(self.home.folder("images") / "signatures", self.signature_source)

    def signature_source(self, reference: ImageReference) -> closing[RegistrySource]:
        """Where an image's signatures are: beside it, in its registry."""
        return closing(RegistrySource(reference, self.image_access))

    @cached_property
    def runtime(self) -> Runtime:
        settings = self.settings
        if settings.kubernetes is not None and settings.runtime == "kubernetes":
            # Its client takes seconds to import, and most sites do without.
            from agents.runtimes.kubernetes.runtime import KubernetesRuntime  # noqa: PLC0415

            return KubernetesRuntime(self.home.path, settings.site, settings.kubernetes, self.environments)
        if settings.runtime == "docker":
            from agents.runtimes.docker.runtime import DockerRuntime  # noqa: PLC0415 - so does its client

            work = self.home.folder("work")
            return DockerRuntime(work, settings.site, settings.docker, self.environments, self.images)
        return ProcessRuntime(
            self.home.folder("work"),
            self.environments,
            images=self.images,
            allow_unisolated=self.settings.allow_unisolated,
        )

    @property
    def slots(self) -> Slots:
        """As many steps as may run at once, whatever flow they belong to."""
        loop = asyncio.get_running_loop()
        if loop not in self._slots:
            self._slots[loop] = Slots(self.settings.slots, self.settings.gpu_slots)
        return self._slots[loop]

    @asynccontextmanager
    async def turn(self, cube: CubeBundle, task: Task) -> AsyncIterator[None]:
        """Wait for a slot; meanwhile, what the cube needs is made ready, one cube after the other."""
        slots = self.slots
        slot = slots.of(task)
        if slot.locked():
            async with slots.preparing:
                await self.runtime.make_ready(cube)
        async with slot:
            yield

    def leave_steps(self) -> None:
        """Say, before flows are stopped, that the agent goes: steps that outlive it are left to the next one."""
        self.leaving = True
        if "runtime" in self.__dict__:
            self.runtime.leave()

    async def sweep_steps(self, abandoned_after_s: float) -> int:
        """End steps that nobody waits for, and attempts that nobody took up since we began; returns how many steps."""
        for attempt in abandoned(self.home, abandoned_after_s, time.time(), since_s=self._since_s):
            attempt.close()
        return await self.runtime.sweep(lambda: keys_under_way(self.home))

    def limits(self, *, deadline_s: float | None, memory_bytes: int | None) -> Limits:
        """What a step may use: what its contract asks for, within what the site allows."""
        settings = self.settings
        site_memory = settings.memory_mib * MIB
        return Limits(
            deadline_s=min(deadline_s or settings.deadline_s, settings.deadline_s),
            memory_bytes=min(memory_bytes or site_memory, site_memory),
        )

    def work(self) -> SiteWork:
        """What the registry last asked of this site.

        Raises:
            HomeError: it was never asked, or what is kept of it cannot be read.
        """
        try:
            return SiteWork.model_validate_json(self.home.work_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise HomeError(
                "this site has not heard from its registry yet: start the agent, or look at `assay agent status`"
            ) from None
        except (OSError, ValueError) as error:
            raise HomeError(
                f"what the registry last asked ({str(self.home.work_file)!r}) cannot be read: the agent fetches it again"
            ) from error

    def probe(self) -> ProbeOutcome:
        """Run the deny probe now, and keep its outcome: it stands on every result until the next one."""
        outcome = self.runtime.probe()
        write_private(self.home.probe_file, outcome.model_dump_json())
        return outcome

    def last_probe(self) -> ProbeOutcome:
        """The outcome of the last deny probe.

        Raises:
            StepFailedError: there is none, or it cannot be read: no cube runs without one.
        """
        try:
            return ProbeOutcome.model_validate_json(self.home.probe_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StepFailedError(
                "no deny probe was run at this site: start the agent, which runs one", ErrorClass.NOT_ISOLATED
            ) from error

    def require_isolation(self) -> ProbeOutcome:
        """The probe's outcome, if cubes may run under it.

        Raises:
            StepFailedError: steps are not isolated and the operator did not insist.
        """
        outcome = self.last_probe()
        if outcome.isolation != Isolation.ISOLATED and not self.settings.allow_unisolated:
            failed = ", ".join(sorted(name for name, held in outcome.checks.items() if not held))
            raise StepFailedError(
                f"steps are not isolated on this host ({failed}): see `assay agent probe`, or set"
                " allow_unisolated = true in site.toml; results will say so for ever",
                ErrorClass.NOT_ISOLATED,
            )
        return outcome

    def verify(self, name: str, folder: Path, registered_root: str, *, full: bool = False) -> Verified:
        """Make sure that a prepared dataset is what was registered; see agents.verification.

        Raises:
            DatasetChangedError: it is not.
        """
        record = self.home.folder("verified") / folder.name
        every = self.settings.verify_full_every_s
        return verify_dataset(name, folder, registered_root, record, full=full, full_every_s=every)

    def close(self) -> None:
        if "border" in self.__dict__:
            self.border.close()
        runtime = self.__dict__.get("runtime")
        if isinstance(runtime, Closable):
            runtime.close()
        self.store.close()


def current_site() -> Site:
    """The site that this process belongs to, named by ASSAY_SITE_HOME.

    Raises:
        HomeError: the variable is not set, or does not name a site's folder.
    """
    named = os.environ.get(HOME_VARIABLE)
    if not named:
        raise HomeError(f"{HOME_VARIABLE} is not set: it names the site's folder")
    path = Path(named).resolve()
    with _SITES_LOCK:
        if path not in _SITES:
            _SITES[path] = Site(path)
        return _SITES[path]


_SITES: dict[Path, Site] = {}
_SITES_LOCK = Lock()


def _environments_folder(home: Home) -> Path:
    """Environments are named by the digest of their locked list: sites of one user may share them."""
    shared = os.environ.get("ASSAY_ENVIRONMENTS")
    return Path(shared) if shared else home.folder("environments")
