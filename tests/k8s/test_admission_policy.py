"""With the component `admission` the API server takes from the agent's account steps as reviewed, and no other Job."""

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.runtimes.kubernetes.template import TEMPLATE
from tests.clusters import Namespace, kubectl, namespace, wait_for
from tests.k8s.places import fill_in, replace

pytestmark = pytest.mark.kubernetes

IMAGE = "registry.example.org/model@sha256:" + "1" * 64
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """A site with the policy; the policy is the cluster's, and goes with the tests."""
    with namespace("guarded") as own:
        folder = tmp_path_factory.mktemp("overlay") / "site"
        nobody = {"Deployment": [replace("/spec/replicas", 0)]}
        fill_in(folder, "site/overlays/embedded", own, patches=nobody, components=["site/components/admission"])
        try:
            own.kubectl("apply", "-k", str(folder))
            yield own
        finally:
            kubectl("delete", "--ignore-not-found", "validatingadmissionpolicybinding/assay-steps")
            kubectl("delete", "--ignore-not-found", "validatingadmissionpolicy/assay-steps")


@pytest.fixture(scope="module")
def offer(guarded: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], str]:
    """Offer a Job to the API server as the agent: what it says. None is made."""
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": guarded.kubectl("create", "token", "assay-agent").strip()}
    file = tmp_path_factory.mktemp("agent") / "kubeconfig"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ("-n", guarded.name, "create", "--dry-run=server", "-f", "-")
    return lambda job: kubectl(*words, stdin=json.dumps(job), check=False, kubeconfig=file)


def a_step() -> dict[str, Any]:
    job: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    job["metadata"]["name"] = "offered"
    job["spec"]["activeDeadlineSeconds"] = 60
    pod = job["spec"]["template"]["spec"]
    pod["securityContext"] |= {"runAsUser": 10001, "runAsGroup": 10001}
    pod["containers"][0] |= {"image": IMAGE, "command": ["true"], "env": [{"name": "LANG", "value": "C.UTF-8"}]}
    pod["volumes"].append({"name": "site-0", "persistentVolumeClaim": {"claimName": "assay-site"}})
    return job


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
    def test_a_job_that_is_no_step_is_refused(self, offer: Callable[[dict[str, Any]], str], what: str) -> None:
        reason, change = OTHERS[what]
        job = a_step()
        change(job)
        # A policy takes effect a moment after it was made.
        said = wait_for(lambda: "denied request" in (answer := offer(job)) and answer, f"a refusal of a Job {what}")
        assert reason in said

    def test_a_step_is_taken(self, offer: Callable[[dict[str, Any]], str]) -> None:
        assert "job.batch/offered created" in offer(a_step())

    def test_the_probes_control_is_taken(self, offer: Callable[[dict[str, Any]], str]) -> None:
        job = a_step()
        job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] = "probe-control"
        assert "job.batch/offered created" in offer(job)

    def test_others_are_not_held_to_it(self, guarded: Namespace) -> None:
        job = a_step()
        job["spec"].pop("activeDeadlineSeconds")
        said = guarded.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(job))
        assert "job.batch/offered created" in said
