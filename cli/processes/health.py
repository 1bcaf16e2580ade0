"""What a cluster asks again and again: does the process live, and can it be used. Answers, and nothing else to be had."""

import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from agents.errors import HomeError

Check = Callable[[], bool]
LIVE: Final = "/live"
READY: Final = "/ready"
_SLOW_CLIENT_S: Final = 5.0


class HealthServer:
    """Two questions over HTTP, each answered by 200 or 503 and the names of its checks.

    Until it is told what to look at, the process lives and is not ready: whoever starts for long is not started anew.

    Args:
        host: where to listen.
        port: zero chooses a free one.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._checks: dict[str, Mapping[str, Check]] = {LIVE: {}, READY: {"started": lambda: False}}
        self._server: ThreadingHTTPServer | None = None

    def look_at(self, *, live: Mapping[str, Check], ready: Mapping[str, Check]) -> None:
        """Say from now on what these checks find.

        Args:
            live: by name, what no process can mend that it does not hold for: it should be started anew.
            ready: by name, what must hold besides before anybody should be sent here.
        """
        self._checks |= {LIVE: dict(live), READY: {**live, **ready}}

    def start(self) -> str:
        """Listen and answer.

        Returns:
            The address.

        Raises:
            HomeError: the port is taken.
        """
        handler = type("Handler", (_Handler,), {"checks": self._checks})
        try:
            self._server = ThreadingHTTPServer((self._host, self._port), handler)
        except OSError as error:
            raise HomeError(
                f"health cannot be told at {self._host!r}, port {self._port}: {error}. Choose another health_port"
            ) from error
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        return f"http://{self._host}:{self._server.server_address[1]}"

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Handler(BaseHTTPRequestHandler):
    checks: Mapping[str, Mapping[str, Check]]
    timeout = _SLOW_CLIENT_S
    server_version, sys_version = "assay", ""

    def do_GET(self) -> None:
        wanted = self.checks.get(self.path)
        if wanted is None:
            self._answer(HTTPStatus.NOT_FOUND, {})
            return
        found = {name: _holds(check) for name, check in wanted.items()}
        self._answer(HTTPStatus.OK if all(found.values()) else HTTPStatus.SERVICE_UNAVAILABLE, found)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: every few seconds somebody asks."""

    def _answer(self, status: HTTPStatus, found: Mapping[str, bool]) -> None:
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _holds(check: Check) -> bool:
    try:
        return check()
    except Exception:  # noqa: BLE001 - a check that cannot be made is one that does not hold
        return False
