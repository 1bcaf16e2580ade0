"""Tiny real cubes, run by the real runtime."""

import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agents.environments import EnvironmentCache
from agents.runtimes.process import ProcessRuntime
from agents.runtimes.protocol import CubeBundle, Limits, StepOutcome, StepRequest
from cubes.contract import TaskName, parse_contract

CONTRACT = """
container_type: Folder
tasks:
  infer:
    run_args: {command: python3 main.py, environment: {GREETING: hello}}
    resources: {cpu: 1, memory: 256Mi}
    input_volumes:
      data_path: {mount_path: /in/data, type: directory}
    output_volumes:
      output_path: {mount_path: /out/predictions, type: directory}
"""
LIMITS = Limits(deadline_s=120, memory_bytes=256 << 20, processes=64, output_bytes=8 << 20, log_bytes=1 << 20)
Run = Callable[..., Awaitable[StepOutcome]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def runtime(tmp_path: Path) -> ProcessRuntime:
    (tmp_path / "work").mkdir()
    return ProcessRuntime(tmp_path / "work", EnvironmentCache(tmp_path / "environments"))


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[..., StepRequest]:
    """A request to run a program as an `infer` step; the output folder is `tmp_path/out-<key>`."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cases").write_text("three cases")
    (tmp_path / "contract").write_text(CONTRACT)

    def make(program: str, *, key: str = "step", limits: Limits = LIMITS) -> StepRequest:
        folder, output = tmp_path / f"cube-{key}", tmp_path / f"out-{key}"
        folder.mkdir()
        output.mkdir(mode=0o700)
        (folder / "main.py").write_text(textwrap.dedent(program))
        return StepRequest(
            key=key,
            cube=CubeBundle(contract=parse_contract(CONTRACT), pack_digest="", folder=folder),
            task=TaskName.INFER,
            volumes={"data_path": tmp_path / "data", "output_path": output},
            log=tmp_path / f"log-{key}",
            limits=limits,
        )

    return make


@pytest.fixture
def run(runtime: ProcessRuntime, request_for: Callable[..., StepRequest]) -> Run:
    async def run(program: str, *, key: str = "step", limits: Limits = LIMITS) -> StepOutcome:
        return await runtime.run(request_for(program, key=key, limits=limits))

    return run
