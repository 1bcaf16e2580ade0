"""The registry's process: the web application, Prefect's server, the runner of reviews and what dispatches them."""

import asyncio
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
import uvicorn

from agents.prefect_api import PrefectApi
from agents.ticker import Ticker
from api.app import create_app
from api.bootstrap import ServiceToken
from api.client import RegistryClient
from api.core.settings import RegistrySettings, SettingsError
from cli.processes.layers import registry_layer
from cli.processes.prefect_parts import start_prefect
from cli.processes.services import Services, StopSignal
from cli.processes.writes import HearWrites
from flows.server.listening import listen
from flows.settings import configure

_START_S: Final = 60.0


def run(
    settings: RegistrySettings,
    *,
    host: str = "127.0.0.1",
    port: int = 8420,
    prefect_port: int = 8421,
    prefect_database_url: str | None = None,
) -> None:
    """Run the registry until SIGTERM or Ctrl-C.

    Raises:
        SettingsError: unsafe or incomplete settings, or a port that is taken.
        AgentError: Prefect's server did not come up.
    """
    with (
        StopSignal() as stop,
        running_registry(
            settings, host=host, port=port, prefect_port=prefect_port, prefect_database_url=prefect_database_url
        ) as (url, prefect_url),
    ):
        structlog.get_logger().info("the registry runs", url=url, prefect=prefect_url)
        stop.wait()


@contextmanager
def running_registry(
    settings: RegistrySettings, *, host: str, port: int, prefect_port: int, prefect_database_url: str | None
) -> Iterator[tuple[str, str]]:
    """The registry in this process, for as long as the block lasts: its address, and that of its Prefect server."""
    with Services() as services:
        configure(home=settings.data / "prefect")
        app = HearWrites(create_app(settings))
        url = str(services.start("web application", WebServer(app, host=host, port=port)))
        token = secrets.token_urlsafe(32)  # of the dispatcher and the runner, as long as this process lives
        prefect_url = start_prefect(
            services,
            settings.data,
            database_url=prefect_database_url,
            database="prefect_registry",
            host=host,
            port=prefect_port,
            layer=registry_layer,
            layer_arguments={
                "data": str(settings.data),
                "database_url": settings.database_url or "",
                "service_token": token,
            },
            separate=settings.prefect_separate,
            proxies=settings.trusted_proxies,
        ).url
        reviews = _start_reviews(services, settings, url, prefect_url, {"Authorization": f"Bearer {token}"})
        app.heard = reviews.kick
        yield url, prefect_url


def _start_reviews(
    services: Services, settings: RegistrySettings, url: str, prefect_url: str, headers: dict[str, str]
) -> Ticker:
    # Prefect reads its settings when it is imported: not before `configure`.
    from flows.deployments import REGISTRY, registry_flows
    from flows.dispatcher import ReviewDispatcher
    from flows.review import connect
    from flows.warm import WarmRunner

    client = RegistryClient(url, ServiceToken(settings))
    services.at_end("service's connection", client.close)
    connect(client)
    lock = settings.data / "flows.lock"
    runner = WarmRunner(registry_flows(), deployment=REGISTRY, api_url=prefect_url, lock=lock, headers=headers)
    services.start("reviews", runner)
    prefect = PrefectApi(prefect_url, headers)
    services.at_end("connection to Prefect", prefect.close)
    ticker = ReviewDispatcher(client, prefect, runner.nudge).ticker
    services.start("dispatcher", ticker)
    return ticker


class WebServer:
    """The web application in a thread with an event loop of its own: a flow that stalls does not stall it."""

    def __init__(self, app: HearWrites, *, host: str, port: int) -> None:
        self._host, self._port = host, port
        config = uvicorn.Config(app, log_level=logging.WARNING, access_log=False, server_header=False, lifespan="on")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="registry", daemon=True)

    def start(self) -> str:
        """Listen and serve.

        Returns:
            The address.

        Raises:
            SettingsError: the port is taken, or the application did not come up.
        """
        try:
            self._socket = listen(self._host, self._port)
        except OSError as error:
            raise SettingsError(
                f"cannot listen at {self._host}:{self._port} ({os.strerror(error.errno or 0)}): choose another --port"
            ) from error
        self._thread.start()
        end = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise SettingsError("the web application did not come up: see the log")
            time.sleep(0.02)
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._socket.getsockname()[1]}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))
