"""Small things of HTTP and ASGI that the layer's parts share."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from flows.server.hosting import Receive, Scope, Send

FORM_BYTES: Final = 256 * 1024
BODY_BYTES: Final = 16 * 1024 * 1024
_UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})

PREFECT_PAGES: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:;"
    " worker-src 'self' blob:; connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self';"
    " frame-ancestors 'none'"
)
"""For Prefect's pages. `connect-src`: they ask an analytics host from the reader's browser even where that is turned off."""
OWN_PAGES: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: with that, a browser also hides the origin of a form that is sent, which we look at.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "x-frame-options": "DENY",
}


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request that goes no further."""

    def __init__(self, status: HTTPStatus, reason: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, dict(headers or {})

    def response(self) -> Response:
        """As a problem document (RFC 9457); `detail` is also where Prefect's pages look."""
        body = {"title": self.status.phrase, "status": int(self.status), "detail": self.reason}
        return JSONResponse(body, self.status, self.headers, media_type="application/problem+json")


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises:
        Refused: 413, longer than `limit`; 400, the client went away.
    """
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(HTTPStatus.BAD_REQUEST, "the request broke off")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {limit} bytes: send less")
    return bytes(body)


def read_json(body: bytes) -> Any:
    """The body as JSON; None when it is empty.

    Raises:
        Refused: 400, no JSON.
    """
    try:
        return json.loads(body) if body.strip() else None
    except (ValueError, RecursionError):
        raise Refused(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None


def with_body(scope: Scope, body: bytes, receive: Receive) -> tuple[Scope, Receive]:
    """The request with another body, of which nothing of the old one is left."""
    dropped = {b"content-length", b"transfer-encoding", b"content-type"}
    headers = [pair for pair in scope["headers"] if pair[0].lower() not in dropped]
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    sent = False

    async def replay() -> Any:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return {**scope, "headers": headers}, replay


def guarded(scope: Scope, send: Send, policy: str) -> Send:
    """`send` that puts the security headers on the response; a policy that the response has already stays."""
    fixed = dict(_HEADERS)
    if scope.get("scheme") == "https":
        fixed["strict-transport-security"] = "max-age=31536000"

    async def send_guarded(message: Any) -> None:
        if message["type"] == "http.response.start":
            known = {name.lower() for name, _ in message.get("headers", [])}
            added = {**fixed, "content-security-policy": policy}
            if not scope["path"].startswith(("/assets/", "/v2/assets/")):
                added["cache-control"] = "no-store"  # what one person was shown must not be left for the next
            extra = [(name.encode(), text.encode()) for name, text in added.items() if name.encode() not in known]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return send_guarded


def is_secure(scope: Scope) -> bool:
    """Whether a cookie must only travel encrypted: always, but for a browser on this very machine without TLS."""
    host = urlsplit("//" + Headers(scope=scope).get("host", "")).hostname
    return scope.get("scheme") in {"https", "wss"} or host not in _LOOPBACK


def require_same_origin(scope: Scope) -> None:
    """Refuse what another site makes a signed-in person's browser send.

    Raises:
        Refused: 403.
    """
    if scope["type"] == "http" and scope["method"] not in _UNSAFE:
        return
    headers = Headers(scope=scope)
    fetched_from = headers.get("sec-fetch-site")
    if scope["type"] == "http" and fetched_from is not None:
        allowed = fetched_from in {"same-origin", "none"}
    else:
        allowed = urlsplit(headers.get("origin", "")).netloc == headers.get("host")
    if not allowed:
        raise Refused(HTTPStatus.FORBIDDEN, "this comes from another site's page: open our own and try again")
