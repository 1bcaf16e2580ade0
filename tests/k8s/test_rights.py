"""What the agent's account may and may not do, asked of a real API server as that account."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clusters import Namespace, kubectl
from tests.k8s.places import a_pod

pytestmark = pytest.mark.kubernetes

MAY = (
    ("create", "jobs.batch"),
    ("get", "jobs.batch"),
    ("list", "jobs.batch"),
    ("delete", "jobs.batch"),
    ("list", "pods"),
    ("watch", "pods"),
    ("get", "pods/log"),
    ("list", "events"),
    ("get", "deployments.apps/assay-agent"),
)
MAY_NOT = (
    ("create", "pods"),
    ("delete", "pods"),
    ("get", "pods"),
    ("patch", "pods"),
    ("create", "pods/exec"),
    ("create", "pods/attach"),
    ("create", "pods/portforward"),
    ("create", "pods/eviction"),
    ("update", "pods/ephemeralcontainers"),
    ("get", "secrets"),
    ("list", "secrets"),
    ("create", "secrets"),
    ("get", "configmaps"),
    ("update", "jobs.batch"),
    ("patch", "jobs.batch"),
    ("deletecollection", "jobs.batch"),
    ("create", "cronjobs.batch"),
    ("create", "deployments.apps"),
    ("patch", "deployments.apps/assay-agent"),
    ("get", "deployments.apps/another"),
    ("list", "deployments.apps"),
    ("get", "persistentvolumeclaims"),
    ("create", "persistentvolumeclaims"),
    ("delete", "networkpolicies.networking.k8s.io"),
    ("create", "networkpolicies.networking.k8s.io"),
    ("create", "serviceaccounts/token"),
    ("impersonate", "serviceaccounts"),
    ("create", "roles.rbac.authorization.k8s.io"),
    ("bind", "roles.rbac.authorization.k8s.io"),
    ("escalate", "roles.rbac.authorization.k8s.io"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("get", "services"),
    ("delete", "poddisruptionbudgets.policy"),
    ("update", "namespaces"),
)
EVERYWHERE_NOT = (
    "nodes",
    "namespaces",
    "persistentvolumes",
    "pods",
    "secrets",
    "jobs.batch",
    "runtimeclasses.node.k8s.io",
)

Call = Callable[..., str]


@pytest.fixture(scope="module")
def call(site: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Call the API with a token of the agent's account, and give what it says."""
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text(encoding="utf-8"))
    token = site.kubectl("create", "token", "assay-agent").strip()
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    file = tmp_path_factory.mktemp("agent") / "kubeconfig"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return lambda *words, **options: kubectl(*words, check=False, kubeconfig=file, **options)


def allowed(account: str, asked: Iterable[tuple[str, str]], namespace: str) -> list[str]:
    """Which of these an account may, in a namespace; in all and outside of any, where that is empty."""
    reviews = [_review(account, verb, resource, namespace) for verb, resource in asked]
    text, end, found = kubectl("create", "-o", "json", "-f", "-", stdin="\n---\n".join(map(json.dumps, reviews))), 0, []
    for review in reviews:
        answer, end = json.JSONDecoder().raw_decode(text, len(text) - len(text[end:].lstrip()))
        wanted = review["spec"]["resourceAttributes"]
        assert answer["spec"]["resourceAttributes"]["verb"] == wanted["verb"]
        if answer["status"]["allowed"]:
            found.append(" ".join(filter(None, (wanted["verb"], wanted["resource"], wanted["subresource"]))))
    return found


def _review(account: str, verb: str, resource: str, namespace: str) -> dict[str, Any]:
    kind, _, rest = resource.partition("/")
    kind, _, group = kind.partition(".")
    part = {"subresource": "", "name": rest} if group else {"subresource": rest, "name": ""}
    attributes = {"verb": verb, "group": group, "resource": kind, "namespace": namespace, **part}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": account, "groups": ["system:authenticated"], "resourceAttributes": attributes},
    }


