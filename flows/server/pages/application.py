"""The routes of our own pages, and of the gates for programs. They work without any script in the browser."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import jinja2
from fastapi.encoders import jsonable_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from api.schemas.common import address
from api.schemas.sign_in import PEOPLE, DeskError, GateCard, SignedIn, Standing
from flows.server.deciding import Deciding, read_answer
from flows.server.hosting import Receive, Scope, Send
from flows.server.http import FORM_BYTES, Refused, read_body, read_json, require_same_origin
from flows.server.identity import Identities
from flows.server.oidc import Provider, SingleSignOn
from flows.server.pages.reading import sections

OWN_PATHS: Final = frozenset({"sign-in", "sign-out", "single-sign-on", "waiting", "gates", "pages"})
"""The first part of each path that is ours; Prefect's pages use none of them."""
_HERE: Final = Path(__file__).parent
_READERS: Final = PEOPLE - {Standing.VIEWER}
_ROUND_TRIP_S: Final = 600
_TOO_MANY: Final = "Too many attempts. Wait a quarter of an hour, then try again."
_CHANGED: Final = "What it showed is no longer so, or nobody waits for it any more."
_NO_LONGER: Final = {
    "cancelled": "It was withdrawn, or something else settled it.",
    "decided": "Those who decided may no longer: whoever waits for it asks again.",
}
_NO: Final = "Nobody is known here by this address and password. Check both, or ask an administrator."

Page = Callable[[Request], Awaitable[Response]]
Note = Callable[[Refused, SignedIn | None, Scope], Awaitable[None]]


