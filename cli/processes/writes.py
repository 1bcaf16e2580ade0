"""Hears of what was written at a web application, so that whoever waits for it need not ask all the time."""

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_REFUSED_FROM: Final = 400


class HearWrites:
    """An ASGI application in front of another: `heard` is called after each request that changed something.

    Whoever listens must look by itself from time to time as well: another process may write to the same database.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.heard: Callable[[], None] = lambda: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READING:
            await self._app(scope, receive, send)
            return
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self._app(scope, receive, watch)
        if 0 < status < _REFUSED_FROM:
            self.heard()
