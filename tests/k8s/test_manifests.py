"""Every overlay builds, and what it makes is what a hospital's platform team asks for."""

import functools
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.home import SiteSettings
from tests.k8s.manifests import K8S, OVERLAYS, Json, Manifests, build, built_with

HARDENED = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
WORKER = "assay-flow-worker"
NOBODYS = re.compile(r"192\.0\.2\.\d+/32")
NODE_DNS = "169.254.20.10/32"
IN_THE_CLUSTER = {"10.96.0.1/32", NODE_DNS}
ASKING = {"agent-asks-dns", "registry-reaches-postgresql"}
WRITTEN_OUT = {"ASSAY_REGISTRY_TRUSTED_PROXIES"}
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


def rights_of(role: Json) -> dict[tuple[str, str, str], set[str]]:
    """(group, resource, name) to verbs."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    found.setdefault((group, resource, name), set()).update(rule["verbs"])
    return found


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """The usual site whose flows have pods of their own."""
    return built_with(tmp_path_factory.mktemp("flows") / "site", "flow-pods")


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
                assert variable["name"] in WRITTEN_OUT or "value" not in variable, variable["name"]


class TestBringData:
    """The pod with which raw data come into their claim."""

    def test_it_is_hardened_and_writes_as_the_agent_reads(self) -> None:
        pod = yaml.safe_load((K8S / "site/bring-data.yaml").read_text(encoding="utf-8"))["spec"]
        site = _built(K8S / "site/overlays/embedded")
        [agent] = [each["spec"] for each in site.pods()]
        [container], [volume] = pod["containers"], pod["volumes"]
        assert container["securityContext"] == HARDENED
        assert pod["securityContext"] == agent["securityContext"]
        assert pod["automountServiceAccountToken"] is False
        assert volume["persistentVolumeClaim"] == {"claimName": "assay-data"}
        assert site.one("PersistentVolumeClaim", "assay-data")
        assert container["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]


class TestRights:
    def test_the_agents_are_these_and_no_others(self, site: Manifests) -> None:
        [role] = site.of("Role")
        assert rights_of(role) == RIGHTS

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

    def test_a_cluster_with_several_api_servers_takes_the_line_that_is_there(self, tmp_path: Path) -> None:
        overlay = tmp_path / "site/overlays/own"
        shutil.copytree(K8S / "site/base", tmp_path / "site/base")
        shutil.copytree(K8S / "site/overlays/embedded", overlay)
        written = overlay / "kustomization.yaml"
        text = written.read_text(encoding="utf-8")
        written.write_text(text.replace("# - {op: add", "- {op: add"), encoding="utf-8")
        [rule] = build(overlay).one("NetworkPolicy", "agent-reaches-the-cluster")["spec"]["egress"]
        assert [each["ipBlock"]["cidr"] for each in rule["to"]] == ["10.96.0.1/32", "192.0.2.2/32", "192.0.2.6/32"]

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
                    assert block is None or NOBODYS.fullmatch(block["cidr"]) or block["cidr"] in IN_THE_CLUSTER

    def test_names_are_asked_of_the_cluster_or_of_its_node(self, overlay: Manifests) -> None:
        for policy in overlay.of("NetworkPolicy"):
            if policy["metadata"]["name"] in ASKING:
                rules = {rule["ports"][-1]["port"]: rule["to"] for rule in policy["spec"]["egress"]}
                dns, node = rules[53]
                assert dns["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}
                assert node == {"ipBlock": {"cidr": NODE_DNS}}

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
            named = {item["name"]: item.get("valueFrom", {}) for item in pod["spec"]["containers"][0]["env"]}
            secrets = {name: source["secretKeyRef"] for name, source in named.items() if "secretKeyRef" in source}
            assert set(secrets) == variables
            assert all(source["name"] == "assay-postgresql" for source in secrets.values())

    def test_no_overlay_takes_away_what_the_base_says(self, site: Manifests) -> None:
        [pod] = site.pods()
        assert "ASSAY_NODE" in {item["name"] for item in pod["spec"]["containers"][0]["env"]}

    @pytest.mark.parametrize("name", ["embedded", "gpu"])
    def test_the_lines_for_a_site_behind_an_ingress_are_right(self, name: str) -> None:
        text = (K8S / "site/overlays" / name / "site.toml").read_text(encoding="utf-8")
        for line in ("[sign_in]", "trusted_proxies ="):
            assert text.count(f"# {line}") == 1
            text = text.replace(f"# {line}", line)
        assert SiteSettings.model_validate(tomllib.loads(text)).sign_in.trusted_proxies == "10.244.0.0/16"

    def test_steps_go_to_other_nodes_where_claims_do(self, site: Manifests) -> None:
        settings = settings_of(site).kubernetes
        modes = {mode for claim in site.of("PersistentVolumeClaim") for mode in claim["spec"]["accessModes"]}
        assert settings is not None
        assert settings.several_nodes is (modes == {"ReadWriteMany"})

    def test_a_new_agent_comes_up_where_steps_hold_its_volume(self, site: Manifests) -> None:
        [pod] = site.pods()
        [wish] = pod["spec"]["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        selected = wish["podAffinityTerm"]["labelSelector"]["matchLabels"].items()
        step = yaml.safe_load((K8S / "site/base/step-job.yaml").read_text(encoding="utf-8"))
        assert selected <= step["spec"]["template"]["metadata"]["labels"].items()
        assert (wish["weight"], wish["podAffinityTerm"]["topologyKey"]) == (100, "kubernetes.io/hostname")

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


class TestFlowPods:
    """The component with which flows have pods of their own."""

    def test_the_worker_is_hardened_and_sees_no_folder_of_the_site(self, flows: Manifests) -> None:
        pod = flows.one("Deployment", "assay-flow-worker")["spec"]["template"]["spec"]
        [container] = pod["containers"]
        assert container["securityContext"] == HARDENED
        assert [set(volume) - {"name"} for volume in pod["volumes"]] == [{"emptyDir"}]
        assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"]["requests"])
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)

    def test_its_token_is_a_secret(self, flows: Manifests) -> None:
        pod = flows.one("Deployment", "assay-flow-worker")["spec"]["template"]["spec"]
        env = {item["name"]: item for item in pod["containers"][0]["env"]}
        assert env["PREFECT_CLIENT_CUSTOM_HEADERS"]["valueFrom"] == {
            "secretKeyRef": {"name": "assay-worker", "key": "headers"}
        }

    def test_a_flow_may_less_than_the_agent_and_the_worker_reads_no_logs(self, flows: Manifests) -> None:
        rights = {name: rights_of(flows.one("Role", name)) for name in ("assay-agent", "assay-flow", WORKER)}
        assert rights["assay-agent"] == RIGHTS
        assert rights["assay-flow"] == {**RIGHTS, ("batch", "jobs", ""): {"create", "get", "delete"}}
        assert rights[WORKER] == {
            ("batch", "jobs", ""): {"create", "get", "list", "watch", "delete"},
            ("", "pods", ""): {"list", "watch"},
        }

    def test_openings_are_these_and_no_others(self, flows: Manifests) -> None:
        opened: dict[str, set[str]] = {"flow": set(), "flow-worker": set()}
        for policy in flows.of("NetworkPolicy"):
            for who in opened.keys() & _selected(policy["spec"]["podSelector"]):
                assert "ingress" not in policy["spec"], "nobody speaks with them"
                if policy["spec"].get("egress"):
                    opened[who].add(policy["metadata"]["name"])
        cluster = {"agent-asks-dns", "agent-reaches-the-cluster", "flows-reach-the-agent"}
        assert opened == {"flow": {*cluster, "agent-reaches-the-registry"}, "flow-worker": cluster}

    def test_the_pages_port_is_written_as_a_number_on_the_way_out(self, flows: Manifests) -> None:
        [rule] = flows.one("NetworkPolicy", "flows-reach-the-agent")["spec"]["egress"]
        assert rule["ports"] == [{"protocol": "TCP", "port": settings_of(flows).prefect_port}]

    def test_nothing_is_opened_to_a_step(self, flows: Manifests) -> None:
        for policy in flows.of("NetworkPolicy"):
            if "ingress" in policy["spec"] or "egress" in policy["spec"]:
                assert not _selects_steps(policy["spec"]["podSelector"]), policy["metadata"]["name"]


class TestDisruption:
    def test_nobody_is_in_the_way_of_a_drain_but_running_steps(self, overlay: Manifests) -> None:
        for budget in overlay.of("PodDisruptionBudget"):
            component = budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
            if component == "step":
                assert isinstance(budget["spec"]["minAvailable"], int)
            else:
                assert budget["spec"]["maxUnavailable"] == 1
                assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def _selected(selector: dict[str, Any]) -> set[str]:
    """The components that a selector names."""
    named = selector.get("matchLabels", {}).get("app.kubernetes.io/component")
    chosen = {value for each in selector.get("matchExpressions", ()) for value in each["values"]}
    return chosen | ({named} if named else set())


def _selects_steps(selector: dict[str, Any]) -> bool:
    labels = selector.get("matchLabels", {})
    named = labels.get("app.kubernetes.io/component")
    expressions = selector.get("matchExpressions", ())
    chosen = [value for each in expressions if each["operator"] == "In" for value in each["values"]]
    return "step" in chosen if chosen else named in {"step", None}
