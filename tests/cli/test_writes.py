"""What the web application's listener hears."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from cli.processes.writes import HearWrites


async def _answer(request: Request) -> Response:
    return Response(status_code=int(request.path_params["status"]))


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def ask(heard: list[str]) -> Callable[[str, int], int]:
    """Ask with a method for a status; each write that was heard of is in `heard`."""
    route = Route("/{status}", _answer, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    app = HearWrites(Starlette(routes=[route]))
    app.heard = lambda: heard.append("a write")
    client = TestClient(app)
    return lambda method, status: client.request(method, f"/{status}").status_code


class TestHear:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    def test_what_changed_something_is_heard_once(
        self, method: str, ask: Callable[[str, int], int], heard: list[str]
    ) -> None:
        assert ask(method, 201) == 201
        assert heard == ["a write"]

    def test_reading_is_not_heard(self, ask: Callable[[str, int], int], heard: list[str]) -> None:
        assert ask("GET", 200) == 200
        assert ask("HEAD", 200) == 200
        assert heard == []

    @pytest.mark.parametrize("status", [400, 403, 409, 500])
    def test_what_was_refused_is_not_heard(self, status: int, ask: Callable[[str, int], int], heard: list[str]) -> None:
        assert ask("POST", status) == status
        assert heard == []

    def test_the_life_of_the_application_passes_through(self) -> None:
        lived: list[str] = []

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            lived.append("begins")
            yield
            lived.append("ends")

        with TestClient(HearWrites(Starlette(lifespan=lifespan))):
            assert lived == ["begins"]
        assert lived == ["begins", "ends"]
