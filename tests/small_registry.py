"""A small registry on loopback: what a site needs of the real one, over real HTTP, with faults on demand.

It takes payloads of the closed list alone, remembers idempotency keys as the registry does, and refuses with the same
problem documents. A fault is a function that is asked about each payload before it is taken.
"""

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from api.schemas.border import PayloadKind, parse_payload
from api.schemas.records import AuditHead, SiteWork
from api.storage.columns import now
from cubes.digests import digest_bytes, digest_file

TOKEN: Final = "assay_1_secret"
KINDS: Final = {
    "/v1/site/heartbeats": PayloadKind.HEARTBEAT,
    "/v1/site/preparations": PayloadKind.PREPARATION,
    "/v1/site/datasets": PayloadKind.DATASET,
    "/v1/site/execution-events": PayloadKind.EXECUTION_EVENT,
    "/v1/site/results": PayloadKind.RESULT,
}


class Answer(Enum):
    """What may go wrong with an answer."""

    LOST = "taken, but the connection breaks before the answer is out"
    DROPPED = "not taken: the connection breaks"
    PORTAL = "somebody else's page, with status 200"


Fault = Callable[["Taken"], Answer | int | None]
"""Asked before a payload is taken: None takes it, a number is the status of a refusal."""


@dataclass(frozen=True)
class Taken:
    kind: PayloadKind
    key: str
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


def _no_fault(_taken: "Taken") -> None:
    return None


@dataclass
class SmallRegistry:
    """Start it, point a site at `url`, look at `taken`."""

    work: SiteWork
    taken: list[Taken] = field(default_factory=list)
    """Each payload once, in the order in which they arrived."""
    asked: int = 0
    """Payloads that arrived at all, repetitions included."""
    fault: Fault = _no_fault
    token: str = TOKEN
    blobs: dict[str, Path] = field(default_factory=dict)
    clock_is_off: timedelta = timedelta()
    host: str = "127.0.0.1"
    """Where it listens; sites elsewhere than on this host need another."""
    _port: int = 0
    _answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    _server: ThreadingHTTPServer | None = None
    _connections: list[socket.socket] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Answer, at the same address as before."""
        self._server = ThreadingHTTPServer((self.host, self._port), _handler(self))
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Be away."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in self._connections:
            with suppress(OSError):  # closed by its client already
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def add_blob(self, path: Path) -> str:
        digest = digest_file(path)
        self.blobs[digest] = path
        return digest

    def set_head(self, sequence: int, head: str) -> None:
        self.work = self.work.model_copy(update={"audit_head": AuditHead(sequence=sequence, head=head)})

    def keys(self) -> list[str]:
        return [taken.key for taken in self.taken]

    def take(self, arrived: Taken) -> tuple[int, dict[str, Any]] | Answer:
        """Status and document for a payload; what was taken before gets the answer that it got then."""
        with self._lock:
            self.asked += 1
            fault = self.fault(arrived)
            if fault in {Answer.DROPPED, Answer.PORTAL} and isinstance(fault, Answer):
                return fault
            if isinstance(fault, int):
                return fault, problem(fault)
            try:
                parse_payload(arrived.kind, json.loads(arrived.body))
            except (ValueError, ValidationError):
                return 422, problem(422)
            if arrived.key not in self._answers:
                self.taken.append(arrived)
                self._answers[arrived.key] = {"id": 1000 + len(self.taken), "digest": digest_bytes(arrived.body)}
            elif self._answers[arrived.key]["digest"] != digest_bytes(arrived.body):
                return 409, problem(409)
            return fault if fault is Answer.LOST else (201, self._answers[arrived.key])


def problem(status: int) -> dict[str, Any]:
    return {
        "type": "urn:assay:problem:x",
        "title": "No",
        "status": status,
        "detail": f"refused with {status}.",
        "fix": "",
    }


def _handler(registry: SmallRegistry) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - a class, whose methods are short
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            registry._connections.append(self.connection)

        def do_GET(self) -> None:
            if self.path == "/v1/health":
                health = {"status": "ok", "version": "0", "time": (now() + registry.clock_is_off).isoformat()}
                self._say(200, json.dumps(health).encode())
                return
            if not self._signed_in():
                return
            blob = registry.blobs.get(self.path.removeprefix("/v1/blobs/"))
            if self.path == "/v1/site/work":
                self._say(200, registry.work.model_dump_json().encode())
            elif blob is not None:
                self._say(200, blob.read_bytes())
            else:
                self._say(404, json.dumps(problem(404)).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not self._signed_in():
                return
            answer = registry.take(Taken(KINDS[self.path], self.headers["Idempotency-Key"], body))
            if answer is Answer.PORTAL:
                self._say(200, b"<html>Welcome to the hospital's guest network</html>")
            elif isinstance(answer, Answer):
                self.close_connection = True
            else:
                self._say(answer[0], json.dumps(answer[1]).encode())

        def _signed_in(self) -> bool:
            known = self.headers["Authorization"] == f"Bearer {registry.token}"
            if not known:
                self._say(401, json.dumps(problem(401)).encode())
            return known

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests look at `taken`."""

    return Handler
