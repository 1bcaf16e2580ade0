"""The stream of events, for whoever sees some runs alone: their own, and not a word of the others."""

import json
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection

from api.storage.columns import now
from flows.server.stream import Narrowed
from tests.flows.server.conftest import MINE, OTHERS, Place

RUN = uuid4()
FLOW_RUN = f"prefect.flow-run.{RUN}"


def _event(resource: Any = FLOW_RUN, *related: str, **more: Any) -> dict[str, Any]:
    named = [{"prefect.resource.id": name, "prefect.resource.role": "x"} for name in related]
    event = {"event": "prefect.flow-run.Running", "resource": {"prefect.resource.id": resource}, "related": named}
    return {"type": "event", "event": {**event, "payload": {"secret": 1}, **more}}


class Line:
    """A websocket's two ends; `asked` counts how often it was asked whose a run is."""

    def __init__(self, *mine: UUID) -> None:
        self.mine, self.asked, self.sent = set(mine), 0, list[Any]()
        self._next: Any = None
        self.narrowed = Narrowed(self._sees, self._receive, self._send)

    def passed(self, *told: Any) -> list[Any]:
        """What of the server's words arrives."""

        async def send() -> None:
            for each in told:
                text = each if isinstance(each, str) else json.dumps(each)
                await self.narrowed.send({"type": "websocket.send", "text": text})

        anyio.run(send)
        return [json.loads(message["text"]) for message in self.sent]

    def heard(self, said: str | bytes) -> Any:
        """What the server makes of what somebody says."""
        self._next = {"type": "websocket.receive", "text" if isinstance(said, str) else "bytes": said}
        return anyio.run(self.narrowed.receive)

    async def _sees(self, run: UUID) -> bool:
        self.asked += 1
        return run in self.mine

    async def _receive(self) -> Any:
        return self._next

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


class TestPass:
    @pytest.mark.parametrize(
        "told",
        [
            _event(),
            _event("prefect.task-run.1", FLOW_RUN, "prefect.flow.2", "prefect.tag.benchmark-1"),
            {"type": "auth_success"},
        ],
    )
    def test_events_of_their_own_runs(self, told: dict[str, Any]) -> None:
        assert Line(RUN).passed(told) == [told]

    @pytest.mark.parametrize(
        "told",
        [
            _event(f"prefect.flow-run.{uuid4()}"),
            _event("prefect.task-run.1", FLOW_RUN, f"prefect.flow-run.{uuid4()}"),
            _event("prefect.deployment.1", "prefect.flow.2", "prefect.tag.benchmark-1"),
            _event("prefect.flow-run.not-a-number"),
            _event("prefect.flow-run."),
            _event("PREFECT.FLOW-RUN." + str(RUN)),
            _event(resource={"prefect.resource.id": 7}),
            _event(resource={}),
            _event(resource=[]),
            _event(related=None),
            _event(related=[{"id": FLOW_RUN}]),
            {**_event(), "more": 1},
            {"type": "event"},
            {"type": "ping", "event": _event()["event"]},
            {"type": "auth_success", "event": "x"},
            [_event()],
            "not json",
            "[" * 100_000,
            "",
        ],
        ids=lambda told: str(told)[:60],
    )
    def test_nothing_else(self, told: Any) -> None:
        assert Line(RUN).passed(told) == []

    def test_a_name_that_stands_twice_is_sent_as_it_was_understood(self) -> None:
        other = f"prefect.flow-run.{uuid4()}"
        event = json.dumps(_event())
        twice = event[:-2] + f', "resource": {{"prefect.resource.id": "{other}"}}}}}}'
        assert Line(RUN).passed(twice) == []
        first = event.replace('"resource":', f'"resource": {{"prefect.resource.id": "{other}"}}, "resource":', 1)
        assert other not in str(Line(RUN).passed(first))

    def test_bytes_are_not_passed(self) -> None:
        line = Line(RUN)
        anyio.run(line.narrowed.send, {"type": "websocket.send", "bytes": json.dumps(_event()).encode()})
        assert line.sent == []

    def test_whose_a_run_is_is_not_asked_for_each_event(self) -> None:
        line = Line(RUN)
        assert len(line.passed(*[_event()] * 20)) == 20
        assert line.asked == 1

    def test_a_flood_is_cut(self) -> None:
        assert len(Line(RUN).passed(*[_event()] * 5_000)) < 5_000


class TestAsk:
    def test_what_was_before_is_not_told(self) -> None:
        heard = Line().heard(json.dumps({"type": "filter", "filter": {"event": {"prefix": ["x"]}}, "backfill": True}))
        assert json.loads(heard["text"]) == {
            "type": "filter",
            "filter": {"event": {"prefix": ["x"]}},
            "backfill": False,
        }

    def test_who_they_are_is_passed_on(self) -> None:
        said = {"type": "auth", "token": None}
        assert json.loads(Line().heard(json.dumps(said))["text"]) == said

    @pytest.mark.parametrize(
        "said", ['{"type": "event"}', "[]", "x", b"{}", "{}", '{"type": "auth", "x": "' + "x" * 70_000]
    )
    def test_anything_else_ends_it(self, said: str | bytes) -> None:
        assert Line().heard(said) == {"type": "websocket.disconnect", "code": 1008}


class TestPages:
    @pytest.mark.parametrize("build", ["ui", "ui-v2"])
    def test_prefects_pages_open_no_websocket(self, build: str) -> None:
        """They ask again by themselves: whoever hears of some events alone misses nothing there."""
        package = find_spec("prefect")
        assert package is not None
        assert package.origin is not None
        scripts = list((Path(package.origin).parent / "server" / build).rglob("*.js"))
        assert len(scripts) > 20
        assert [script.name for script in scripts if b"WebSocket" in script.read_bytes()] == []


@pytest.mark.postgres
@pytest.mark.slow
class TestStream:
    def _open(self, place: Place, who: str) -> ClientConnection:
        url = place.url.replace("http", "ws") + "/api/events/out"
        stream = connect(url, additional_headers=place.people[who].headers, subprotocols=["prefect"], proxy=None)  # type: ignore[list-item]  # a NewType of str
        stream.send(json.dumps({"type": "auth", "token": None}))
        assert json.loads(stream.recv(60)) == {"type": "auth_success"}
        until = (now() + timedelta(days=1)).isoformat()  # without it, what is still to happen is not asked for
        stream.send(json.dumps({"type": "filter", "filter": {"occurred": {"until": until}}}))
        return stream

    def _hear(self, stream: Connection, run: str) -> str:
        """All that was told until a run came to rest."""
        told = ""
        while not ("prefect.flow-run.Suspended" in told and run in told):
            told += str(stream.recv(60))
        return told

    def test_a_viewer_hears_of_their_own_runs_alone(self, place: Place) -> None:
        with self._open(place, "vic") as stream:
            others = place.ask(tag=OTHERS)
            told = self._hear(stream, place.ask(tag=MINE))
        assert others not in told
        assert OTHERS not in told

    def test_whoever_sees_all_hears_of_all(self, place: Place) -> None:
        with self._open(place, "ann") as stream:
            self._hear(stream, place.ask(tag=OTHERS))

    def test_who_says_something_else_is_cut_off(self, place: Place) -> None:
        with self._open(place, "vic") as stream:
            stream.send("x" * 100_000)
            with pytest.raises(ConnectionClosed):
                while True:
                    stream.recv(60)
