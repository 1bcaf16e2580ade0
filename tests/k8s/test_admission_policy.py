"""With `k8s/cluster/admission` the API server takes from a site's accounts steps as reviewed, and no other Job."""

import copy
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.runtimes.kubernetes.settings import KubernetesSettings, VolumeMapping
from agents.runtimes.kubernetes.template import TEMPLATE
from flows.pools import pod_template
from tests.clusters import Namespace, kubectl, namespace, wait_for
from tests.k8s.manifests import K8S, Json, build
from tests.k8s.places import fill_in, replace

pytestmark = pytest.mark.kubernetes

POLICIES = K8S / "cluster/admission"
VOLUME = VolumeMapping(path=Path("/var/lib/assay"), claim="assay-site")
IMAGE = "registry.example.org/model@sha256:" + "1" * 64
Change = Callable[[dict[str, Any]], object]
Offer = Callable[[dict[str, Any]], str]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """A site in a cluster with the policies, which go with the tests."""
    with namespace("guarded") as own:
        folder = tmp_path_factory.mktemp("overlay") / "site"
        nobody = {"Deployment": [replace("/spec/replicas", 0)]}
        flows = ["site/components/flow-pods"]
        fill_in(folder, "site/overlays/embedded", own, patches=nobody, components=flows)
        policies = [_renamed(each, own.name) for each in build(POLICIES).objects]
        try:
            own.kubectl("apply", "-k", str(folder))
            kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(policies))
            yield own
        finally:
            names = [f"{each['kind'].lower()}/{each['metadata']['name']}" for each in policies]
            kubectl("delete", "--ignore-not-found", *names)


def _renamed(policy: Json, suffix: str) -> dict[str, Any]:
    """A policy, or its binding, of these tests alone: both are the cluster's, and other processes may have theirs."""
    found: dict[str, Any] = copy.deepcopy(dict(policy))
    found["metadata"]["name"] += f"-{suffix}"
    if "policyName" in found["spec"]:
        found["spec"]["policyName"] += f"-{suffix}"
        here = {"kubernetes.io/metadata.name": suffix}
        found["spec"]["matchResources"]["namespaceSelector"]["matchLabels"] |= here
    return found


def offering(guarded: Namespace, account: str, folder: Path) -> Offer:
    """Offer a Job to the API server as an account: what it says. None is made."""
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": guarded.kubectl("create", "token", account).strip()}
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ("-n", guarded.name, "create", "--dry-run=server", "-f", "-")
    return lambda job: kubectl(*words, stdin=json.dumps(job), check=False, kubeconfig=file)


