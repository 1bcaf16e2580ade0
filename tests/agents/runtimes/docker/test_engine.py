"""What an engine lists, played: which containers of a site nobody waits for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.images.cube_images import CubeImages
from agents.runtimes.docker.container import KEY_LABEL
from agents.runtimes.docker.engine import Engine
from agents.runtimes.docker.settings import DockerSettings
from agents.runtimes.probe import probe_request


@pytest.fixture
def engine(images: CubeImages) -> Engine:
    return Engine(DockerSettings(), "north", images)


def _sweep(engine: Engine, keep: list[str], *listed: tuple[str, str]) -> list[str]:
    """The keys of the containers that go, of those with these keys and states."""
    removed = list[str]()
    containers = [{"Id": key, "Labels": {KEY_LABEL: key}, "State": state} for key, state in listed]

    def remove_container(name: str, **_: Any) -> None:
        removed.append(name)

    api = SimpleNamespace(containers=lambda **_: containers, remove_container=remove_container)
    engine._client = SimpleNamespace(api=api)
    assert engine.sweep(lambda: keep) == len(removed)
    return removed


class TestSweep:
    def test_what_nobody_waits_for_goes(self, engine: Engine) -> None:
        assert _sweep(engine, ["kept"], ("kept", "running"), ("lost", "running"), ("old", "exited")) == ["lost", "old"]

    @pytest.mark.parametrize(("state", "goes"), [("created", False), ("running", False), ("exited", True)])
    def test_a_probe_under_way_is_some_process_s(
        self, engine: Engine, tmp_path: Path, state: str, *, goes: bool
    ) -> None:
        probe = probe_request(tmp_path, {"word": "w"}).key
        assert _sweep(engine, [], (probe, state)) == [probe] * goes
