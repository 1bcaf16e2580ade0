"""`prefect.yaml`: the same flows on work pools, deployed by Prefect's own command and run by its own worker."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint

from agents.site import HOME_VARIABLE
from agents.store.tables import JobState
from flows.deployments import registry_flows, site_flows
from flows.settings import ENVIRONMENT
from tests.flows.agency import Agency

ROOT: Final = Path(__file__).parents[2]
TEMPLATE: Final = ROOT / "flows" / "pools" / "kubernetes.json"
START_S: Final = 300.0
"""A worker starts a Python, which starts another, before a flow's first line."""
POOLS: Final = {"process": "assay-process", "kubernetes": "assay-kubernetes"}


def _prefect(url: str, folder: Path) -> dict[str, str]:
    """The environment of one of Prefect's own commands."""
    own = {"PREFECT_API_URL": url, "PREFECT_HOME": str(folder), "PREFECT_PROFILES_PATH": str(folder / "profiles.toml")}
    return {**os.environ, **ENVIRONMENT, **own}


@pytest.fixture(scope="module")
def deployed(prefect_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a server to which all of it was deployed."""
    templates: dict[str, Any] = {"process": {}, "kubernetes": json.loads(TEMPLATE.read_text())}
    for kind, name in POOLS.items():
        pool = {"name": name, "type": kind, "base_job_template": templates[kind]}
        answer = httpx2.post(f"{prefect_url}/work_pools/", json=pool, trust_env=False)
        assert answer.status_code in {201, 409}, answer.text
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=ROOT,
        env=_prefect(prefect_url, tmp_path_factory.mktemp("prefect")),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return prefect_url


@pytest.mark.slow
class TestDeploy:
    @pytest.mark.parametrize("pool", POOLS)
    def test_every_flow_is_on_every_pool(self, deployed: str, pool: str) -> None:
        for flow in (*site_flows(), *registry_flows()):
            found = httpx2.get(f"{deployed}/deployments/name/{flow.name}/{pool}", trust_env=False).json()
            assert found["work_pool_name"] == POOLS[pool]
            assert found["pull_steps"] in ([], None)
            assert load_flow_from_entrypoint(found["entrypoint"]).fn is flow.fn
            wanted = "gate_id" if flow.name == "review" else "job_id"
            assert list(found["parameter_openapi_schema"]["properties"]) == [wanted]
            assert found["parameter_openapi_schema"]["required"] == [wanted]
            assert found["enforce_parameter_schema"]

    def test_no_name_is_the_agent_s_or_the_registry_s_own(self) -> None:
        """They run their flows themselves: a worker that picked up one of those would run it a second time."""
        declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
        assert {each["name"] for each in declared} == set(POOLS)
        assert len(declared) == len(POOLS) * (len(site_flows()) + len(registry_flows()))


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestWork:
    @pytest.fixture
    def worker(self, deployed: str, north: Agency, tmp_path: Path) -> Iterator[None]:
        """A process worker beside the site's folder."""
        command = ["worker", "start", "--pool", POOLS["process"], "--type", "process"]
        environment = {
            **_prefect(deployed, tmp_path / "prefect"),
            HOME_VARIABLE: str(north.here.site.home.path),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONPATH": str(ROOT),
        }
        with (tmp_path / "worker.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *command], env=environment, stdout=log, stderr=log, cwd=tmp_path
            )
            yield
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @pytest.mark.usefixtures("worker")
    def test_a_worker_runs_a_site_s_job_to_its_gate_and_on(
        self, north: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site = north.here.site
        monkeypatch.setattr(site, "settings", site.settings.model_copy(update={"prefect_deployment": "process"}))
        job = north.prepare("by-a-worker")
        gate = north.gate(job, limit_s=START_S)
        assert gate.name == "register_dataset"
        _execute_again(north.api.url, str(gate.flow_run_id), tmp_path, site.home.path)
        assert north.gate(job, limit_s=START_S).id == gate.id
        north.decide(gate)
        assert north.end(job, limit_s=START_S).state == JobState.DONE


def _execute_again(url: str, flow_run: str, folder: Path, home: Path) -> None:
    """What a cluster does that starts a pod a second time: the engine is run on a run that rests at its gate."""
    subprocess.run(
        [sys.executable, "-m", "prefect.engine"],
        env={
            **_prefect(url, folder / "again"),
            HOME_VARIABLE: str(home),
            "PREFECT__FLOW_RUN_ID": flow_run,
            "PYTHONPATH": str(ROOT),
        },
        cwd=folder,
        capture_output=True,
        timeout=START_S,
        check=True,
    )


class TestTemplate:
    """What the Kubernetes pool makes of a flow run; Pod Security `restricted` accepts it."""

    def test_every_placeholder_is_a_variable(self) -> None:
        template = json.loads(TEMPLATE.read_text())
        names = set(template["variables"]["properties"])
        used = {name for text in _texts(template["job_configuration"]) for name in re.findall(r"{{ (\w+) }}", text)}
        assert used == names

    def test_the_pod_is_hardened(self) -> None:
        spec = json.loads(TEMPLATE.read_text())["job_configuration"]["job_manifest"]["spec"]
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        assert spec["backoffLimit"] == 0
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        context = container["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
        assert not {"hostNetwork", "hostPID", "hostIPC"} & {key for key, value in pod.items() if value}

    def test_prefect_s_command_takes_the_place_of_the_image_s_own(self) -> None:
        (container,) = json.loads(TEMPLATE.read_text())["job_configuration"]["job_manifest"]["spec"]["template"][
            "spec"
        ]["containers"]
        assert (container["command"], container["args"]) == (["/usr/bin/env"], "{{ command }}")

    def test_no_label_of_prefect_s_is_on_the_pod_of_another(self) -> None:
        labels = json.loads(TEMPLATE.read_text())["job_configuration"]["job_manifest"]["spec"]["template"]["metadata"]
        assert labels["labels"] == {"app.kubernetes.io/name": "assay", "app.kubernetes.io/component": "flow"}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
