"""The layer between the network and Prefect: nobody reaches Prefect's pages or API but as somebody, and as far as the
table of routes lets them.

    request -> who is it? -> our own pages and gates
                          -> Prefect's pages: people only
                          -> Prefect's API: the table's row, its check, then Prefect

What is refused is kept in the ledger.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse

from api.schemas.sign_in import PEOPLE, SignedIn, Standing
from flows.server.checks import Asked, Checks
from flows.server.deciding import Deciding
from flows.server.hosting import App, Layer, Receive, Scope, Send
from flows.server.http import (
    BODY_BYTES,
    FORM_BYTES,
    OWN_PAGES,
    PREFECT_PAGES,
    Refused,
    guarded,
    read_body,
    read_json,
    with_body,
)
from flows.server.identity import Identities
from flows.server.ledger import Ledger
from flows.server.oidc import Provider
from flows.server.pages import OWN_PATHS, Pages
from flows.server.protocol import Gates, People
from flows.server.routes import Check, Match, find_route
from flows.server.sight import Sight, sees_all
from flows.server.stream import Narrowed

_API: Final = "/api"
_CLOSED: Final = frozenset({"/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"})
_POLICY_VIOLATION: Final = 1008
_PAGES_SETTINGS: Final = {"server": {"analytics_enabled": False, "ui": {"show_promotional_content": False}}}
"""What Prefect's pages look for among the server's settings; without an answer they ask again and again."""
_AGAIN_S: Final = 30.0
"""How often it is looked whether whoever holds a websocket is still signed in."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """What the layer needs.

    Args:
        name: of the site or registry; names the session's cookie, so that several can live on one host.
        people: the keeper of people.
        gates: the keeper of gates.
        ledger: the layer's own memory.
        service_token: of the agent and the runner beside this server.
        provider: an OpenID Connect provider; without one people sign in with passwords or personal tokens alone.
        session_life: after that people sign in again.
    """

    name: str
    people: People
    gates: Gates
    ledger: Ledger
    service_token: str
    provider: Provider | None = None
    session_life: timedelta = timedelta(hours=12)

    def layer(self) -> Layer:
        """What `PrefectServer` puts in front of Prefect."""
        return lambda prefect: _Layer(self, prefect)


class _Layer:
    def __init__(self, settings: SignIn, prefect: App) -> None:
        from flows.server import policy  # noqa: PLC0415 - it imports Prefect's server, which is there by now

        policy.install()
        self._prefect, self._ledger = prefect, settings.ledger
        self._identities = Identities(
            people=settings.people,
            ledger=settings.ledger,
            service_token=settings.service_token,
            cookie=f"assay_{settings.name}",
            life=settings.session_life,
        )
        sight = Sight(prefect)
        self._deciding = Deciding(settings.gates, sight.client)
        self._checks = Checks(sight, self._deciding.may_read)
        self._sight = sight
        self._pages = Pages(settings.name, self._identities, self._deciding, settings.provider, self._note)
        self._log = structlog.get_logger().bind(layer=settings.name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._prefect(scope, receive, send)  # its lifespan

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = scope["path"].removeprefix("/").partition("/")[0] in OWN_PATHS
        send = guarded(scope, send, OWN_PAGES if own else PREFECT_PAGES)
        who: SignedIn | None = None
        try:
            if own:
                await self._pages(scope, receive, send)
                return
            match = self._match(scope, scope["method"])
            if match is not None and match.row.check == Check.PUBLIC:
                await self._prefect(scope, receive, send)
                return
            who = await self._identities.require(scope)
            if match is None:
                await self._to_pages(who, scope, receive, send)
            else:
                await self._to_api(who, match, scope, receive, send)
        except Refused as refused:
            await self._refuse(refused, who, scope, receive, send)

    def _match(self, scope: Scope, method: str) -> Match | None:
        path = scope["path"]
        if path != _API and not path.startswith(_API + "/"):
            return None
        match = find_route(method, path.removeprefix(_API))
        if match is None:
            raise Refused(HTTPStatus.FORBIDDEN, f"{method} {path} is nobody's to use here")
        return match

    async def _to_pages(self, who: SignedIn, scope: Scope, receive: Receive, send: Send) -> None:
        """Prefect's pages: static files, and the settings that they read."""
        if who.standing not in PEOPLE:
            raise Refused(HTTPStatus.FORBIDDEN, f"these pages are for people; {who.name} uses the API")
        if scope["method"] not in {"GET", "HEAD"} or scope["path"] in _CLOSED:
            raise Refused(HTTPStatus.FORBIDDEN, f"{scope['method']} {scope['path']} is nobody's to use here")
        await self._prefect(scope, receive, send)

    async def _to_api(self, who: SignedIn, match: Match, scope: Scope, receive: Receive, send: Send) -> None:
        check = match.row.check
        if who.standing not in match.row.who:
            raise Refused(HTTPStatus.FORBIDDEN, f"{who.name} ({who.standing.value}) may not {match.route}")
        if check == Check.RESUME:
            form = read_json(await read_body(receive, FORM_BYTES))
            await self._sight.require_run(who, match.places["id"])
            response = await self._deciding.resume(who, match.places["id"], form)
            await response(scope, receive, send)
            return
        if check == Check.SETTINGS and who.standing != Standing.ADMINISTRATOR:
            await JSONResponse(_PAGES_SETTINGS)(scope, receive, send)
            return
        query = scope["query_string"].decode("ascii", errors="replace")
        asked = Asked(who, match.places, query)
        if self._checks.needs_body(check, who):
            asked = Asked(who, match.places, query, read_json(await read_body(receive, BODY_BYTES)))
        body = await self._checks.apply(check, asked)
        if body is not None:
            scope, receive = with_body(scope, body, receive)
        await self._prefect(scope, receive, send)

    async def _refuse(self, refused: Refused, who: SignedIn | None, scope: Scope, receive: Receive, send: Send) -> None:
        await self._note(refused, who, scope)
        if refused.status == HTTPStatus.UNAUTHORIZED and _is_navigation(scope):
            wanted = quote(scope["path"] if scope["method"] == "GET" else "/", safe="/")
            await RedirectResponse(f"/sign-in?next={wanted}", HTTPStatus.SEE_OTHER)(scope, receive, send)
            return
        await refused.response()(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        who: SignedIn | None = None
        try:
            match = self._match(scope, "WS")
            who = await self._identities.require(scope)
            match = await self._admitted(who, match, scope)
        except Refused as refused:
            await self._note(refused, who, scope)
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": refused.reason[:120]})
            return
        receive = _Watched(receive, lambda: self._still(who, scope)).receive
        if match.row.check == Check.STREAM and _sees_some(who):
            narrowed = Narrowed(partial(self._sight.sees, who), receive, send)
            receive, send = narrowed.receive, narrowed.send
        await self._prefect(scope, receive, send)

    async def _admitted(self, who: SignedIn, match: Match | None, scope: Scope) -> Match:
        if match is None or who.standing not in match.row.who:
            raise Refused(HTTPStatus.FORBIDDEN, f"{who.name} ({who.standing.value}) may not open {scope['path']}")
        await self._checks.apply(match.row.check, Asked(who, match.places, ""))
        return match

    async def _still(self, who: SignedIn, scope: Scope) -> bool:
        """Whether whoever opened a websocket would be let in now."""
        try:
            now = await self._identities.of(scope)
        except Refused:
            return False
        return now == who

    async def _note(self, refused: Refused, who: SignedIn | None, scope: Scope) -> None:
        if refused.status == HTTPStatus.UNAUTHORIZED and _is_navigation(scope):
            return  # somebody opened a page before they signed in
        name = "nobody" if who is None else who.name
        method = "WS" if scope["type"] == "websocket" else scope["method"]
        self._log.info("refused", who=name, method=method, path=scope["path"], reason=refused.reason)
        await asyncio.to_thread(
            self._ledger.refuse,
            who=name,
            method=method,
            path=scope["path"],
            status=int(refused.status),
            reason=refused.reason,
        )


class _Watched:
    """What a websocket receives, for as long as whoever opened it is signed in."""

    def __init__(self, receive: Receive, still: Callable[[], Awaitable[bool]]) -> None:
        self._receive, self._still = receive, still
        self._next: asyncio.Future[Any] | None = None

    async def receive(self) -> Any:
        if self._next is None:
            self._next = asyncio.ensure_future(self._receive())
        while True:
            done, _ = await asyncio.wait([self._next], timeout=_AGAIN_S)
            if done:
                message, self._next = self._next.result(), None
                return message
            if not await self._still():
                self._next.cancel()
                return {"type": "websocket.disconnect", "code": _POLICY_VIOLATION}


def _sees_some(who: SignedIn) -> bool:
    """Whether somebody is told of flow runs alone, and not of all of them."""
    return not sees_all(who) or who.standing in {Standing.VIEWER, Standing.DELEGATE}


def _is_navigation(scope: Scope) -> bool:
    """Whether a person opened this in a browser."""
    if scope["type"] != "http" or scope["method"] != "GET" or scope["path"].startswith(_API + "/"):
        return False
    return "text/html" in Headers(scope=scope).get("accept", "")
