"""Every overlay builds, and what it makes is what a hospital's platform team asks for."""

import functools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agents.home import SiteSettings
from tests.k8s.manifests import K8S, OVERLAYS, Manifests, build

HARDENED = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
NOBODYS = re.compile(r"192\.0\.2\.\d+/32")
RIGHTS = {
    ("batch", "jobs", ""): {"create", "get", "list", "delete"},
    ("", "pods", ""): {"list", "watch"},
    ("", "pods/log", ""): {"get"},
    ("", "events", ""): {"list"},
    ("apps", "deployments", "assay-agent"): {"get"},
}
_built = functools.cache(build)


@pytest.fixture(params=OVERLAYS, ids=str)
def overlay(request: pytest.FixtureRequest) -> Manifests:
    return _built(K8S / request.param)


@pytest.fixture(params=[path for path in OVERLAYS if path.parts[0] == "site"], ids=str)
def site(request: pytest.FixtureRequest) -> Manifests:
    return _built(K8S / request.param)


def settings_of(manifests: Manifests) -> SiteSettings:
    [data] = [item["data"] for item in manifests.of("ConfigMap") if "site.toml" in item["data"]]
    return SiteSettings.model_validate(tomllib.loads(data["site.toml"]))


class TestOverlays:
    def test_there_are_those_that_are_promised(self) -> None:
        assert {str(path) for path in OVERLAYS} == {
            "registry/overlays/embedded",
            "registry/overlays/postgresql",
            "site/overlays/embedded",
            "site/overlays/gpu",
            "site/overlays/postgresql",
        }

    def test_all_is_in_the_overlays_own_namespace(self, overlay: Manifests) -> None:
        [own] = [item["metadata"]["name"] for item in overlay.of("Namespace")]
        for item in overlay.objects:
            if item["kind"] != "Namespace":
                assert item["metadata"]["namespace"] == own, item["metadata"]["name"]

    def test_the_namespace_admits_only_what_is_restricted(self, overlay: Manifests) -> None:
        [namespace] = overlay.of("Namespace")
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"

    def test_no_secret_is_written_down(self, overlay: Manifests) -> None:
        assert overlay.of("Secret") == []
        text = repr(overlay.objects).lower()
        assert not re.search(r"(password|token)\s*[:=]\s*['\"]?[a-z0-9]{8,}", text)


class TestPods:
    def test_every_container_is_hardened(self, overlay: Manifests) -> None:
        for container in overlay.containers():
            assert container["securityContext"] == HARDENED, container["name"]

    def test_nobody_is_root_and_no_other_name_space_is_shared(self, overlay: Manifests) -> None:
        for pod in overlay.pods():
            spec = pod["spec"]
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert spec["securityContext"]["runAsUser"] > 0
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(spec)

    def test_images_are_named_by_digest(self, overlay: Manifests) -> None:
        for container in overlay.containers():
            assert re.fullmatch(r"registry\.example\.org/assay@sha256:[0-9a-f]{64}", container["image"])

    def test_what_is_used_is_asked_for_and_limited(self, overlay: Manifests) -> None:
        for container in overlay.containers():
            resources = container["resources"]
            assert {"cpu", "memory", "ephemeral-storage"} <= set(resources["requests"])
            assert {"memory", "ephemeral-storage"} <= set(resources["limits"])

    def test_a_pod_that_lasts_is_asked_whether_it_lives(self, overlay: Manifests) -> None:
        for pod in overlay.pods():
            for container in pod["spec"]["containers"]:
                ports = {port["name"] for port in container["ports"]}
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    assert container[probe]["httpGet"]["port"] in ports

    def test_only_folders_of_no_node_are_mounted(self, overlay: Manifests) -> None:
        known = {"persistentVolumeClaim", "configMap", "secret", "emptyDir"}
        for pod in overlay.pods():
            for volume in pod["spec"]["volumes"]:
                [kind] = set(volume) - {"name"}
                assert kind in known
                assert kind != "emptyDir" or "sizeLimit" in volume["emptyDir"]

    def test_a_token_is_given_where_the_cluster_is_asked(self, overlay: Manifests) -> None:
        for account in overlay.of("ServiceAccount"):
            assert account["automountServiceAccountToken"] is False
        for pod in overlay.pods():
            agent = pod["metadata"]["labels"]["app.kubernetes.io/component"] == "agent"
            assert pod["spec"]["automountServiceAccountToken"] is agent

    def test_there_is_one_of_each_at_a_time(self, overlay: Manifests) -> None:
        for deployment in overlay.of("Deployment"):
            assert deployment["spec"]["replicas"] == 1
            assert deployment["spec"]["strategy"] == {"type": "Recreate"}

    def test_secrets_come_by_reference(self, overlay: Manifests) -> None:
        for container in overlay.containers():
            for variable in container.get("env", ()):
                assert "value" not in variable, variable["name"]


class TestRights:
    def test_the_agents_are_these_and_no_others(self, site: Manifests) -> None:
        found: dict[tuple[str, str, str], set[str]] = {}
        for role in site.of("Role"):
            for rule in role["rules"]:
                for group in rule["apiGroups"]:
                    for resource in rule["resources"]:
                        for name in rule.get("resourceNames", [""]):
                            found.setdefault((group, resource, name), set()).update(rule["verbs"])
        assert found == RIGHTS

    def test_none_reaches_beyond_the_namespace(self, overlay: Manifests) -> None:
        assert overlay.of("ClusterRole") == overlay.of("ClusterRoleBinding") == []

    def test_no_rule_says_everything(self, overlay: Manifests) -> None:
        assert "'*'" not in repr([role["rules"] for role in overlay.of("Role")])

    def test_one_account_has_them(self, site: Manifests) -> None:
        [binding] = site.of("RoleBinding")
        [subject] = binding["subjects"]
        assert (subject["kind"], subject["name"]) == ("ServiceAccount", "assay-agent")
        assert subject["namespace"] == site.of("Namespace")[0]["metadata"]["name"]

    def test_the_registry_has_none(self) -> None:
        registry = _built(K8S / "registry/overlays/embedded")
        assert registry.of("Role") == registry.of("RoleBinding") == []


