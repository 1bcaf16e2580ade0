"""No body is read beyond its limit, whatever its headers say."""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.core.problems import problem

UPLOADS: Final = "/v1/blobs/"
"""Where large bodies go: with a limit of their own, and streamed, so that no transaction waits for them."""
_FIX: Final = "Send less; large files go to /v1/blobs."
_DIGITS: Final = 18
"""More of them than any body has bytes."""


class BodyTooLargeError(HTTPException):
    """More came than is taken. FastAPI lets an HTTPException through while it reads a body, and nothing else."""

    fix = _FIX

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the body is larger than {limit} bytes")


class BodyLimit:
    """ASGI middleware: refuses a body of more than `limit` bytes with 413; uploads have a limit of their own."""

    def __init__(self, app: ASGIApp, *, limit: int, upload_limit: int) -> None:
        self._app, self._limit, self._upload_limit = app, limit, upload_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        upload = scope["method"] == "PUT" and scope["path"].startswith(UPLOADS)
        limit = self._upload_limit if upload else self._limit
        if _declared(scope) > limit:
            await _refuse(limit)(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise BodyTooLargeError(limit)
            return message

        await self._app(scope, counted, send)


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) <= _DIGITS else 1 << 62
    return 0


def _refuse(limit: int) -> ASGIApp:
    return problem(413, f"the body is larger than {limit} bytes.", _FIX)
