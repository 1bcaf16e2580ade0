"""What is applied: the overlays of `k8s/` as `kubectl` makes of them, filled in for a demonstration and not loosened."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.home import SiteSettings
from cli.demo.cast import Hospital, actor
from cli.demo.kubectl import get, kubectl
from cli.demo.overlays import LABEL, Party, registry_address, write_registry, write_site
from tests.clusters import namespace

pytestmark = pytest.mark.kubernetes
IMAGE = f"127.0.0.1:5000/assay@sha256:{'a' * 64}"
Rendered = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(autouse=True, scope="module")
def _cluster() -> Iterator[None]:
    """Skips where there is none: its addresses go into the overlays."""
    with namespace("demo-overlays"):
        yield


def _render(folder: Path) -> Rendered:
    made = yaml.safe_load_all(kubectl("kustomize", str(folder)))
    return {(each["kind"], each["metadata"]["name"]): each for each in made}


@pytest.fixture
def registry(tmp_path: Path) -> Rendered:
    party = Party("assay-demo-registry-1", IMAGE, "1")
    first = {"ADMINISTRATOR": "ada@federation.example", "ADMINISTRATOR_NAME": "Ada"}
    return _render(write_registry(tmp_path / "registry", party, first))


@pytest.fixture
def site(tmp_path: Path) -> Rendered:
    people = actor("Operator", "North", "north"), actor("Data owner", "North", "north")
    hospital = Hospital("north", "North", 1, tmp_path, tmp_path, *people)
    party = Party("assay-demo-north-1", IMAGE, "1")
    return _render(write_site(tmp_path / "site", party, hospital, "assay-demo-registry-1"))


def _settings(site: Rendered) -> SiteSettings:
    [text] = [each["data"]["site.toml"] for (kind, _), each in site.items() if kind == "ConfigMap"]
    return SiteSettings.model_validate(tomllib.loads(text))


class TestEither:
    def test_everything_has_the_mark_the_namespace_and_the_image(self, registry: Rendered, site: Rendered) -> None:
        for rendered, name in ((registry, "assay-demo-registry-1"), (site, "assay-demo-north-1")):
            for (kind, _), made in rendered.items():
                assert made["metadata"]["labels"][LABEL] == "1"
                assert (made["metadata"]["name"] if kind == "Namespace" else made["metadata"]["namespace"]) == name
                if kind == "Deployment":
                    pod = made["spec"]["template"]["spec"]
                    images = {each["image"] for each in (*pod["initContainers"], *pod["containers"])}
                    assert images == {IMAGE}

    def test_pod_security_is_enforced(self, registry: Rendered, site: Rendered) -> None:
        for rendered, name in ((registry, "assay-demo-registry-1"), (site, "assay-demo-north-1")):
            labels = rendered["Namespace", name]["metadata"]["labels"]
            assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


class TestRegistry:
    def test_sites_of_this_demonstration_reach_it_and_nobody_else(self, registry: Rendered) -> None:
        [rule] = registry["NetworkPolicy", "everybody-reaches-the-registry"]["spec"]["ingress"]
        assert rule["from"] == [{"namespaceSelector": {"matchLabels": {LABEL: "1"}}}]
        assert ("NetworkPolicy", "nothing-by-default") in registry

    def test_it_has_no_address_outside_the_cluster(self, registry: Rendered) -> None:
        assert not [name for kind, name in registry if kind == "Ingress"]

    def test_its_administrator_is_the_demonstrations(self, registry: Rendered) -> None:
        [first] = [each["data"] for (kind, _), each in registry.items() if kind == "ConfigMap"]
        assert first["ADMINISTRATOR"] == "ada@federation.example"


class TestSite:
    def test_its_settings_are_the_overlays_with_what_is_its_own(self, site: Rendered) -> None:
        settings = _settings(site)
        assert (settings.site, settings.registry_url) == ("north", registry_address("assay-demo-registry-1"))
        assert settings.kubernetes is not None
        assert (settings.kubernetes.namespace, settings.kubernetes.image) == ("assay-demo-north-1", IMAGE)
        assert [str(each.path) for each in settings.kubernetes.volumes] == ["/var/lib/assay", "/data"]
        assert (settings.runtime, settings.health_port) == ("kubernetes", 8431)

    def test_the_agent_reaches_the_registry_s_port_and_no_other(self, site: Rendered) -> None:
        [rule] = site["NetworkPolicy", "agent-reaches-the-registry"]["spec"]["egress"]
        [there] = rule["to"]
        assert there["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "assay-demo-registry-1"}
        assert rule["ports"] == [{"protocol": "TCP", "port": 8420}]

    def test_the_agent_reaches_the_cluster_where_it_is(self, site: Rendered) -> None:
        [rule] = site["NetworkPolicy", "agent-reaches-the-cluster"]["spec"]["egress"]
        service, _ = (each["ipBlock"]["cidr"] for each in rule["to"])
        assert service == get("service", "kubernetes", "-n", "default")["spec"]["clusterIP"] + "/32"

    def test_steps_have_no_network_as_before(self, site: Rendered) -> None:
        policy = site["NetworkPolicy", "steps-have-no-network"]["spec"]
        assert (policy.get("ingress"), policy.get("egress")) == (None, None)
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