@pytest.fixture(scope="module")
def agent(site: Namespace) -> str:
    return f"system:serviceaccount:{site.name}:assay-agent"


class TestAsked:
    def test_it_may_what_it_needs(self, site: Namespace, agent: str) -> None:
        assert len(allowed(agent, MAY, site.name)) == len(MAY)

    def test_it_may_not(self, site: Namespace, agent: str) -> None:
        assert allowed(agent, MAY_NOT, site.name) == []

    def test_it_may_nothing_elsewhere(self, agent: str) -> None:
        asked = [(verb, resource) for resource in EVERYWHERE_NOT for verb in ("get", "list", "create", "delete")]
        assert allowed(agent, asked, "") == []
        assert allowed(agent, MAY, "default") == []

    def test_a_flow_in_a_pod_of_its_own_may_less(self, site: Namespace) -> None:
        flow = f"system:serviceaccount:{site.name}:assay-flow"
        assert len(allowed(flow, MAY, site.name)) == len(MAY) - 1
        assert allowed(flow, [("list", "jobs.batch"), *MAY_NOT], site.name) == []
        assert allowed(flow, MAY, "default") == []

    def test_the_worker_of_flows_makes_jobs_and_reads_nothing_of_them(self, site: Namespace) -> None:
        worker = f"system:serviceaccount:{site.name}:assay-flow-worker"
        may = [(verb, "jobs.batch") for verb in ("create", "get", "list", "watch", "delete")]
        assert len(allowed(worker, may, site.name)) == len(may)
        assert (
            allowed(worker, [("get", "pods/log"), ("get", "deployments.apps/assay-agent"), *MAY_NOT], site.name) == []
        )
        assert allowed(worker, may, "default") == []

    def test_steps_have_an_account_that_may_nothing(self, site: Namespace) -> None:
        assert allowed(f"system:serviceaccount:{site.name}:default", (*MAY, *MAY_NOT), site.name) == []


class TestTried:
    def test_the_account_is_who_it_says(self, site: Namespace, call: Call) -> None:
        assert f"system:serviceaccount:{site.name}:assay-agent" in call("auth", "whoami")

    def test_secrets_are_not_read(self, site: Namespace, call: Call) -> None:
        site.kubectl("create", "secret", "generic", "canary", "--from-literal=word=canary")
        said = call("-n", site.name, "get", "secret", "canary", "-o", "yaml")
        assert "(Forbidden)" in said
        assert "Y2FuYXJ5" not in said

    def test_no_pod_is_made(self, site: Namespace, call: Call) -> None:
        pod = json.dumps(a_pod("sneaked-in", "registry.example.org/x", ["true"], {}))
        assert "(Forbidden)" in call("-n", site.name, "create", "-f", "-", stdin=pod)

    def test_nothing_is_executed_in_a_pod(self, site: Namespace, call: Call, python_image: str) -> None:
        pod = a_pod("bystander", python_image, ["sleep", "300"], {})
        site.kubectl("create", "-f", "-", stdin=json.dumps(pod))
        site.kubectl("wait", "--for=condition=Ready", "pod/bystander", "--timeout=90s")
        assert "orbidden" in call("-n", site.name, "exec", "bystander", "--", "id")
        site.kubectl("delete", "pod", "bystander", "--wait=false")

    def test_other_namespaces_and_nodes_are_not_seen(self, call: Call) -> None:
        for words in (
            ("get", "nodes"),
            ("get", "namespaces"),
            ("get", "pods", "-A"),
            ("-n", "kube-system", "get", "pods"),
        ):
            assert "(Forbidden)" in call(*words)

    def test_no_right_is_given_to_itself(self, site: Namespace, call: Call) -> None:
        words = ("create", "rolebinding", "more", "--clusterrole=admin", f"--serviceaccount={site.name}:assay-agent")
        assert "orbidden" in call("-n", site.name, *words)
