"""`prefect.yaml`: the same flows on work pools, deployed by Prefect's own command and run by its own worker."""

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import yaml
from prefect.client.orchestration import PrefectClient
from prefect.flows import load_flow_from_entrypoint

from agents.errors import HomeError
from agents.home import SiteSettings
from agents.site import HOME_VARIABLE
from agents.store.tables import JobState
from flows.deployments import registry_flows, site_flows
from flows.pools import POOLS, TEMPLATE, Pool, offer, pod_template, pool_of
from flows.settings import ENVIRONMENT
from tests.flows.agency import Agency

ROOT: Final = Path(__file__).parents[2]
START_S: Final = 600.0
"""A worker starts a Python, which starts another, before a flow's first line."""


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
        answer = httpx2.post(f"{prefect_url}/work_pools/", json=pool, trust_env=False, timeout=120)
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
@pytest.mark.timeout(900)
class TestDeploy:
    @pytest.mark.parametrize("pool", POOLS)
    def test_every_flow_is_on_every_pool(self, deployed: str, pool: str) -> None:
        for flow in (*site_flows(), *registry_flows()):
            found = httpx2.get(f"{deployed}/deployments/name/{flow.name}/{pool}", trust_env=False, timeout=120).json()
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
        assert _placeholders(template) == set(template["variables"]["properties"])

    def test_the_pod_is_hardened(self) -> None:
        spec = json.loads(TEMPLATE.read_text())["job_configuration"]["job_manifest"]["spec"]
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        assert spec["backoffLimit"] > 0, "a flow that is killed is started again where it was"
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
        assert (container["command"], container["args"]) == (["env"], "{{ command }}")

    def test_no_label_of_prefect_s_is_on_the_pod_of_another(self) -> None:
        labels = json.loads(TEMPLATE.read_text())["job_configuration"]["job_manifest"]["spec"]["template"]["metadata"]
        assert labels["labels"] == {"app.kubernetes.io/name": "assay", "app.kubernetes.io/component": "flow"}


class TestOfASite:
    """What the agent makes of the template, and offers behind its sign-in."""

    @pytest.fixture
    def settings(self) -> SiteSettings:
        text = (ROOT / "k8s/site/overlays/embedded/site.toml").read_text(encoding="utf-8")
        return SiteSettings.model_validate(tomllib.loads('prefect_deployment = "kubernetes"\n' + text))

    @pytest.fixture
    def template(self, settings: SiteSettings) -> dict[str, Any]:
        assert settings.kubernetes is not None
        return pod_template(settings.kubernetes, Path("/var/lib/assay/home"))

    def test_an_agent_that_runs_its_flows_itself_offers_none(self, settings: SiteSettings) -> None:
        assert pool_of(settings.model_copy(update={"prefect_deployment": "site"}), Path("/")) is None

    def test_those_of_somebody_else_are_left_to_them(self, settings: SiteSettings) -> None:
        assert pool_of(settings.model_copy(update={"prefect_deployment": "our-own"}), Path("/")) is None

    def test_pods_need_to_know_of_a_cluster(self, settings: SiteSettings) -> None:
        bare = settings.model_copy(update={"kubernetes": None})
        with pytest.raises(HomeError, match=r"needs a \[kubernetes\] table"):
            pool_of(bare, Path("/"))

    def test_every_placeholder_is_a_variable(self, template: dict[str, Any]) -> None:
        assert _placeholders(template) == set(template["variables"]["properties"])

    def test_image_and_place_are_the_site_s(self, template: dict[str, Any], settings: SiteSettings) -> None:
        assert settings.kubernetes is not None
        variables = template["variables"]["properties"]
        assert variables["image"]["default"] == settings.kubernetes.image
        assert variables["namespace"]["default"] == "assay-site"

    def test_an_image_of_their_own_wins(self, settings: SiteSettings) -> None:
        assert settings.kubernetes is not None
        other = settings.kubernetes.model_copy(update={"flow_image": "registry.example.org/flows@sha256:" + "1" * 64})
        variables = pod_template(other, Path("/x"))["variables"]["properties"]
        assert variables["image"]["default"] == other.flow_image

    def test_flows_see_what_the_agent_sees_where_it_sees_it(self, template: dict[str, Any]) -> None:
        pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
        mounts = {
            each["mountPath"]: each["readOnly"] for each in pod["containers"][0]["volumeMounts"] if "readOnly" in each
        }
        assert mounts == {"/var/lib/assay": False, "/data": True, "/etc/assay-authorities": True}
        claims = [
            each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if "persistentVolumeClaim" in each
        ]
        assert claims == ["assay-site", "assay-data"]

    def test_what_is_true_of_prefect_in_the_agent_is_true_there(self, template: dict[str, Any]) -> None:
        env = template["variables"]["properties"]["env"]["default"]
        values = {each["name"]: each["value"] for each in env if "value" in each}
        assert ENVIRONMENT.items() <= values.items()
        assert values[HOME_VARIABLE] == "/var/lib/assay/home"

    @pytest.mark.parametrize("trusted", [None, "/etc/assay-authorities/ca.crt"])
    def test_whom_the_agent_trusts_its_flows_trust(
        self, settings: SiteSettings, monkeypatch: pytest.MonkeyPatch, trusted: str | None
    ) -> None:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        if trusted is not None:
            monkeypatch.setenv("SSL_CERT_FILE", trusted)
        assert settings.kubernetes is not None
        env = pod_template(settings.kubernetes, Path("/x"))["variables"]["properties"]["env"]["default"]
        assert [each["value"] for each in env if each["name"] == "SSL_CERT_FILE"] == ([trusted] if trusted else [])

    def test_the_token_is_a_secret_in_place_of_the_worker_s_own_words(self, template: dict[str, Any]) -> None:
        env = template["variables"]["properties"]["env"]["default"]
        mine = [each for each in env if each["name"] == "PREFECT_CLIENT_CUSTOM_HEADERS"]
        assert mine[0]["value"] == ""
        assert mine[-1]["valueFrom"] == {"secretKeyRef": {"name": "assay-worker", "key": "headers"}}

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    def test_it_is_prefect_yaml_s_own_deployment_that_the_agent_offers(self, deployed: str) -> None:
        async def offered() -> None:
            async with PrefectClient(deployed) as client:
                await offer(client, site_flows(), Pool("process"))

        names = [f"{flow.name}/process" for flow in site_flows()]
        before = [_deployment(deployed, name) for name in names]
        asyncio.run(offered())
        assert [_deployment(deployed, name) for name in names] == before


def _deployment(url: str, name: str) -> dict[str, Any]:
    """What matters of a deployment to whoever runs it."""
    found = httpx2.get(f"{url}/deployments/name/{name}", trust_env=False, timeout=120).json()
    keys = ("id", "entrypoint", "work_pool_name", "tags", "parameter_openapi_schema", "enforce_parameter_schema")
    if not found["parameter_openapi_schema"].get("definitions"):
        found["parameter_openapi_schema"].pop("definitions", None)  # none, and an empty list of them, are the same
    return {key: found[key] for key in keys}


def _placeholders(template: dict[str, Any]) -> set[str]:
    return {name for text in _texts(template["job_configuration"]) for name in re.findall(r"{{ (\w+) }}", text)}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
