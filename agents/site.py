"""A site, put together: its folder, store, cubes and runtime. The agent, its flows and the command line share this."""

import asyncio
import os
from functools import cached_property
from pathlib import Path
from threading import Lock
from weakref import WeakKeyDictionary

from agents.border import Border
from agents.cube_store import CubeStore
from agents.environments import EnvironmentCache
from agents.errors import HomeError, StepFailedError
from agents.home import Home, write_private
from agents.runtimes.process import ProcessRuntime
from agents.runtimes.protocol import MIB, Limits, Runtime
from agents.store import Store
from api.schemas.border import ErrorClass, Isolation, ProbeOutcome
from api.schemas.records import SiteWork

HOME_VARIABLE = "ASSAY_SITE_HOME"


class Site:
    """One hospital's site on this host.

    Raises:
        HomeError: the folder is not a site's home.
    """

    def __init__(self, path: Path) -> None:
        self.home = Home(path.resolve())
        self.settings = self.home.settings()
        self.store = Store(self.home.store_file)
        self._slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @cached_property
    def border(self) -> Border:
        return Border(self.home, self.store)

    @cached_property
    def environments(self) -> EnvironmentCache:
        return EnvironmentCache(_environments_folder(self.home))

    @cached_property
    def cubes(self) -> CubeStore:
        return CubeStore(self.home.folder("cubes"), self.border.fetch)

    @cached_property
    def runtime(self) -> Runtime:
        return ProcessRuntime(
            self.home.folder("work"), self.environments, allow_unisolated=self.settings.allow_unisolated
        )

    @property
    def slots(self) -> asyncio.Semaphore:
        """As many steps as may run at once, whatever flow they belong to."""
        loop = asyncio.get_running_loop()
        if loop not in self._slots:
            self._slots[loop] = asyncio.Semaphore(self.settings.slots)
        return self._slots[loop]

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

    def close(self) -> None:
        if "border" in self.__dict__:
            self.border.close()
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
