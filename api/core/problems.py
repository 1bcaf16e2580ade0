"""Errors as RFC 9457 problem documents; nothing of what was sent is repeated in them."""

import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from api.core.errors import ApiError
from api.schemas.common import Problem

MEDIA_TYPE: Final = "application/problem+json"
_MOST_ERRORS: Final = 20


def problem(status: int, detail: str, fix: str | None = None, **more: Any) -> JSONResponse:
    document = Problem(
        type=f"urn:assay:problem:{HTTPStatus(status).name.lower().replace('_', '-')}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        fix=fix,
        **more,
    )
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
    return JSONResponse(document.model_dump(exclude_none=True), status, headers, MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: the problems it answers with, beside those that every route can."""
    shape = {"model": Problem, "content": {MEDIA_TYPE: {}}}
    return {status: {**shape, "description": HTTPStatus(status).phrase} for status in (401, 403, 422, *statuses)}


def install(app: FastAPI) -> None:
    """Answer every error as a problem document."""

    @app.exception_handler(ApiError)
    async def _ours(_request: Request, error: ApiError) -> JSONResponse:
        return problem(error.status, error.detail, error.fix)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [_without_input(item) for item in error.errors()[:_MOST_ERRORS]]
        first = errors[0]
        detail = f"{first['where']}: {first['message']}" + (f" ({len(errors) - 1} more)" if len(errors) > 1 else "")
        return problem(422, detail, "Correct what is named and send it again.", errors=errors)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        known = "See /openapi.json for what there is." if error.status_code == HTTPStatus.NOT_FOUND else None
        fix: str | None = getattr(error, "fix", known)
        return problem(error.status_code, f"{request.method} {request.url.path}: {error.detail}", fix)

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> JSONResponse:
        # Not `exc_info`: a renderer may print every local variable, and secrets are among them.
        trace = "".join(traceback.format_exception(error))
        structlog.get_logger().error("bug", error=type(error).__name__, path=request.url.path, trace=trace)
        return problem(500, "the registry met an error of its own", "Tell its operator the time of this answer.")


def _without_input(item: Mapping[str, Any]) -> dict[str, str]:
    where = ".".join(str(part) for part in item["loc"])
    return {"where": where, "message": str(item["msg"])[:500]}
