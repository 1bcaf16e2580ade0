"""A site whose steps are pods, under examination in a real cluster."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from agents.doctor import Finding, Level, cluster, examine
from agents.doctor.cluster import check_gpu
from agents.home import Home, SiteSettings, create_home
from agents.runtimes.kubernetes.rights import NEEDED, OF_THE_OWNER
from agents.site import Site
from api.schemas.records import SiteWork
from tests.clusters import CLAIM, DENY, Namespace, image_registry, kubectl, namespace
from tests.k8s.places import a_pod
from tests.small_registry import TOKEN, SmallRegistry

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]
RIGHTS = Path(__file__).parents[3] / "k8s" / "site" / "base" / "rights.yaml"


@pytest.fixture(scope="module")
def own() -> Iterator[Namespace]:
    """A namespace with the claim, the deny-all policy and the rights of a site."""
    with namespace("doctor") as own:
        own.kubectl("apply", "-f", "-", stdin=f"{DENY}---{CLAIM}")
        rights = list(yaml.safe_load_all(RIGHTS.read_text(encoding="utf-8")))
        [binding] = [item for item in rights if item["kind"] == "RoleBinding"]
        binding["subjects"][0]["namespace"] = own.name
        own.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(rights))
        yield own


@pytest.fixture(scope="module")
def registry() -> Iterator[SmallRegistry]:
    empty = {"site_id": 1, "benchmarks": [], "audit_head": {"sequence": 1, "head": "0" * 64}}
    registry = SmallRegistry(SiteWork.model_validate(empty))
    registry.start()
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def python_image() -> str:
    return image_registry().python()


@pytest.fixture
def as_agent(own: Namespace, tmp_path: Path) -> Path:
    """A kubeconfig of the agent's own account."""
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": own.kubectl("create", "token", "assay-agent").strip()}
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


def site_in(own: Namespace, registry: SmallRegistry, name: str, gpu_slots: int = 0, **table: Any) -> Home:
    root = own.claim_folder("assay-site")
    kubernetes = {
        "namespace": own.name,
        "image": image_registry().python(),
        "volumes": [{"path": str(root), "claim": "assay-site"}],
        "hopeless_s": 1,
        "pull_retry_s": 1,
        **table,
    }
    told = {"site": "north", "registry_url": registry.url, "runtime": "kubernetes", "gpu_slots": gpu_slots}
    return create_home(root / name, SiteSettings.model_validate({**told, "kubernetes": kubernetes}), TOKEN)


def checks(home: Home) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(home.path)}


class TestWell:
    def test_the_agents_own_account_is_enough(self, own: Namespace, registry: SmallRegistry, as_agent: Path) -> None:
        found = checks(site_in(own, registry, "well", kubeconfig=str(as_agent)))
        assert {name: finding.said for name, finding in found.items() if finding.level == Level.FAIL} == {}
        for name in ("cluster", "rights", "step", "isolation"):
            assert found[name].level == Level.OK, found[name]


class TestRights:
    def test_what_is_missing_is_named(self, own: Namespace, registry: SmallRegistry, as_agent: Path) -> None:
        rule = '[{"op": "replace", "path": "/rules/0/verbs", "value": ["create", "get"]}]'
        before = own.kubectl("get", "role", "assay-agent", "-o", "yaml")
        own.kubectl("patch", "role", "assay-agent", "--type=json", "-p", rule)
        try:
            finding = checks(site_in(own, registry, "missing", kubeconfig=str(as_agent)))["rights"]
        finally:
            own.kubectl("replace", "--force", "-f", "-", stdin=before)
        assert finding.level == Level.FAIL
        assert "list jobs.batch" in finding.said
        assert "delete jobs.batch" in finding.said
        assert "rights.yaml" in finding.fix

    def test_an_account_that_may_everything_is_a_warning(self, own: Namespace, registry: SmallRegistry) -> None:
        finding = checks(site_in(own, registry, "beyond"))["rights"]
        assert finding.level == Level.WARN
        assert "get secrets" in finding.said

    def test_what_is_needed_is_what_the_manifests_grant(self) -> None:
        [role] = [item for item in yaml.safe_load_all(RIGHTS.read_text(encoding="utf-8")) if item["kind"] == "Role"]
        granted = {
            (verb, group, *resource.partition("/")[::2])
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        assert granted == {(right.verb, right.group, right.resource, right.part) for right in (*NEEDED, OF_THE_OWNER)}


class TestStep:
    def test_an_image_that_nobody_has_is_told_with_the_clusters_reason(
        self, own: Namespace, registry: SmallRegistry
    ) -> None:
        image = image_registry().python().rpartition("@")[0] + "@sha256:" + "1" * 64
        finding = checks(site_in(own, registry, "no-image", image=image))["step"]
        assert finding.level == Level.FAIL
        assert "not found" in finding.said.lower()

    def test_a_network_that_is_not_closed_is_told(self, registry: SmallRegistry) -> None:
        with namespace("open") as open_one:
            open_one.kubectl("apply", "-f", "-", stdin=CLAIM)
            finding = checks(site_in(open_one, registry, "open"))["isolation"]
        assert finding.level == Level.FAIL
        assert "no_cluster_api" in finding.said
        assert "network policies" in finding.fix


def gpu_of(home: Home) -> Finding:
    site = Site(home.path)
    try:
        return check_gpu(site)
    finally:
        site.close()


@pytest.fixture
def chip() -> Iterator[str]:
    """A resource of which the node says that it has one."""
    name = f"example.org/chip-{uuid4().hex[:6]}"
    [node] = json.loads(kubectl("get", "nodes", "-l", "type!=kwok", "-o", "json"))["items"]
    path = f"/status/capacity/{name.replace('/', '~1')}"

    def patch(**change: str) -> None:
        words = ("patch", "node", node["metadata"]["name"], "--subresource=status", "--type=json", "-p")
        kubectl(*words, json.dumps([{"path": path, **change}]))

    patch(op="add", value="1")
    yield name
    patch(op="remove")


class TestGpu:
    def test_one_that_is_free_is_got(self, own: Namespace, registry: SmallRegistry, chip: str) -> None:
        finding = gpu_of(site_in(own, registry, "gpu-free", gpu_slots=1, gpu_resource=chip, hopeless_s=10))
        assert finding.level == Level.OK, finding
        assert chip in finding.said

    def test_one_that_is_in_use_is_a_warning(
        self, own: Namespace, registry: SmallRegistry, chip: str, python_image: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cluster, "_GPU_WAIT_S", 3.0)
        pod = a_pod("holder", python_image, ["sleep", "300"], {})
        pod["spec"]["containers"][0]["resources"]["limits"][chip] = "1"
        own.kubectl("create", "-f", "-", stdin=json.dumps(pod))
        own.kubectl("wait", "--for=condition=Ready", "pod/holder", "--timeout=90s")
        finding = gpu_of(site_in(own, registry, "gpu-busy", gpu_slots=1, gpu_resource=chip))
        own.kubectl("delete", "pod", "holder", "--wait=false")
        assert finding.level == Level.WARN, finding
        assert f"Insufficient {chip}" in finding.said

    def test_one_that_no_node_has_is_told(self, own: Namespace, registry: SmallRegistry) -> None:
        finding = gpu_of(site_in(own, registry, "gpu-none", gpu_slots=1, gpu_resource="example.org/nothing"))
        assert finding.level == Level.FAIL
        assert "Insufficient example.org/nothing" in finding.said
        assert "device plugin" in finding.fix
