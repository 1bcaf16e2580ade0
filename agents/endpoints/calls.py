"""One request to an endpoint: sent, waited for, tried again where that helps, and written down."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx2

from agents.endpoints.settings import EndpointSettings

_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_PAUSE_S: Final = 60.0
TOO_MANY, TOO_LARGE, BAD_ANSWER = 429, 413, 502


@dataclass(frozen=True, slots=True)
class Answer:
    """What a step is given: the endpoint's own answer, or why there is none."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the site keeps it: never what was asked or answered."""

    at: str
    status: int
    seconds: float
    tries: int
    bytes_sent: int
    bytes_received: int
    tokens: int
    cost: float


class Caller:
    """Asks one endpoint on behalf of one step.

    Args:
        settings: where, and how much.
        key: sent as a bearer token.
        record: one JSON line a request.
        sleep: waits; for tests.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        key: str | None,
        record: Path,
        *,
        pause_s: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings, self._record, self._pause_s, self._sleep = settings, record, pause_s, sleep
        headers = {"Content-Type": "application/json", **({} if key is None else {"Authorization": f"Bearer {key}"})}
        self._client = httpx2.Client(headers=headers, timeout=settings.timeout_s, follow_redirects=False)
        self._lock = threading.Lock()
        self._next = 0.0
        self.calls: list[Call] = []
        self._asked = 0

    def close(self) -> None:
        self._client.close()

    def ask(self, body: bytes) -> Answer:
        """Send one request. Never raises for what the endpoint does: a step gets a status and a reason."""
        if len(body) > self._settings.most_bytes:
            return _reason(TOO_LARGE, f"a request may have {self._settings.most_bytes} bytes")
        with self._lock:
            self._asked += 1
            if self._asked > self._settings.most_requests:
                return _reason(TOO_MANY, f"this step may send {self._settings.most_requests} requests")
        begun = time.monotonic()
        answer, tries = self._tried(body)
        self._note(answer, tries, len(body), time.monotonic() - begun)
        return answer

    def _tried(self, body: bytes) -> tuple[Answer, int]:
        tries = self._settings.tries
        for number in range(1, tries + 1):
            self._wait_for_turn()
            answer, wait_s = self._once(body)
            if answer.status not in _AGAIN or number == tries:
                return answer, number
            self._sleep(min(wait_s or self._pause_s * 2 ** (number - 1), _LONGEST_PAUSE_S))
        raise AssertionError(tries)

    def _once(self, body: bytes) -> tuple[Answer, float | None]:
        """The answer, and how long the endpoint asks to be left alone."""
        try:
            with self._client.stream("POST", self._settings.url, content=body) as answer:
                received = b""
                for piece in answer.iter_bytes():
                    received += piece
                    if len(received) > self._settings.most_bytes:
                        return _reason(BAD_ANSWER, "the endpoint's answer is too large"), None
                wait = answer.headers.get("retry-after", "")
                return _checked(answer.status_code, received), float(wait) if wait.isdigit() else None
        except httpx2.TimeoutException:
            return _reason(504, f"the endpoint did not answer within {self._settings.timeout_s:g} s"), None
        except httpx2.HTTPError as error:
            return _reason(502, f"the endpoint cannot be asked ({type(error).__name__})"), None

    def _wait_for_turn(self) -> None:
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + 60.0 / self._settings.requests_per_minute
        if turn > now:
            self._sleep(turn - now)

    def _note(self, answer: Answer, tries: int, sent: int, seconds: float) -> None:
        tokens = _tokens(answer.body)
        cost = self._settings.price_per_request + tokens / 1000 * self._settings.price_per_thousand_tokens
        call = Call(
            at=datetime.now(UTC).isoformat(),
            status=answer.status,
            seconds=round(seconds, 3),
            tries=tries,
            bytes_sent=sent,
            bytes_received=len(answer.body),
            tokens=tokens,
            cost=round(cost, 6),
        )
        with self._lock, self._record.open("a", encoding="utf-8") as file:
            self.calls.append(call)
            file.write(json.dumps(asdict(call)) + "\n")


def _checked(status: int, body: bytes) -> Answer:
    """An answer that is no JSON is nonsense, whatever its status says."""
    if status != httpx2.codes.OK:
        return _reason(status if status >= 400 else BAD_ANSWER, f"the endpoint answered {status}")  # noqa: PLR2004 - errors begin there
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return _reason(BAD_ANSWER, "the endpoint's answer is not JSON")
    return Answer(status, body)


def _reason(status: int, why: str) -> Answer:
    return Answer(status, json.dumps({"error": why}).encode())


def _tokens(body: bytes) -> int:
    """As OpenAI-compatible endpoints count; zero where nobody counts."""
    try:
        found: Any = json.loads(body)["usage"]["total_tokens"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else 0
