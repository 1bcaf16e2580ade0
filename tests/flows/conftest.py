"""What the flows' tests share: flows that record what happens to them, and a runner for them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents.environments import EnvironmentCache
from agents.prefect_api import PrefectApi
from agents.runtimes.process import ProcessRuntime
from tests.cli.federation import Federation, federation
from tests.flows.agency import Agency, agency
from tests.flows.committee import Committee, reviews
from tests.flows.gatehouse import Gatehouse
from tests.hospital import hospital


@pytest.fixture
def api(prefect_url: str) -> Iterator[PrefectApi]:
    api = PrefectApi(prefect_url, timeout_s=60)
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


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The outcome of a deny probe of this host, as JSON."""
    folder = tmp_path_factory.mktemp("probe")
    return ProcessRuntime(folder / "work", EnvironmentCache(folder / "environments")).probe().model_dump_json()


@pytest.fixture(scope="module")
def north(
    prefect_url: str, probe: str, tmp_path_factory: pytest.TempPathFactory, until: Callable[..., None]
) -> Iterator[Agency]:
    """A hospital whose agent runs; its registry offers a benchmark without models. Tests use names of their own in it."""
    folder = tmp_path_factory.mktemp("north")
    api = PrefectApi(prefect_url, timeout_s=60)
    with (
        pytest.MonkeyPatch.context() as patch,
        hospital(folder / "h", probe, patch, with_prefect=True, start_evaluations=False) as here,
    ):
        here.offer()
        with agency(here, api, until) as running:
            yield running
    api.close()


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A registry with people, cubes and a benchmark."""
    with federation(tmp_path_factory.mktemp("federation")) as there:
        yield there


@pytest.fixture(scope="module")
def committee(
    there: Federation, prefect_url: str, until: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Committee]:
    """Those who decide there, whose reviews run."""
    api = PrefectApi(prefect_url, timeout_s=60)
    with reviews(there, api, until, tmp_path_factory.mktemp("reviews")) as running:
        yield running
    api.close()
