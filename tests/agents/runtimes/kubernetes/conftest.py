"""Tiny real cubes, run by the real runtime in a real cluster."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from agents.runtimes.protocol import StepOutcome, StepRequest
from tests.agents.runtimes.kubernetes.places import Place, make_request, place_in
from tests.clusters import CLAIM, DENY, Registry, image_registry, namespace

Run = Callable[..., Awaitable[StepOutcome]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def registry() -> Registry:
    return image_registry()


@pytest.fixture(scope="session")
def python_image(registry: Registry) -> str:
    return registry.python()


@pytest.fixture(scope="session")
def place(python_image: str) -> Iterator[Place]:
    """One namespace for all tests of a process that need nothing special of it."""
    with namespace("steps") as own:
        own.kubectl("apply", "-f", "-", stdin=f"{DENY}---{CLAIM}")
        yield place_in(own, python_image)


@pytest.fixture
def request_for(place: Place) -> Callable[..., StepRequest]:
    """A request to run a program as an `infer` step; its folder is below the site's."""
    return lambda program="", **options: make_request(place.home, program, **options)


@pytest.fixture
def run(place: Place, request_for: Callable[..., StepRequest]) -> Run:
    """Run a program as a step, and give its outcome."""

    async def run(program: str = "", **options: Any) -> StepOutcome:
        return await place.runtime().run(request_for(program, **options))

    return run