@pytest.fixture(scope="module")
def offer(guarded: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Offer:
    return offering(guarded, "assay-agent", tmp_path_factory.mktemp("agent"))


@pytest.fixture(scope="module")
def offer_flow(guarded: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Offer:
    return offering(guarded, "assay-flow-worker", tmp_path_factory.mktemp("worker"))


def a_step() -> dict[str, Any]:
    job: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    job["metadata"]["name"] = "offered"
    job["spec"]["activeDeadlineSeconds"] = 60
    pod = job["spec"]["template"]["spec"]
    pod["securityContext"] |= {"runAsUser": 10001, "runAsGroup": 10001}
    pod["containers"][0] |= {"image": IMAGE, "command": ["true"], "env": [{"name": "LANG", "value": "C.UTF-8"}]}
    pod["volumes"].append({"name": "site-0", "persistentVolumeClaim": {"claimName": "assay-site"}})
    return job


def a_flow() -> dict[str, Any]:
    """The Job that Prefect's worker makes of a flow run, by the pool's template."""
    template = pod_template(
        KubernetesSettings(namespace="x", image=IMAGE, volumes=(VOLUME,)), Path("/var/lib/assay/home")
    )
    values = {name: each.get("default") for name, each in template["variables"]["properties"].items()}
    job: dict[str, Any] = _filled(template["job_configuration"]["job_manifest"], values)
    job["metadata"] = {"name": "offered"}
    pod = job["spec"]["template"]["spec"]
    del pod["parallelism"], pod["completions"]  # the worker insists on them there, and the server ignores them
    pod["containers"][0]["args"] = ["true"]
    return job


def _filled(found: Any, values: dict[str, Any]) -> Any:
    if isinstance(found, dict):
        return {key: _filled(value, values) for key, value in found.items()}
    if isinstance(found, list):
        return [_filled(value, values) for value in found]
    named = re.fullmatch(r"{{ (\w+) }}", found) if isinstance(found, str) else None
    return values[named[1]] if named else found


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


OTHERS: dict[str, tuple[str, Change]] = {
    "that a policy lets out": (
        "nothing that other network policies select",
        lambda job: job["spec"]["template"]["metadata"]["labels"].update({"app.kubernetes.io/component": "agent"}),
    ),
    "without a label": (
        "nothing that other network policies select",
        lambda job: job["spec"]["template"]["metadata"].pop("labels"),
    ),
    "with the agent's account": (
        "no service account of its own",
        lambda job: pod_of(job).update(serviceAccountName="assay-agent"),
    ),
    "with a token": ("and no token", lambda job: pod_of(job).update(automountServiceAccountToken=True)),
    "that mounts a secret": (
        "no secret, configuration or path of a node",
        lambda job: pod_of(job)["volumes"].append({"name": "s", "secret": {"secretName": "assay-secrets"}}),
    ),
    "that reads a secret": (
        "its environment written out",
        lambda job: pod_of(job)["containers"][0].update(envFrom=[{"secretRef": {"name": "assay-secrets"}}]),
    ),
    "that reads one value of a secret": (
        "its environment written out",
        lambda job: pod_of(job)["containers"][0]["env"].append(
            {"name": "X", "valueFrom": {"secretKeyRef": {"name": "assay-secrets", "key": "registry.token"}}}
        ),
    ),
    "whose image is a tag": (
        "its image named by digest",
        lambda job: pod_of(job)["containers"][0].update(image="registry.example.org/model:latest"),
    ),
    "of two containers": (
        "a step is one container",
        lambda job: pod_of(job)["containers"].append(copy.deepcopy(pod_of(job)["containers"][0]) | {"name": "two"}),
    ),
    "without a deadline": ("a step has a deadline", lambda job: job["spec"].pop("activeDeadlineSeconds")),
    "that starts again": ("never started again", lambda job: job["spec"].update(backoffLimit=3)),
}


class TestPolicy:
    @pytest.mark.parametrize("what", OTHERS)
    def test_a_job_that_is_no_step_is_refused(self, offer: Offer, what: str) -> None:
        reason, change = OTHERS[what]
        job = a_step()
        change(job)
        # A policy takes effect a moment after it was made.
        said = wait_for(lambda: "denied request" in (answer := offer(job)) and answer, f"a refusal of a Job {what}")
        assert reason in said

    def test_a_step_is_taken(self, offer: Offer) -> None:
        assert "job.batch/offered created" in offer(a_step())

    def test_a_step_on_the_agents_own_node_is_taken(self, offer: Offer) -> None:
        here = {"key": "metadata.name", "operator": "In", "values": ["the-agents-node"]}
        terms = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [here]}]}}
        job = a_step()
        pod_of(job)["affinity"] = {"nodeAffinity": terms}
        assert "job.batch/offered created" in offer(job)

    def test_an_account_of_another_name_is_held_to_it_as_well(
        self, guarded: Namespace, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        # As after a `namePrefix`: the policies know the accounts of the namespace, not their names.
        guarded.kubectl("create", "serviceaccount", "north-assay-agent")
        role = ("--role=assay-agent", f"--serviceaccount={guarded.name}:north-assay-agent")
        guarded.kubectl("create", "rolebinding", "north", *role)
        offer = offering(guarded, "north-assay-agent", tmp_path_factory.mktemp("north"))
        job = a_step()
        job["spec"].pop("activeDeadlineSeconds")
        said = wait_for(lambda: "denied request" in (answer := offer(job)) and answer, "a refusal")
        assert "a step has a deadline" in said

    def test_the_probes_control_is_taken(self, offer: Offer) -> None:
        job = a_step()
        job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] = "probe-control"
        assert "job.batch/offered created" in offer(job)

    def test_others_are_not_held_to_it(self, guarded: Namespace) -> None:
        job = a_step()
        job["spec"].pop("activeDeadlineSeconds")
        said = guarded.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(job))
        assert "job.batch/offered created" in said


NO_FLOWS: dict[str, tuple[str, Change]] = {
    "that is a step": (
        "the worker starts flows",
        lambda job: job["spec"]["template"]["metadata"]["labels"].update({"app.kubernetes.io/component": "step"}),
    ),
    "with the agent's account": (
        "a flow has the account of flows",
        lambda job: pod_of(job).update(serviceAccountName="assay-agent"),
    ),
    "that mounts a secret": (
        "a flow mounts claims and scratch",
        lambda job: pod_of(job)["volumes"].append({"name": "s", "secret": {"secretName": "assay-secrets"}}),
    ),
    "that reads the site's secret": (
        "with the worker's secret and no other",
        lambda job: pod_of(job)["containers"][0]["env"].append(
            {"name": "X", "valueFrom": {"secretKeyRef": {"name": "assay-secrets", "key": "registry.token"}}}
        ),
    ),
    "whose image is a tag": (
        "its image named by digest",
        lambda job: pod_of(job)["containers"][0].update(image="registry.example.org/assay:latest"),
    ),
}


class TestPolicyOfFlows:
    @pytest.mark.parametrize("what", NO_FLOWS)
    def test_a_job_that_is_no_flow_is_refused(self, offer_flow: Offer, what: str) -> None:
        reason, change = NO_FLOWS[what]
        job = a_flow()
        change(job)
        said = wait_for(
            lambda: "denied request" in (answer := offer_flow(job)) and answer, f"a refusal of a Job {what}"
        )
        assert reason in said

    def test_a_flow_is_taken(self, offer_flow: Offer) -> None:
        assert "job.batch/offered created" in offer_flow(a_flow())
