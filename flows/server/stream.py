"""Prefect's stream of events for whoever sees some runs alone: each event is read, and goes on only if all its runs are theirs.

What cannot be read, names no run, or comes faster than anybody could follow stays here. Nobody relies on the stream: pages
ask again by themselves, and programs read by filters what they missed.
"""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.server.hosting import Receive, Send

Sees = Callable[[UUID], Awaitable[bool]]
_RUN: Final = "prefect.flow-run."
_POLICY_VIOLATION: Final = 1008
_LONGEST_ASKED: Final = 64 * 1024
_MOST_A_SECOND: Final = 200
_MOST_KNOWN: Final = 2_000
_GOOD_FOR_S: Final = {True: 30.0, False: 2.0}
"""How long it is remembered whether a run is somebody's: an event may be ahead of the run that it tells of."""


class _Resource(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    id: Annotated[str, Field(alias="prefect.resource.id", max_length=2_048)]


class _Event(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    resource: _Resource
    related: list[_Resource]


class _Told(BaseModel):
    """The only message of the server that carries an event."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["event"]
    event: _Event

    def runs(self) -> set[UUID]:
        """All flow runs that it is about.

        Raises:
            ValueError: one has no proper identifier.
        """
        named = (each.id for each in (self.event.resource, *self.event.related))
        return {UUID(name.removeprefix(_RUN)) for name in named if name.startswith(_RUN)}


class Narrowed:
    """A websocket of events, as whoever may see some runs has it.

    Args:
        sees: whether a flow run is theirs to see, as of now.
        receive: what they send.
        send: what they are sent.
    """

    def __init__(self, sees: Sees, receive: Receive, send: Send) -> None:
        self._sees, self._receive, self._send = sees, receive, send
        self._known: dict[UUID, tuple[bool, float]] = {}
        self._second, self._count = 0, 0

    async def receive(self) -> Any:
        """Their next message: who they are and what they want, and nothing that makes the server tell what was before."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            return message
        wanted = _object(message) if len(message.get("text") or "") <= _LONGEST_ASKED else None
        if wanted is None or wanted.get("type") not in {"auth", "filter"}:
            return {"type": "websocket.disconnect", "code": _POLICY_VIOLATION}
        if wanted["type"] == "filter":
            wanted["backfill"] = False
        return {"type": "websocket.receive", "text": json.dumps(wanted)}

    async def send(self, message: Any) -> None:
        """Pass on what is theirs, as it was understood here."""
        if message["type"] != "websocket.send":
            await self._send(message)
            return
        told = _object(message)
        if told is not None and (told == {"type": "auth_success"} or await self._is_theirs(told)):
            await self._send({"type": "websocket.send", "text": json.dumps(told)})

    async def _is_theirs(self, told: Mapping[str, Any]) -> bool:
        if self._is_flood():
            return False
        try:
            runs = _Told.model_validate(told).runs()
        except (ValidationError, ValueError):
            return False
        return bool(runs) and all([await self._may_see(run) for run in runs])

    async def _may_see(self, run: UUID) -> bool:
        known, since = self._known.get(run, (False, float("-inf")))
        moment = time.monotonic()
        if moment - since < _GOOD_FOR_S[known]:
            return known
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        found = await self._sees(run)
        self._known[run] = (found, moment)
        return found

    def _is_flood(self) -> bool:
        second = int(time.monotonic())
        self._count = self._count + 1 if second == self._second else 1
        self._second = second
        return self._count > _MOST_A_SECOND


def _object(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """A message that is an object in JSON; None for any other."""
    text = message.get("text")
    if not isinstance(text, str):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