class TestNetwork:
    def test_nothing_is_let_through_by_default(self, overlay: Manifests) -> None:
        spec = overlay.one("NetworkPolicy", "nothing-by-default")["spec"]
        assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}

    def test_nothing_is_let_through_to_or_from_a_step(self, site: Manifests) -> None:
        spec = site.one("NetworkPolicy", "steps-have-no-network")["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert not {"ingress", "egress"} & set(spec)
        for policy in site.of("NetworkPolicy"):
            if "ingress" in policy["spec"] or "egress" in policy["spec"]:
                assert not _selects_steps(policy["spec"]["podSelector"]), policy["metadata"]["name"]

    def test_the_control_of_the_probe_reaches_the_cluster_and_nothing_else(self, site: Manifests) -> None:
        selecting = [
            policy["metadata"]["name"]
            for policy in site.of("NetworkPolicy")
            if "probe-control" in repr(policy["spec"]["podSelector"])
        ]
        assert selecting == ["agent-reaches-the-cluster"]

    def test_what_nobody_has_filled_in_leads_nowhere(self, overlay: Manifests) -> None:
        for policy in overlay.of("NetworkPolicy"):
            for rule in policy["spec"].get("egress", ()):
                for target in rule["to"]:
                    block = target.get("ipBlock")
                    assert block is None or NOBODYS.fullmatch(block["cidr"]) or block["cidr"] == "10.96.0.1/32"

    def test_every_opening_names_whom_and_which_port(self, overlay: Manifests) -> None:
        for policy in overlay.of("NetworkPolicy"):
            spec = policy["spec"]
            for rule in spec.get("egress", ()):
                assert rule["to"]
                assert rule["ports"]
            for rule in spec.get("ingress", ()):
                assert rule["from"]
                assert rule["ports"]


class TestSettings:
    def test_they_are_settings_of_a_site_in_this_namespace(self, site: Manifests) -> None:
        settings = settings_of(site)
        assert settings.runtime == "kubernetes"
        assert settings.kubernetes is not None
        assert settings.kubernetes.namespace == site.of("Namespace")[0]["metadata"]["name"]

    def test_volumes_are_the_agents_own_mounts(self, site: Manifests) -> None:
        settings = settings_of(site)
        assert settings.kubernetes is not None
        [pod] = site.pods()
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["spec"]["volumes"]
            if "persistentVolumeClaim" in volume
        }
        mounts = {
            (claims[mount["name"]], Path(mount["mountPath"]), mount.get("readOnly", False))
            for mount in pod["spec"]["containers"][0]["volumeMounts"]
            if mount["name"] in claims
        }
        assert {(volume.claim, volume.path, volume.read_only) for volume in settings.kubernetes.volumes} == mounts

    def test_ports_are_those_of_the_pod(self, site: Manifests) -> None:
        settings = settings_of(site)
        ports = {port["name"]: port["containerPort"] for port in next(site.pods())["spec"]["containers"][0]["ports"]}
        assert ports == {"pages": settings.prefect_port, "health": settings.health_port}

    def test_steps_belong_to_the_agents_deployment(self, site: Manifests) -> None:
        settings = settings_of(site)
        assert settings.kubernetes is not None
        assert settings.kubernetes.owner == site.of("Deployment")[0]["metadata"]["name"]

    def test_the_databases_url_is_a_secret(self) -> None:
        for folder, variables in {
            "site": {"ASSAY_SITE_PREFECT_DATABASE_URL"},
            "registry": {"ASSAY_REGISTRY_DATABASE_URL", "ASSAY_REGISTRY_PREFECT_DATABASE_URL"},
        }.items():
            manifests = _built(K8S / folder / "overlays" / "postgresql")
            [pod] = manifests.pods()
            named = {item["name"]: item["valueFrom"] for item in pod["spec"]["containers"][0]["env"]}
            assert set(named) == variables
            assert all(source["secretKeyRef"]["name"] == "assay-postgresql" for source in named.values())

    def test_gpus_are_limited_by_the_hospital(self) -> None:
        gpu = _built(K8S / "site/overlays/gpu")
        [quota] = gpu.of("ResourceQuota")
        settings = settings_of(gpu)
        assert settings.kubernetes is not None
        hard = quota["spec"]["hard"]
        assert int(hard[f"requests.{settings.kubernetes.gpu_resource}"]) == settings.gpu_slots
        assert {tuple(claim["spec"]["accessModes"]) for claim in gpu.of("PersistentVolumeClaim")} == {
            ("ReadWriteMany",)
        }


class TestDisruption:
    def test_nobody_is_in_the_way_of_a_drain_but_running_steps(self, overlay: Manifests) -> None:
        for budget in overlay.of("PodDisruptionBudget"):
            component = budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
            if component == "step":
                assert isinstance(budget["spec"]["minAvailable"], int)
            else:
                assert budget["spec"]["maxUnavailable"] == 1
                assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def _selects_steps(selector: dict[str, Any]) -> bool:
    labels = selector.get("matchLabels", {})
    named = labels.get("app.kubernetes.io/component")
    expressions = selector.get("matchExpressions", ())
    chosen = [value for each in expressions if each["operator"] == "In" for value in each["values"]]
    return "step" in chosen if chosen else named in {"step", None}
