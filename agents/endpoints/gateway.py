"""The socket that a step finds in its `endpoint` volume: plain HTTP in, one endpoint out, and no way to anywhere else.

The step itself has no network. The key stays here; the address is the site's, whatever path the step asks for.
"""

import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Final

from agents.endpoints.calls import BAD_ANSWER, TOO_LARGE, Answer, Caller
from agents.endpoints.settings import EndpointSettings
from agents.errors import HomeError
from agents.home import Home, read_private
from agents.runtimes.protocol import RuntimeSetupError
from cubes.contract import Task

SOCKET: Final = "socket"
_IDLE_S: Final = 600.0


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    caller: Caller
    most_bytes: int


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _IDLE_S

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self._say(Answer(BAD_ANSWER, b'{"error": "say how long the request is"}'))
        elif int(length) > self.server.most_bytes:
            self._say(Answer(TOO_LARGE, b'{"error": "the request is too large"}'))
        else:
            self._say(self.server.caller.ask(self.rfile.read(int(length))))

    def _say(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(answer.body)))):
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)

    def address_string(self) -> str:
        return "step"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Each request is in the record already."""


@contextmanager
def gateway(caller: Caller, settings: EndpointSettings, folder: Path) -> Iterator[None]:
    """A folder with a socket in it, for as long as somebody waits for a step.

    Args:
        caller: asks the endpoint.
        settings: how large a request may be.
        folder: made unless it is there, and left: a step that is taken over has this very one mounted.
    """
    folder.mkdir(mode=0o755, exist_ok=True)
    folder.chmod(0o755)
    (folder / SOCKET).unlink(missing_ok=True)  # of an agent that ended without notice
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Through the descriptor: a socket's name may have 107 bytes, and a site's folder lies where it lies.
        server = _Server(f"/proc/self/fd/{descriptor}/{SOCKET}", _Handler)
    finally:
        os.close(descriptor)
    (folder / SOCKET).chmod(0o666)  # a step's user is another; nobody else comes into the folder above
    server.caller, server.most_bytes = caller, settings.most_bytes
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    serving.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        serving.join()
        (folder / SOCKET).unlink(missing_ok=True)


@contextmanager
def endpoint_of(
    home: Home, endpoints: dict[str, EndpointSettings], task: Task, pack_digest: str, *, record: Path, folder: Path
) -> Iterator[dict[str, Path]]:
    """The `endpoint` volume of a task that asks for one, in `folder`; nothing for all others. `record` keeps each call.

    Raises:
        RuntimeSetupError: this site has no such endpoint, does not let this cube use it, or cannot read its secret.
    """
    if task.endpoint is None:
        yield {}
        return
    settings = endpoints.get(task.endpoint)
    if settings is None or pack_digest not in settings.cubes:
        raise RuntimeSetupError(
            f"the cube {pack_digest} wants to ask the endpoint {task.endpoint!r}, to which data would leave this site:"
            f" if it may, write its digest under [endpoints.{task.endpoint}] in site.toml"
        )
    caller = Caller(settings, _secret(home, settings), record)
    try:
        with gateway(caller, settings, folder):
            yield {"endpoint": folder}
    finally:
        caller.close()


def _secret(home: Home, settings: EndpointSettings) -> str | None:
    if settings.secret is None:
        return None
    try:
        return read_private(home.endpoint_secret_file(settings.secret))
    except (HomeError, FileNotFoundError) as error:
        raise RuntimeSetupError(f"the endpoint's secret {settings.secret!r} cannot be read: {error}") from error
