"""What the flows' tests share: flows that record what happens to them, and a runner for them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents.prefect_api import PrefectApi
from tests.flows.gatehouse import Gatehouse


@pytest.fixture
def api(prefect_url: str) -> Iterator[PrefectApi]:
    api = PrefectApi(prefect_url)
    yield api
    api.close()


@pytest.fixture
def start(api: PrefectApi) -> Callable[..., str]:
    """A run of a deployment of this test."""

    def start(deployment: str, **parameters: Any) -> str:
        return api.create_flow_run(deployment, parameters, idempotency_key=uuid4().hex)

    return start


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "flows.lock"


@pytest.fixture
def gatehouse(tmp_path: Path, api: PrefectApi, until: Callable[..., None]) -> Iterator[Gatehouse]:
    house = Gatehouse(tmp_path, api, until)
    house.start()
    yield house
    house.stop()
