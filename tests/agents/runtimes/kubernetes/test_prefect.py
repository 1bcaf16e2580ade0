"""What people see in the site's Prefect pages of a step in the cluster, and what ends with a flow that is cancelled there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import httpx2
import pytest

from agents.prefect_api import PrefectApi
from api.schemas.cubes import CubeKind
from tests.agents.runtimes.kubernetes.places import place_in
from tests.clusters import CLAIM, DENY, Namespace, namespace
from tests.flows.agency import Agency, agency
from tests.hospital import hospital

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(600)]
MODEL: Final = """
container_type: Folder
tasks:
  infer:
    run_args: {command: python3 infer.py}
    resources: {cpu: 0.5, memory: 64Mi}
    deadline_s: 600
    input_volumes: {data_path: {mount_path: /data, type: directory}}
    output_volumes: {output_path: {mount_path: /predictions, type: directory}}
"""
TALKS: Final = "import time\nprint('epoch 1')\nfor _ in range(5000): print('x' * 99)\ntime.sleep(600)"


@pytest.fixture
def ward(
    python_image: str, prefect_url: str, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Agency, Namespace]]:
    """A hospital on the cluster whose agent runs, with a dataset `d1` that is registered; it shows logs live."""
    api = PrefectApi(prefect_url, timeout_s=60)
    with namespace("prefect") as own:
        own.kubectl("apply", "-f", "-", stdin=f"{DENY}---{CLAIM}")
        place = place_in(own, python_image)
        folder: Path = place.home / "h"
        settings = {**place.site_settings(), "live_logs": True, "start_evaluations": False}
        with hospital(folder, "", monkeypatch, with_prefect=True, **settings) as here:
            here.offer()
            here.site.probe()
            with agency(here, api, until) as running:
                running.register_at_once("d1")
                yield running, own
    api.close()


def _logged(here: Agency, flow_run: str) -> list[str]:
    """What Prefect's pages show as the flow run's log."""
    found: list[str] = []
    while True:
        wanted = {"logs": {"flow_run_id": {"any_": [flow_run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        answer = httpx2.post(f"{here.api.url}/logs/filter", json=wanted | {"offset": len(found)}, trust_env=False)
        answer.raise_for_status()
        if not (page := answer.json()):
            return found
        found += [line["message"] for line in page]


def _phases(own: Namespace) -> list[str]:
    pods = own.get("pods", "-l", "assay/task=infer")["items"]
    return [each["status"]["phase"] for each in pods if not each["metadata"]["name"].startswith("probe-")]


def test_why_it_waits_its_first_lines_and_its_end_by_a_button(
    ward: tuple[Agency, Namespace], until: Callable[..., None]
) -> None:
    north, own = ward
    own.kubectl("create", "quota", "full", "--hard=requests.cpu=10m")
    north.here.offer(north.here.program(CubeKind.MODEL, MODEL, infer_py=TALKS))
    job = north.evaluate(1, name="d1")
    north.decide(north.gate(job))
    flow_run = north.job(job).flow_run_id or ""
    until(lambda: any("exceeded quota: full" in line for line in _logged(north, flow_run)), "why the step waits")
    assert "exceeded quota: full" in north.executions("d1")["model-1"].message
    own.kubectl("delete", "quota", "full")
    until(lambda: "| epoch 1" in _logged(north, flow_run), "the step's first line")
    until(lambda: any("the rest is in the step's log file" in line for line in _logged(north, flow_run)), "the cap")
    assert sum(map(len, _logged(north, flow_run))) < 80_000
    assert _phases(own) == ["Running"]
    north.api.cancel(flow_run)
    assert north.end(job).state != "done"
    until(lambda: "Running" not in _phases(own), "the pod to end with the flow")
    assert north.executions("d1")["model-1"].state != "running"
