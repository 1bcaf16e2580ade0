"""A model behind an endpoint, in a container without a network: the socket works there too."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agents.endpoints.gateway import endpoint_of
from agents.endpoints.settings import EndpointSettings
from agents.home import Home
from agents.runtimes.docker.runtime import DockerRuntime
from agents.runtimes.protocol import CubeBundle, StepRequest
from cubes.contract import TaskName, load_contract
from tests.agents.endpoints.conftest import Endpoint, endpoint
from tests.agents.runtimes.docker.conftest import LIMITS

pytestmark = [pytest.mark.anyio, pytest.mark.docker]
CUBE = Path(__file__).parents[4] / "cubes" / "api_model"
PACK = "sha256:" + "1" * 64
__all__ = ["endpoint"]


async def test_each_case_is_asked_about(
    runtime: DockerRuntime,
    home: Home,
    tmp_path: Path,
    endpoint: Endpoint,
) -> None:
    for name in ("data", "out"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "data" / "a.txt").write_text("a report")
    (tmp_path / "parameters").write_text("scheme: json\n")
    bundle = CubeBundle(contract=load_contract(CUBE), pack_digest=PACK, folder=CUBE)
    settings = {"model": EndpointSettings(url=endpoint.url, cubes=(PACK,))}
    task = bundle.contract.tasks[TaskName.INFER]
    with endpoint_of(home, settings, task, PACK, record=tmp_path / "calls", folder=tmp_path / "endpoint") as volumes:
        inputs = {"data_path": tmp_path / "data", "parameters_file": tmp_path / "parameters", **volumes}
        request = StepRequest(
            key="endpoint-step",
            cube=bundle,
            task=TaskName.INFER,
            volumes={**inputs, "output_path": tmp_path / "out"},
            log=tmp_path / "log",
            limits=replace(LIMITS, memory_bytes=256 << 20),
        )
        outcome = await runtime.run(request)
    assert outcome.ok, outcome.message
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == {"a.txt": 0.75}
