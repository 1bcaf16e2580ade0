"""A server on loopback that answers as it is told, over real HTTP: what a client meets on the way to a registry."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from api.client import RegistryClient

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    """By names in small letters."""
    body: bytes


@dataclass
class Scripted:
    """`answers` are for the next requests, one each; the last is for all that follow."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    """Ends every answer that hangs."""

    def next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def hang(self, _handler: BaseHTTPRequestHandler) -> None:
        """Say nothing until the test is over."""
        self.let_go.wait(60)


def say(status: int, body: bytes | Any = b"", **headers: str) -> Answer:
    """An answer; what is not bytes goes as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def drop(handler: BaseHTTPRequestHandler) -> None:
    """The connection breaks before there is an answer."""
    handler.close_connection = True


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    held = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            held.asked.append(
                Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            )
            try:
                held.next()(self)
            except ConnectionError:
                self.close_connection = True  # whoever asked has given up

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the base class looks for these names

        def log_message(self, *_: object) -> None:
            """Tests look at `asked`."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        held.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        serving.start()
        yield held
        held.let_go.set()
        server.shutdown()
        serving.join()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client has waited between tries; it does not really."""
    pauses: list[float] = []
    for module in ("transport", "blobs"):
        monkeypatch.setattr(f"api.client.{module}.time.sleep", pauses.append)
    return pauses


@pytest.fixture
def client(scripted: Scripted) -> Iterator[RegistryClient]:
    with RegistryClient(scripted.url, "secret", max_blob_bytes=1 << 20) as client:
        yield client
