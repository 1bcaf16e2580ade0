"""A process that is asked whether it lives."""

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from agents.errors import HomeError
from cli.processes.health import LIVE, READY, HealthServer


@pytest.fixture
def state() -> dict[str, bool]:
    return {"loop": True, "server": True}


@pytest.fixture
def address(state: dict[str, bool]) -> Iterator[str]:
    server = HealthServer("127.0.0.1", 0)
    server.look_at(live={"loop": lambda: state["loop"]}, ready={"server": lambda: state["server"]})
    yield server.start()
    server.stop()


def ask(url: str) -> tuple[int, dict[str, bool]]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


class TestLive:
    def test_what_lives_says_so(self, address: str) -> None:
        assert ask(address + LIVE) == (200, {"loop": True})

    def test_a_dead_loop_is_named(self, address: str, state: dict[str, bool]) -> None:
        state["loop"] = False
        assert ask(address + LIVE) == (503, {"loop": False})

    def test_what_is_only_not_ready_lives(self, address: str, state: dict[str, bool]) -> None:
        state["server"] = False
        assert ask(address + LIVE)[0] == 200

    def test_a_check_that_breaks_does_not_hold(self) -> None:
        def broken() -> bool:
            raise RuntimeError("no")

        server = HealthServer("127.0.0.1", 0)
        server.look_at(live={"loop": broken}, ready={})
        try:
            assert ask(server.start() + LIVE) == (503, {"loop": False})
        finally:
            server.stop()


class TestStart:
    def test_whoever_starts_lives_and_is_not_ready(self) -> None:
        """A cluster that starts such a process anew would keep it from ever being done."""
        server = HealthServer("127.0.0.1", 0)
        try:
            address = server.start()
            assert (ask(address + LIVE), ask(address + READY)) == ((200, {}), (503, {"started": False}))
            server.look_at(live={"loop": lambda: True}, ready={})
            assert ask(address + READY) == (200, {"loop": True})
        finally:
            server.stop()


class TestReady:
    def test_needs_everything(self, address: str, state: dict[str, bool]) -> None:
        assert ask(address + READY) == (200, {"loop": True, "server": True})
        state["server"] = False
        assert ask(address + READY) == (503, {"loop": True, "server": False})
        state.update(loop=False, server=True)
        assert ask(address + READY) == (503, {"loop": False, "server": True})


class TestServer:
    def test_tells_nothing_else(self, address: str) -> None:
        assert ask(address + "/") == (404, {})
        assert ask(address + "/live?x") == (404, {})

    def test_takes_no_other_method(self, address: str) -> None:
        request = urllib.request.Request(address + LIVE, method="POST", data=b"x")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=60)
        assert refused.value.code == 501
        refused.value.close()

    def test_a_client_that_says_nothing_keeps_nobody_else(self, address: str) -> None:
        host, _, port = address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))):
            assert ask(address + LIVE)[0] == 200

    def test_a_taken_port_says_what_to_do(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = HealthServer("127.0.0.1", taken.getsockname()[1])
            with pytest.raises(HomeError, match="Choose another health_port"):
                server.start()
            server.stop()

    def test_leaves_no_thread(self) -> None:
        server = HealthServer("127.0.0.1", 0)
        server.start()
        server.stop()
        server.stop()
        assert "health" not in {thread.name for thread in threading.enumerate() if thread.is_alive()}
