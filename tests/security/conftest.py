"""What security tests share: a probe of this host, and a hospital whose results were released."""

from collections.abc import Iterator

import pytest

from agents.environments import EnvironmentCache
from agents.runtimes.process import ProcessRuntime
from tests.hospital import Hospital, hospital


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("probe")
    return ProcessRuntime(folder / "work", EnvironmentCache(folder / "environments")).probe().model_dump_json()


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, probe: str) -> Iterator[Hospital]:
    """Dataset registered, two models evaluated; one result approved, the other left out; nothing of it sent yet."""
    folder = tmp_path_factory.mktemp("released")
    with pytest.MonkeyPatch.context() as patch, hospital(folder, probe, patch) as here:
        models = here.model(), here.model("# another\n" + here.program_text)
        here.offer(*models)
        here.prepare()
        here.site.border.flush()
        here.offer(*models)
        here.evaluate(1, 2)
        here.withheld = ["2"]
        here.release(1, 2)
        yield here
