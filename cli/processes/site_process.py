"""A site's process: Prefect's server, the runner of flows, the loop at home and the loop towards the registry."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from agents.errors import HomeError
from agents.home import Home, SiteSettings, write_private
from agents.housekeeping import Housekeeping
from agents.locks import only_agent
from agents.loop import LocalLoop, RegistryLoop
from agents.prefect_api import PrefectApi
from agents.site import HOME_VARIABLE, Site, current_site
from agents.ticker import Ticker
from api.schemas.border import Isolation
from cli.processes.health import HealthServer
from cli.processes.layers import site_layer
from cli.processes.prefect_parts import PrefectParts, start_prefect
from cli.processes.services import Services, StopSignal
from flows.settings import configure


@dataclass(frozen=True, slots=True)
class RunningSite:
    """A site whose agent runs in this process."""

    site: Site
    prefect_url: str


def run(home: Path, *, prefect_database_url: str | None = None) -> None:
    """Run a site's agent until SIGTERM or Ctrl-C.

    Args:
        home: the site's folder.
        prefect_database_url: a PostgreSQL for Prefect, instead of the one that `site.toml` names.

    Raises:
        HomeError: not a site's folder, another agent runs here, or steps would not be isolated.
    """
    with StopSignal() as stop, running_site(home, prefect_database_url=prefect_database_url) as running:
        structlog.get_logger().info("the agent runs", site=running.site.settings.site, prefect=running.prefect_url)
        stop.wait()


@contextmanager
def running_site(
    path: Path, *, with_registry: bool = True, prefect_database_url: str | None = None
) -> Iterator[RunningSite]:
    """A site's agent in this process, for as long as the block lasts. Its flows find their site by the environment.

    Args:
        path: the site's folder.
        with_registry: False for a workbench, where nobody asks for anything and nothing is sent.
        prefect_database_url: a PostgreSQL for Prefect, instead of the one that `site.toml` names.

    Raises:
        HomeError: not a site's folder, another agent runs here, or steps would not be isolated.
    """
    home = Home(path.resolve())
    settings = home.settings()
    with only_agent(home), Services() as services:
        configure(home=home.folder("prefect"))
        os.environ[HOME_VARIABLE] = str(home.path)
        site = current_site()
        services.at_end("site", site.close)
        health = _start_health(services, settings)
        token = secrets.token_urlsafe(32)  # of the agent and the runner, as long as this process lives; in memory alone
        parts = start_prefect(
            services,
            home.path,
            database_url=prefect_database_url or settings.prefect_database_url,
            database=prefect_database(settings.site),
            host=settings.prefect_host,
            port=settings.prefect_port,
            layer=site_layer,
            layer_arguments={"home": str(home.path), "service_token": token},
            separate=settings.prefect_separate,
            proxies=settings.sign_in.trusted_proxies,
        )
        write_private(home.prefect_url_file, parts.url + "\n")
        services.at_end("address", lambda: home.prefect_url_file.unlink(missing_ok=True))
        _require_probe(site)
        headers = {"Authorization": f"Bearer {token}"}
        _start_loops(services, site, parts, headers, health, with_registry=with_registry)
        yield RunningSite(site, parts.url)


def prefect_database(site: str) -> str:
    """The name of a site's database for Prefect: several sites may share a PostgreSQL."""
    return "prefect_" + site.replace("-", "_").replace(".", "_")


def _start_health(services: Services, settings: SiteSettings) -> HealthServer | None:
    """Answer from the beginning: a first start makes a database, and the probe may wait for a node."""
    if settings.health_port is None:
        return None
    health = HealthServer(settings.prefect_host, settings.health_port)
    services.start("health", health)
    return health


def _require_probe(site: Site) -> None:
    """Run the deny probe; without isolation only an operator who insisted goes on."""
    outcome = site.probe()
    if outcome.isolation != Isolation.ISOLATED and not site.settings.allow_unisolated:
        failed = ", ".join(sorted(name for name, held in outcome.checks.items() if not held))
        raise HomeError(
            f"steps would not be isolated on this host ({failed}): `assay agent probe` shows every check. Mend it, or set"
            f" allow_unisolated = true in {str(site.home.settings_file)!r}; results will say so for ever"
        )


def _start_loops(
    services: Services,
    site: Site,
    parts: PrefectParts,
    headers: dict[str, str],
    health: HealthServer | None,
    *,
    with_registry: bool,
) -> None:
    # Prefect reads its settings when it is imported: not before `configure`.
    from flows.deployments import SITE, site_flows
    from flows.pools import pool_of
    from flows.warm import WarmRunner

    lock, pool = site.home.path / "flows.lock", pool_of(site.settings, site.home.path)
    runner = WarmRunner(site_flows(), deployment=SITE, api_url=parts.url, lock=lock, headers=headers, pool=pool)
    services.start("flows", runner)
    # Said before the flows are stopped: steps that outlive the agent are left to the next one.
    services.at_end("steps", site.leave_steps)
    prefect = PrefectApi(parts.url, headers)
    services.at_end("connection to Prefect", prefect.close)
    loops = {"local loop": LocalLoop(site, prefect, runner.nudge).ticker}
    if with_registry:
        loops |= {"registry loop": RegistryLoop(site).ticker, "housekeeping": Housekeeping(site).ticker}
    for name, ticker in loops.items():
        services.start(name, ticker)
    if health is not None:
        tickers = {name: _alive(ticker) for name, ticker in loops.items()}
        live = {**parts.live, "flows": lambda: runner.alive, **tickers}
        health.look_at(live=live, ready={"Prefect's server": prefect.healthy})


def _alive(ticker: Ticker) -> Callable[[], bool]:
    return lambda: ticker.alive
