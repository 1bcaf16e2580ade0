"""What a real API server, with Pod Security at its strictest, says to the manifests."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agents.runtimes.kubernetes.template import TEMPLATE
from tests.clusters import Namespace, kubectl, namespace, wait_for
from tests.k8s.manifests import COMPONENTS, K8S, OVERLAYS, build
from tests.k8s.places import fill_in

pytestmark = pytest.mark.kubernetes
_ONCE = {"ingress"}
"""What the overlays bring along."""


@pytest.fixture(scope="module")
def empty() -> Iterator[Namespace]:
    with namespace("dry") as own:
        yield own


class TestDryRun:
    @pytest.mark.parametrize("overlay", OVERLAYS, ids=str)
    def test_the_server_takes_all_of_it(self, empty: Namespace, overlay: Path, tmp_path: Path) -> None:
        folder = fill_in(tmp_path / "overlay", str(overlay), empty)
        said = kubectl("apply", "-k", str(folder), "--dry-run=server", "--validate=strict")
        assert "error" not in said.lower()
        assert said.count("(server dry run)") == len(build(folder).objects)

    @pytest.mark.parametrize("overlay", OVERLAYS, ids=str)
    def test_the_server_takes_all_of_it_with_every_component(
        self, empty: Namespace, overlay: Path, tmp_path: Path
    ) -> None:
        own = [each for each in COMPONENTS if each.parts[0] == overlay.parts[0] and each.name not in _ONCE]
        have = {"gpu": {"several-nodes"}, "postgresql": {"postgresql"}}.get(overlay.name, set())
        components = [str(each) for each in own if each.name not in have]
        image = "registry.example.org/prefect@sha256:" + "0" * 64
        folder = fill_in(tmp_path / "overlay", str(overlay), empty, components=components, worker_image=image)
        said = kubectl("apply", "-k", str(folder), "--dry-run=server", "--validate=strict")
        assert said.count("(server dry run)") == len(build(folder).objects)

    @pytest.mark.parametrize("overlay", OVERLAYS, ids=str)
    def test_its_pods_are_admitted(self, empty: Namespace, overlay: Path, tmp_path: Path) -> None:
        # A Deployment is only warned about: its pods are what Pod Security judges.
        folder = fill_in(tmp_path / "overlay", str(overlay), empty)
        for template in build(folder).pods():
            spec = {key: value for key, value in template["spec"].items() if key != "serviceAccountName"}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
            assert "pod/one created" in empty.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))

    def test_a_pod_that_is_less_hardened_is_not(self, empty: Namespace, tmp_path: Path) -> None:
        [template] = build(fill_in(tmp_path / "overlay", "site/overlays/embedded", empty)).pods()
        spec = json.loads(json.dumps(template["spec"])) | {"serviceAccountName": "default"}
        spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
        said = empty.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod), check=False)
        assert 'violates PodSecurity "restricted' in said


class TestBesides:
    """What is applied by hand, beside an overlay."""

    def test_the_pod_that_brings_data_is_admitted(self, empty: Namespace) -> None:
        text = (K8S / "site/bring-data.yaml").read_text(encoding="utf-8").replace("assay-site", empty.name)
        said = empty.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
        assert "pod/bring-data created" in said

    def test_a_quota_on_cpu_takes_the_agent_with_the_limits_that_are_written_beside_it(self, tmp_path: Path) -> None:
        quota, example = (K8S / "site/overlays/gpu/quota.yaml").read_text(encoding="utf-8").split("# ---\n")
        counted = yaml.safe_load(quota) | {"spec": {"hard": {"limits.cpu": "16"}}}
        limits = "\n".join(line.removeprefix("# ") for line in example.splitlines())
        with namespace("quota") as own:
            [template] = build(fill_in(tmp_path / "overlay", "site/overlays/embedded", own)).pods()
            spec = {key: value for key, value in template["spec"].items() if key != "serviceAccountName"}
            pod = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec})
            own.kubectl("create", "-f", "-", stdin=json.dumps(counted))
            offer = ("create", "--dry-run=server", "-f", "-")
            wait_for(lambda: "limits.cpu" in own.kubectl(*offer, stdin=pod, check=False), "the quota's refusal")
            own.kubectl("create", "-f", "-", stdin=limits)
            wait_for(lambda: "pod/one created" in own.kubectl(*offer, stdin=pod, check=False), "the pod to be taken")


class TestSteps:
    def test_the_budget_keeps_a_running_step_from_being_moved(self, site: Namespace, python_image: str) -> None:
        job = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
        job["metadata"]["name"] = "long"
        pod = job["spec"]["template"]["spec"]
        pod["securityContext"] |= {"runAsUser": 10001, "runAsGroup": 10001}
        pod["containers"][0] |= {"image": python_image, "command": ["sleep", "300"]}
        site.kubectl("create", "-f", "-", stdin=json.dumps(job))
        site.kubectl("wait", "--for=condition=Ready", "pod", "-l", "batch.kubernetes.io/job-name=long", "--timeout=90s")
        [running] = site.pods_of("long")
        name = running["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": site.name}}
        path = f"/api/v1/namespaces/{site.name}/pods/{name}/eviction"
        said = kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction), check=False)
        assert "disruption budget" in said
        site.kubectl("delete", "job", "long", "--wait=false")
