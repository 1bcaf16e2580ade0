"""An engine that learns after a container's end that it ran out of memory: first played, then a real one held back."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.environments import EnvironmentCache
from agents.images.cube_images import CubeImages
from agents.runtimes.docker.runtime import DockerRuntime, _LogCopy
from agents.runtimes.docker.settings import DockerSettings
from agents.runtimes.protocol import CubeBundle, StepRequest
from api.schemas.border import ErrorClass
from cubes.contract import TaskName, parse_contract
from tests.agents.runtimes.docker.conftest import CONTRACT, LIMITS

pytestmark = pytest.mark.anyio
RequestFor = Callable[..., StepRequest]
RUNS = {"Status": "running", "OOMKilled": False, "ExitCode": 0}
KILLED = {"Status": "exited", "OOMKilled": False, "ExitCode": 137}
KNOWN = KILLED | {"OOMKilled": True}


class Told:
    """What an engine says of a container, one answer after the other; the last stays."""

    def __init__(self, *answers: dict[str, Any] | None) -> None:
        self.left = list(answers)

    def __call__(self, _name: str) -> dict[str, Any] | None:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


@pytest.fixture
def alone(tmp_path: Path, images: CubeImages) -> Iterator[DockerRuntime]:
    """A runtime that has asked no engine yet."""
    settings, environments = DockerSettings(host="unix:///nowhere"), EnvironmentCache(tmp_path / "e")
    with closing(DockerRuntime(tmp_path / "work", "site", settings, environments, images)) as made:
        yield made


@pytest.fixture
def step(tmp_path: Path) -> StepRequest:
    (tmp_path / "out").mkdir()
    contract = parse_contract(CONTRACT.format(image="m@sha256:" + "0" * 64, head="", command="x"))
    return StepRequest(
        key="step",
        cube=CubeBundle(contract=contract, pack_digest="", folder=tmp_path),
        task=TaskName.INFER,
        volumes={"data_path": tmp_path, "output_path": tmp_path / "out"},
        log=tmp_path / "log",
        limits=LIMITS,
    )


class TestWatch:
    """Without an engine."""

    @pytest.mark.parametrize(
        ("answers", "error", "exit_code"),
        [
            ((RUNS, KNOWN), ErrorClass.MEMORY, None),
            ((RUNS, KILLED, KILLED, KNOWN), ErrorClass.MEMORY, None),
            ((KILLED,), None, 137),
            ((KILLED, None), None, 137),
            ((KILLED | {"ExitCode": 1}, KNOWN), None, 1),
        ],
    )
    async def test_it_looks_again_after_a_kill_and_only_then(
        self,
        alone: DockerRuntime,
        step: StepRequest,
        monkeypatch: pytest.MonkeyPatch,
        answers: tuple[dict[str, Any] | None, ...],
        error: ErrorClass | None,
        exit_code: int | None,
    ) -> None:
        monkeypatch.setattr(alone._engine, "state", Told(*answers))
        ended = await alone._watch("container", step, _LogCopy(step))
        assert (ended.error, ended.exit_code) == (error, exit_code)


@pytest.mark.docker
class TestEngine:
    """With a real one."""

    async def test_memory_that_it_tells_of_late(
        self, runtime: DockerRuntime, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        honest, looks = runtime._engine.state, list[bool]()

        def late(name: str) -> dict[str, Any] | None:
            found = honest(name)
            if found is None or found["Status"] != "exited":
                return found
            looks.append(found["OOMKilled"])
            return found | {"OOMKilled": found["OOMKilled"] and len(looks) > 3}

        monkeypatch.setattr(runtime._engine, "state", late)
        limits = replace(LIMITS, memory_bytes=32 << 20, output_bytes=1 << 30)
        for _ in range(4):  # a busy engine may lose the kernel's word altogether: then there is none that comes late
            looks.clear()
            eats = request_for("cat /dev/zero > /dev/shm/x; cat /dev/zero > /tmp/x")
            outcome = await runtime.run(replace(eats, limits=limits))
            if any(looks):
                break
        assert outcome.error == ErrorClass.MEMORY, (outcome, looks)
        assert len(looks) > 3

    async def test_a_program_that_says_it_was_killed(self, runtime: DockerRuntime, request_for: RequestFor) -> None:
        outcome = await runtime.run(request_for("exit 137"))
        assert (outcome.error, outcome.exit_code) == (ErrorClass.EXIT_CODE, 137)
