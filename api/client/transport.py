"""One connection to the registry: signs in, keeps alive, retries what is safe to retry, turns answers into errors."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, TypeVar

import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from api.client.errors import Refused, Unreachable, WrongContent
from api.client.trust import trust_for
from api.schemas.common import Problem

_KEEP_S: Final = 2.0
"""Shorter than the five seconds after which the registry closes a connection: never one that is being closed."""
_CONNECT_S: Final = 5.0
_PAUSES_S: Final = (0.1, 0.5)
"""Before the second and the third try of a call that only reads."""
_AWAY: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
"""What a proxy says for a registry that is not there."""
_MOST_OF_A_PROBLEM: Final = 1 << 20

Shape = TypeVar("Shape")
Token = str | Callable[[], str] | None


class _Bearer(httpx2.Auth):
    def __init__(self, token: str | Callable[[], str]) -> None:
        self._token = token

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        token = self._token if isinstance(self._token, str) else self._token()
        request.headers["Authorization"] = f"Bearer {token}"
        yield request


class Transport:
    """Calls below one address, with one token.

    Args:
        url: of the registry, such as `https://registry.example`.
        token: sent as `Authorization: Bearer`, asked for anew with every call when it is a function; redirects are not
            followed, so that it goes nowhere else.
        timeout_s: for an answer; connecting has a shorter one of its own.
    """

    def __init__(
        self, url: str, token: Token, *, timeout_s: float, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._client = httpx2.Client(
            base_url=self.url,
            auth=_Bearer(token) if token else None,
            timeout=httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            limits=httpx2.Limits(keepalive_expiry=_KEEP_S),
            verify=trust_for(self.url),
            follow_redirects=False,
            transport=transport,
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, shape: type[Shape], query: Mapping[str, Any] | None = None) -> Shape:
        """Read; tried three times when the registry does not answer.

        Raises:
            RegistryError: refused, unreachable, or the answer has another shape.
        """
        wanted = {key: value for key, value in (query or {}).items() if value is not None}
        for pause in _PAUSES_S:
            try:
                return self._parse(self._call("GET", path, params=wanted), shape)
            except Unreachable:
                time.sleep(pause)
        return self._parse(self._call("GET", path, params=wanted), shape)

    def post(
        self,
        path: str,
        shape: type[Shape],
        body: BaseModel | bytes | None = None,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> Shape:
        """Write, once: whoever wants to send again needs an idempotency key.

        Raises:
            RegistryError: refused, unreachable, or the answer has another shape.
        """
        content = body.model_dump_json().encode() if isinstance(body, BaseModel) else body
        sent = {"Content-Type": "application/json", **(headers or {})} if content is not None else dict(headers or {})
        return self._parse(self._call(method, path, content=content, headers=sent), shape)

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[httpx2.Response]:
        """An answer whose body is still to be read.

        Raises:
            RegistryError: refused or unreachable, also while the body is read.
        """
        try:
            with self._client.stream(method, path, **options) as answer:
                if not answer.is_success:
                    answer.read()
                    self._refuse(answer)
                yield answer
        except httpx2.RequestError as error:
            raise Unreachable(self.url, type(error).__name__) from error

    def _call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        try:
            answer = self._client.request(method, path, **options)
        except httpx2.RequestError as error:
            raise Unreachable(self.url, type(error).__name__) from error
        if not answer.is_success:
            self._refuse(answer)
        return answer

    def _refuse(self, answer: httpx2.Response) -> None:
        if answer.status_code in _AWAY:
            raise Unreachable(self.url, f"answer {answer.status_code}")
        raise Refused(answer.status_code, _problem(answer))

    def _parse(self, answer: httpx2.Response, shape: type[Shape]) -> Shape:
        if answer.status_code == HTTPStatus.NO_CONTENT:
            return TypeAdapter(shape).validate_python(None)
        try:
            return TypeAdapter(shape).validate_json(answer.content)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "document"
            raise WrongContent(
                f"{self.url!r} answers {answer.request.url.path!r} in a way that is not known here"
                f" ({where}: {first['msg']}): is this a registry, and of this version?"
            ) from None


def _problem(answer: httpx2.Response) -> Problem:
    """What the registry says; something in its place when a proxy or a stranger answered."""
    try:
        return Problem.model_validate_json(answer.content[:_MOST_OF_A_PROBLEM])
    except ValidationError:
        return Problem(
            type="about:blank",
            title=answer.reason_phrase,
            status=answer.status_code,
            detail=f"{answer.request.method} {answer.request.url.path!r} was answered {answer.status_code}"
            f" {answer.reason_phrase}, and not by a registry.",
            fix="Check the address.",
        )
