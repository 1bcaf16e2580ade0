"""Prefect's own server, unchanged: its API, its pages and its services, inside this process or in one of its own.

In this process it runs in a thread with an event loop of its own, and its settings hold in that thread alone: a runner in
the same process keeps its own. Nothing reaches it except through the layer that is put in front.
"""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final, Self

import structlog
import uvicorn

from agents.errors import AgentError
from flows.server.listening import listen

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Layer = Callable[[App], App]
"""Wraps an ASGI application: what stands between the network and Prefect. It passes `lifespan` through."""

START_S: Final = 180.0
"""An old database is migrated first."""
_STOP_S: Final = 20.0
_REACHED: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - where this machine finds itself
_GRACE_S: Final = 3
_NOT_NEEDED: Final = ("scheduler", "late_runs", "pause_expirations", "triggers")
"""Services that look, every few seconds or at each event, for what nobody makes here: schedules, runs that are late for a
worker, pauses with an end, automations."""
_ONLY_ONE = threading.Lock()


class ServerError(AgentError):
    """Prefect's server did not come up, or may not."""


class PrefectServer:
    """Prefect's server in this process, from `start()` to `stop()`.

    One in the life of a process: Prefect keeps locks in its modules, which belong to the first server's event loop for
    ever. Where a server is to be started again, or beside another, it is a `SeparateServer`.

    Args:
        database_url: as `ensure_prefect_database` returns it.
        home: a folder for the files of Prefect's pages; private to this server.
        host: the address to listen on.
        port: zero chooses a free one.
        layer: what stands in front; without one, whoever reaches the port may do everything.
        proxies: addresses of proxies whose `X-Forwarded-*` are believed, as uvicorn writes them; none by default.
    """

    def __init__(
        self,
        database_url: str,
        *,
        home: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        layer: Layer | None = None,
        proxies: str = "",
    ) -> None:
        self._database_url, self._home, self._layer, self._proxies = database_url, home, layer, proxies
        self._host, self._port = host, port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None
        self.started_in_s = 0.0
        self._log = structlog.get_logger().bind(server="prefect")

    def start(self) -> str:
        """Start it and wait until it answers.

        Returns:
            The address of the API, ending in `/api`; the pages are at its root.

        Raises:
            ServerError: one has run in this process before, the port is taken, or it did not come up.
        """
        began = time.monotonic()
        listener = self._listen()
        if not _ONLY_ONE.acquire(blocking=False):
            listener.close()
            raise ServerError("a process can run one Prefect server in its life: start a separate one instead")
        try:
            self._thread = threading.Thread(target=self._run, args=[listener], name="prefect-server", daemon=True)
            self._thread.start()
            self._wait()
        except BaseException:
            self.stop()
            raise
        self.started_in_s = time.monotonic() - began
        self._log.info("Prefect's server answers", url=self.url, seconds=round(self.started_in_s, 1))
        return self.url

    @property
    def url(self) -> str:
        host = _REACHED.get(self._host, self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/api"

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Stop it; a second call does nothing."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_S)
        self._thread = self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _listen(self) -> socket.socket:
        try:
            listener = listen(self._host, self._port)
        except OSError as error:
            raise ServerError(
                f"Prefect's server cannot listen at {self._host!r}, port {self._port}: {error}. Choose another port"
            ) from error
        self._port = int(listener.getsockname()[1])
        return listener

    def _wait(self) -> None:
        end = time.monotonic() + START_S
        while self._server is None or not self._server.started:
            if not self.alive:
                raise ServerError(f"Prefect's server did not come up: {self._failed or 'its start failed'}")
            if time.monotonic() > end:
                raise ServerError(f"Prefect's server was not ready after {START_S:.0f} s")
            time.sleep(0.02)

    def _run(self, listener: socket.socket) -> None:
        # Prefect reads its settings when it is imported: here, and no earlier than needed.
        from prefect.settings import temporary_settings  # noqa: PLC0415

        try:
            with listener, temporary_settings(updates=self._settings()):
                asyncio.run(self._serve(listener))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a thread has nobody to raise to: start() tells
            self._failed = error
            self._log.error("Prefect's server ended", error=f"{type(error).__name__}: {error}")

    def _settings(self) -> dict[str, Any]:
        return {
            "home": self._home,
            "server.database.connection_url": self._database_url,
            "server.ephemeral.enabled": False,
            "server.analytics_enabled": False,
            "server.register_blocks_on_start": False,  # a fifth of the start; flows here keep nothing in blocks
            "server.ui.enabled": True,
            "server.ui.api_url": "/api",  # relative: true wherever the server is reached, also through a proxy
            "server.ui.static_directory": str(self._home / "pages"),  # else it would write into its installed package
            "server.ui.show_promotional_content": False,
            "server.logging_level": "WARNING",
            "logging.level": "WARNING",
            **{f"server.services.{name}.enabled": False for name in _NOT_NEEDED},
        }

    async def _serve(self, listener: socket.socket) -> None:
        from prefect.server.api.server import create_app  # noqa: PLC0415 - 170 MB, and only where a server runs

        prefect: App = create_app(
            ignore_cache=True
        )  # one that a client in this process may have made knows other settings
        logging.getLogger("prefect").setLevel(logging.WARNING)
        config = uvicorn.Config(
            prefect if self._layer is None else self._layer(prefect),
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            lifespan="on",
            ws="websockets-sansio",
            server_header=False,
            proxy_headers=bool(self._proxies),
            forwarded_allow_ips=self._proxies or None,
            timeout_graceful_shutdown=_GRACE_S,
        )
        self._server = uvicorn.Server(config)
        await self._server.serve(sockets=[listener])
