"""A file server on loopback that breaks off, lies and redirects, over real HTTP."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agents.downloads.cache import Downloads
from agents.downloads.schemes import all_schemes
from agents.downloads.settings import DownloadSettings
from tests.certificates import self_signed


@dataclass
class Server:
    """What it holds, and how it behaves; `asked` is (path, Range, Authorization) of each request."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    breaks_after: list[int] = field(default_factory=list)
    """Bytes after which each of the next answers breaks off."""
    failures: list[int] = field(default_factory=list)
    ranges: bool = True
    redirects: dict[str, str] = field(default_factory=dict)
    said: dict[str, dict[str, str]] = field(default_factory=dict)
    """Headers of what is asked for before it is read."""
    heads: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    refuses_head: int | None = None
    """Answered to every HEAD; zero hangs up instead."""


class _Handler(BaseHTTPRequestHandler):
    server_state: Server

    def do_GET(self) -> None:
        state, wanted = self.server_state, self.headers.get("Range", "")
        state.asked.append((self.path, wanted, self.headers.get("Authorization", "")))
        if state.failures:
            self._answer(state.failures.pop(0), b"", {})
        elif self.path in state.redirects:
            self._answer(302, b"", {"Location": state.redirects[self.path], **state.said.get(self.path, {})})
        elif self.path not in state.files:
            self._answer(404, b"", {})
        else:
            self._send(state.files[self.path], wanted.removeprefix("bytes=") if state.ranges else "")

    def do_HEAD(self) -> None:
        state = self.server_state
        state.heads.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
        if state.refuses_head is not None:
            self._refuse(state.refuses_head)
            return
        found = state.files.get(self.path)
        moved = state.redirects.get(self.path)
        status = state.failures.pop(0) if state.failures else 302 if moved else 404 if found is None else 200
        length = {} if found is None else {"Content-Length": str(len(found))}
        self._answer(status, b"", length | ({"Location": moved} if moved else {}) | state.said.get(self.path, {}))

    def _refuse(self, status: int) -> None:
        self.close_connection = True
        if status:
            self._answer(status, b"", {})

    def _send(self, content: bytes, span: str) -> None:
        said = self.server_state.said.get(self.path, {})
        first, _, last = span.partition("-")
        start, end = int(first or 0), min(int(last or len(content)), len(content) - 1)
        if not span:
            self._answer(200, content, said)
        elif start >= len(content):
            self._answer(416, b"", said)
        else:
            piece = content[start : end + 1]
            self._answer(206, piece, {**said, "Content-Range": f"bytes {start}-{end}/{len(content)}"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": headers.get("Content-Length", str(len(body)))}.items():
            self.send_header(key, value)
        self.end_headers()
        breaks = self.server_state.breaks_after
        self.wfile.write(body[: breaks.pop(0)] if breaks and body else body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        pass


@contextmanager
def _serving(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    state = Server()
    handler = type("Handler", (_Handler,), {"server_state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        if context is not None:
            listening.socket = context.wrap_socket(listening.socket, server_side=True)
        state.url = f"http{'' if context is None else 's'}://127.0.0.1:{listening.server_address[1]}"
        serving = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        serving.start()
        yield state
        listening.shutdown()
        serving.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with _serving() as state:
        yield state


@pytest.fixture
def encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The same behind TLS, with a certificate that this process trusts."""
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with _serving(context) as state:
        yield state


@pytest.fixture
def downloads(tmp_path: Path) -> Callable[..., Downloads]:
    def make(*, token: str | None = None, **settings: object) -> Downloads:
        chosen = DownloadSettings.model_validate(settings)
        return Downloads(tmp_path / "kept", all_schemes(chosen, lambda: token), chosen, pause_s=0.01)

    return make
