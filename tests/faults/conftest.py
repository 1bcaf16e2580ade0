"""What fault tests share: a probe of this host, and hospitals to break."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agents.environments import EnvironmentCache
from agents.runtimes.process import ProcessRuntime
from tests.hospital import Hospital, hospital

Make = Callable[..., Hospital]


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("probe")
    return ProcessRuntime(folder / "work", EnvironmentCache(folder / "environments")).probe().model_dump_json()


@pytest.fixture
def make_hospital(tmp_path: Path, probe: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(**settings: Any) -> Hospital:
            return stack.enter_context(hospital(tmp_path / "h", probe, monkeypatch, **settings))

        yield make


@pytest.fixture
def here(make_hospital: Make) -> Hospital:
    """A hospital whose registry offers a benchmark without models."""
    made = make_hospital()
    made.offer()
    return made


@pytest.fixture
def registered(here: Hospital) -> Hospital:
    """With a dataset that is registered."""
    here.prepare()
    here.site.border.flush()
    here.offer()
    return here