class Pages:
    """An ASGI application for the paths of `OWN_PATHS`.

    Args:
        name: of the site or registry.
        identities: who is who.
        deciding: gates.
        provider: for single sign-on.
        note: keeps what was refused.
    """

    def __init__(
        self, name: str, identities: Identities, deciding: Deciding, provider: Provider | None, note: Note
    ) -> None:
        self._name, self._identities, self._deciding, self._note = name, identities, deciding, note
        self._single = None if provider is None else SingleSignOn(provider)
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["has_decided"] = has_decided
        # The cookie of the round trip to the provider holds what its answer must repeat; the session itself is another one.
        trip = Middleware(
            SessionMiddleware,
            secret_key=secrets.token_hex(32),
            session_cookie=f"{identities.cookie}_trip",
            max_age=_ROUND_TRIP_S,
            path="/single-sign-on",
        )
        self._app = Starlette(routes=self._routes(), middleware=[trip])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def _routes(self) -> list[Route | Mount]:
        return [
            Route("/sign-in", self._page(self._sign_in_page)),
            Route("/sign-in", self._page(self._sign_in), methods=["POST"]),
            Route("/sign-out", self._page(self._sign_out), methods=["POST"]),
            Route("/single-sign-on", self._page(self._leave)),
            Route("/single-sign-on/back", self._page(self._arrive), name="back"),
            Route("/waiting", self._page(self._waiting_page)),
            Route("/waiting/{gate}", self._page(self._gate_page)),
            Route("/waiting/{gate}", self._page(self._decide_on_page), methods=["POST"]),
            Route("/gates", self._answer(self._gates)),
            Route("/gates/{gate}", self._answer(self._gate)),
            Route("/gates/{gate}/decision", self._answer(self._decide), methods=["POST"]),
            Mount("/pages", StaticFiles(directory=_HERE / "static")),
        ]

    # Signing in and out.

    async def _sign_in_page(self, request: Request) -> Response:
        return self._sign_in_form(request, next_page=_local(request.query_params.get("next")))

    async def _sign_in(self, request: Request) -> Response:
        require_same_origin(request.scope)
        form = await self._form(request)
        email, password = address(str(form.get("email", ""))), str(form.get("password", ""))
        next_page = _local(str(form.get("next", "/")))
        ledger, host = self._identities.ledger, request.client.host if request.client else "?"
        if not await asyncio.to_thread(ledger.may_try, email, host):
            refused = Refused(HTTPStatus.TOO_MANY_REQUESTS, _TOO_MANY)
        else:
            try:
                who = await asyncio.to_thread(self._identities.people.by_password, email, password)
            except DeskError:
                refused = Refused(HTTPStatus.UNAUTHORIZED, _NO)
            else:
                await asyncio.to_thread(ledger.forget_failures, email, host)
                return await self._signed_in(request, who, next_page)
        await self._note(refused, None, request.scope)
        return self._sign_in_form(request, next_page=next_page, email=email, refused=refused)

    async def _sign_out(self, request: Request) -> Response:
        require_same_origin(request.scope)
        response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
        await self._identities.close_session(request.scope, response)
        return response

    async def _leave(self, request: Request) -> Response:
        request.session["next"] = _local(request.query_params.get("next"))
        return await self._sso().leave(request, str(request.url_for("back")))

    async def _arrive(self, request: Request) -> Response:
        next_page = _local(request.session.get("next"))
        issuer, subject, email = await self._sso().arrive(request)
        try:
            who = await asyncio.to_thread(self._identities.people.by_subject, issuer, subject, email)
        except DeskError as error:
            raise Refused(error.status, str(error)) from None
        request.session.clear()
        return await self._signed_in(request, who, next_page)

    async def _signed_in(self, request: Request, who: SignedIn, next_page: str) -> Response:
        response = RedirectResponse(next_page, HTTPStatus.SEE_OTHER)
        await self._identities.open_session(request.scope, who, response)
        return response

    def _sso(self) -> SingleSignOn:
        if self._single is None:
            raise Refused(HTTPStatus.NOT_FOUND, "no identity provider is set up here: sign in with your password")
        return self._single

    def _sign_in_form(
        self, _request: Request, *, next_page: str, email: str = "", refused: Refused | None = None
    ) -> Response:
        provider = None if self._single is None else self._single.provider.title
        status = HTTPStatus.OK if refused is None else refused.status
        problem = None if refused is None else refused.reason
        retry = {"retry-after": "900"} if status == HTTPStatus.TOO_MANY_REQUESTS else {}
        return self._html(
            "sign_in.html", None, status=status, headers=retry,
            next=next_page, email=email, problem=problem, provider=provider,
        )  # fmt: skip

    # Gates, for people.

    async def _waiting_page(self, request: Request) -> Response:
        who = await self._reader(request)
        cards = await self._deciding.ask(self._deciding.gates.waiting, who)
        return self._html("waiting.html", who, cards=cards, here="waiting")

    async def _gate_page(self, request: Request) -> Response:
        who = await self._reader(request)
        return self._gate_html(who, await self._card(who, request))

    async def _decide_on_page(self, request: Request) -> Response:
        who = await self._reader(request)
        require_same_origin(request.scope)
        form = await self._form(request)
        given = {name: form.get(name) for name in ("verdict", "reason", "digest") if form.get(name)}
        given["withhold"] = [str(item) for item in form.getlist("withhold")]
        try:
            card, woken = await self._deciding.decide_and_wake(who, request.path_params["gate"], read_answer(given))
        except Refused as refused:
            await self._note(refused, who, request.scope)
            return self._gate_html(
                who, await self._card(who, request), refused=refused, reason=str(form.get("reason", ""))
            )
        return self._gate_html(who, card, woken=woken)

    def _gate_html(
        self,
        who: SignedIn,
        card: GateCard,
        *,
        refused: Refused | None = None,
        reason: str = "",
        woken: bool | None = None,
    ) -> Response:
        status = HTTPStatus.OK if refused is None else refused.status
        problem = None if refused is None else refused.reason
        return self._html(
            "gate.html", who, status=status,
            card=card, sections=sections(card), exact=_exact(card), problem=problem, reason=reason, woken=woken,
            no_longer=_NO_LONGER.get(card.state, _CHANGED),
        )  # fmt: skip

    # Gates, for programs.

    async def _gates(self, request: Request) -> Response:
        who = await self._reader(request)
        cards = await self._deciding.ask(self._deciding.gates.waiting, who)
        return JSONResponse([_as_json(card) for card in cards])

    async def _gate(self, request: Request) -> Response:
        return JSONResponse(_as_json(await self._card(await self._reader(request), request)))

    async def _decide(self, request: Request) -> Response:
        who = await self._reader(request)
        answer = read_answer(read_json(await read_body(request.receive, FORM_BYTES)))
        card, woken = await self._deciding.decide_and_wake(who, request.path_params["gate"], answer)
        return JSONResponse({**_as_json(card), "woken": woken})

    async def _card(self, who: SignedIn, request: Request) -> GateCard:
        return await self._deciding.ask(self._deciding.gates.get, who, request.path_params["gate"])

    async def _reader(self, request: Request) -> SignedIn:
        """Somebody who may look at gates: what is shown there nobody has approved yet."""
        who = await self._identities.require(request.scope)
        request.state.who = who
        if who.standing not in _READERS:
            raise Refused(HTTPStatus.FORBIDDEN, f"{who.name} ({who.standing.value}) may not look at gates")
        return who

    async def _form(self, request: Request) -> Any:
        body = await read_body(request.receive, FORM_BYTES)
        sent = False

        async def replay() -> Any:
            nonlocal sent
            if sent:
                return await request.receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        return await Request(request.scope, replay).form(max_files=0)

    def _page(self, page: Page) -> Page:
        """A page whose refusals are pages too."""

        async def answer(request: Request) -> Response:
            try:
                return await page(request)
            except Refused as refused:
                if refused.status == HTTPStatus.UNAUTHORIZED and request.method == "GET":
                    return RedirectResponse(f"/sign-in?next={request.url.path}", HTTPStatus.SEE_OTHER)
                who: SignedIn | None = getattr(request.state, "who", None)
                await self._note(refused, who, request.scope)
                return self._html("refused.html", who, status=refused.status, headers=refused.headers, refused=refused)

        return answer

    def _answer(self, answer: Page) -> Page:
        """An answer to a program, whose refusals are problem documents."""

        async def checked(request: Request) -> Response:
            try:
                return await answer(request)
            except Refused as refused:
                await self._note(refused, getattr(request.state, "who", None), request.scope)
                return refused.response()

        return checked

    def _html(
        self,
        template: str,
        who: SignedIn | None,
        *,
        status: HTTPStatus = HTTPStatus.OK,
        headers: dict[str, str] | None = None,
        **values: Any,
    ) -> Response:
        text = self._templates.get_template(template).render({"place": self._name, "who": who, "here": "", **values})
        return HTMLResponse(text, status, headers)


def has_decided(card: GateCard, who: SignedIn) -> bool:
    """Whether somebody has had their say at a gate already."""
    return any(vote.person == who.name or vote.person.startswith(f"{who.name} for ") for vote in card.votes)


def _local(page: object) -> str:
    """A page of this server; never another's, whatever a link says."""
    text = str(page or "/")
    parts = urlsplit(text)
    local = text.startswith("/") and not text.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return text if local and "\\" not in text and text.isprintable() else "/"


def _as_json(card: GateCard) -> Any:
    return jsonable_encoder({**asdict(card), "verdict": card.verdict})


def _exact(card: GateCard) -> str:
    return json.dumps(card.shown, indent=2, ensure_ascii=False)
