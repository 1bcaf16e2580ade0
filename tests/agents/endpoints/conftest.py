"""An endpoint on loopback that behaves badly on demand, over real HTTP."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

CHAT = {"choices": [{"message": {"content": "malignant"}}], "usage": {"total_tokens": 500}, "prediction": 0.75}


@dataclass
class Endpoint:
    """`moods` are for the next requests, one each: a status, `slow`, `cut`, `nonsense`, `huge`, `moved`."""

    url: str = ""
    moods: list[int | str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    retry_after: str = ""
    times: list[float] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    endpoint: Endpoint

    def do_POST(self) -> None:
        endpoint = self.endpoint
        endpoint.times.append(time.monotonic())
        endpoint.paths.append(self.path)
        endpoint.keys.append(self.headers.get("Authorization", ""))
        endpoint.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        mood = endpoint.moods.pop(0) if endpoint.moods else 200
        body = json.dumps(CHAT).encode()
        if mood == "slow":
            time.sleep(1.5)
        elif mood == "cut":
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:10])
            return
        bodies = {"nonsense": b"<html>Welcome</html>", "huge": b"x" * 200_000}
        self._say(302 if mood == "moved" else mood if isinstance(mood, int) else 200, bodies.get(str(mood), body))

    def _say(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            if self.endpoint.retry_after:
                self.send_header("Retry-After", self.endpoint.retry_after)
            self.send_header("Location", "http://192.0.2.1/")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            pass  # whoever asked has given up

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    held = Endpoint()
    handler = type("Handler", (_Handler,), {"endpoint": held})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        held.url = f"http://127.0.0.1:{server.server_address[1]}/v1/chat/completions"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        serving.start()
        yield held
        server.shutdown()
        serving.join()
