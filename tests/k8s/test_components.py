"""What each component adds to an overlay, alone and beside others."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.core.settings import RegistrySettings
from cli.processes.site_process import prefect_database
from tests.k8s.manifests import COMPONENTS, K8S, Json, Manifests, build, built_with

REGISTRY = "registry/overlays/embedded"
BUNDLE = "/etc/assay-authorities/ca.crt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "own"


def container(manifests: Manifests, deployment: str, number: int = 0, kind: str = "containers") -> dict[str, Any]:
    found: dict[str, Any] = manifests.one("Deployment", deployment)["spec"]["template"]["spec"][kind][number]
    return found


def variables(container: Json) -> dict[str, Json]:
    return {item["name"]: item for item in container.get("env", ())}


def opened(manifests: Manifests, policy: str) -> tuple[set[str], Json]:
    """Whom a policy lets out, and its one rule."""
    spec = manifests.one("NetworkPolicy", policy)["spec"]
    assert spec["policyTypes"] == ["Egress"]
    [rule] = spec["egress"]
    selector = spec["podSelector"]
    named = selector.get("matchLabels", {}).get("app.kubernetes.io/component")
    return {value for each in selector.get("matchExpressions", ()) for value in each["values"]} or {named}, rule


class TestPromised:
    def test_the_readme_names_each(self) -> None:
        text = (K8S / "README.md").read_text(encoding="utf-8")
        for component in COMPONENTS:
            assert f"`{component}`" in text, component

    def test_the_readmes_patches_do_what_it_says(self, folder: Path) -> None:
        text = (K8S / "README.md").read_text(encoding="utf-8")
        [block] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
        made = built_with(folder, "flow-pods", **yaml.safe_load(block))
        assert {each["spec"]["storageClassName"] for each in made.of("PersistentVolumeClaim")} == {"ssd"}
        assert {pod["spec"]["priorityClassName"] for pod in made.pods()} == {"clinical-research"}


class TestWaysOut:
    def test_a_proxy_is_the_agents_at_the_port_of_its_address(self, folder: Path) -> None:
        made = built_with(folder, "outbound-proxy", "own-authorities")
        agent = container(made, "assay-agent")
        assert agent["envFrom"] == [{"configMapRef": {"name": "assay-outbound"}}]
        assert "ASSAY_NODE" in variables(agent)
        address = made.one("ConfigMap", "assay-outbound")["data"]["HTTPS_PROXY"]
        who, rule = opened(made, "agent-reaches-the-registry")
        assert who == {"agent"}
        assert address == f"http://proxy.example.org:{rule['ports'][0]['port']}"
        assert len(rule["ports"]) == 1

    def test_an_overlay_names_its_proxy_as_the_component_says(self, folder: Path) -> None:
        text = (K8S / "site/components/outbound-proxy/kustomization.yaml").read_text(encoding="utf-8")
        said = "\n".join(line[4:] for line in text.splitlines() if line.startswith("#   "))
        made = built_with(folder, "outbound-proxy", **yaml.safe_load(said))
        data = made.one("ConfigMap", "assay-outbound")["data"]
        assert data == {"HTTPS_PROXY": "http://proxy.hospital.example:8080", "NO_PROXY": ".svc"}
        assert opened(made, "agent-reaches-the-registry")[1]["ports"] == [{"protocol": "TCP", "port": 8080}]

    @pytest.mark.parametrize(
        ("component", "policy"), [("outbound-https", "agent-reaches-https"), ("outbound-own", "agent-reaches-yours")]
    )
    def test_what_the_agent_fetches_a_flow_in_a_pod_of_its_own_does(
        self, folder: Path, component: str, policy: str
    ) -> None:
        who, rule = opened(built_with(folder, component, "flow-pods"), policy)
        assert who == {"agent", "flow"}
        assert [port["port"] for port in rule["ports"]] == [443]

    def test_a_place_of_yours_is_nobodys_until_it_is_named(self, folder: Path) -> None:
        _, rule = opened(built_with(folder, "outbound-own"), "agent-reaches-yours")
        assert rule["to"] == [{"ipBlock": {"cidr": "192.0.2.5/32"}}]

    def test_ports_on_the_way_out_are_numbers(self, folder: Path) -> None:
        for policy in built_with(folder, "flow-pods", "outbound-own", "outbound-https", "postgresql").of(
            "NetworkPolicy"
        ):
            ports = [port["port"] for rule in policy["spec"].get("egress", ()) for port in rule["ports"]]
            assert all(isinstance(port, int) for port in ports), policy["metadata"]["name"]


class TestAuthorities:
    @pytest.mark.parametrize(
        ("overlay", "deployment", "kinds"),
        [
            ("site/overlays/embedded", "assay-agent", ["containers"]),
            (REGISTRY, "assay-registry", ["initContainers", "containers"]),
        ],
    )
    def test_they_count_for_https_and_postgresql(
        self, folder: Path, overlay: str, deployment: str, kinds: list[str]
    ) -> None:
        made = built_with(folder, "own-authorities", "postgresql", overlay=overlay)
        pod = made.one("Deployment", deployment)["spec"]["template"]["spec"]
        [volume] = [each for each in pod["volumes"] if each["name"] == "authorities"]
        assert volume["configMap"] == {"name": "assay-authorities"}
        for kind in kinds:
            mounts = {each["mountPath"]: each for each in container(made, deployment, kind=kind)["volumeMounts"]}
            assert mounts["/etc/assay-authorities"]["readOnly"] is True
            assert "/var/lib/assay" in mounts
            env = variables(container(made, deployment, kind=kind))
            assert env["SSL_CERT_FILE"]["value"] == env["PGSSLROOTCERT"]["value"] == BUNDLE
            assert any("DATABASE_URL" in name for name in env)


class TestPostgresql:
    def test_a_site_with_gpus_can_have_it(self, folder: Path) -> None:
        made = built_with(folder, "postgresql", overlay="site/overlays/gpu")
        env = variables(container(made, "assay-agent"))
        assert env["ASSAY_SITE_PREFECT_DATABASE_URL"]["valueFrom"]["secretKeyRef"]["name"] == "assay-postgresql"
        assert made.one("NetworkPolicy", "agent-reaches-postgresql")
        assert made.of("ResourceQuota")

    @pytest.mark.parametrize("party", ["site", "registry"])
    def test_prefects_url_names_a_server_and_the_database_is_told(self, party: str) -> None:
        text = (K8S / party / "components/postgresql/kustomization.yaml").read_text(encoding="utf-8")
        assert re.findall(r"postgresql\+asyncpg://USER:PASSWORD@HOST/(\S+)", text) == ["postgres"]
        told = {"site": prefect_database("SITE"), "registry": "prefect_registry"}[party]
        backed_up = (K8S / "README.md").read_text(encoding="utf-8").partition("**Back up**")[2]
        for each in (told, "assay_prefect_VERSION"):
            assert each in text
            assert f"`{each}`" in backed_up


class TestClusterWide:
    def test_the_policies_hold_for_whatever_is_a_site_and_belong_to_none(self, folder: Path) -> None:
        made = build(K8S / "cluster/admission")
        assert {item["kind"] for item in made.objects} == {
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        }
        [namespace] = built_with(folder, "flow-pods", namespace="north").of("Namespace")
        for binding in made.of("ValidatingAdmissionPolicyBinding"):
            chosen = binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"]
            assert chosen.items() <= namespace["metadata"]["labels"].items()

    def test_a_site_brings_nothing_that_is_the_clusters(self, folder: Path) -> None:
        every = [each.name for each in COMPONENTS if each.parts[0] == "site"]
        for item in built_with(folder, *every, namespace="north").objects:
            assert item["kind"] == "Namespace" or "namespace" in item["metadata"], item["metadata"]["name"]


class TestIngress:
    def test_it_believes_nobody_until_it_is_told_whom(self, folder: Path) -> None:
        name = f"{RegistrySettings.model_config['env_prefix']}trusted_proxies".upper()
        env = variables(container(built_with(folder, overlay=REGISTRY), "assay-registry"))
        assert env[name]["value"] == "192.0.2.0/24"

    def test_uploads_pass_through_it_without_waiting_there(self, folder: Path) -> None:
        [ingress] = built_with(folder, overlay=REGISTRY).of("Ingress")
        notes = ingress["metadata"]["annotations"]
        assert notes["nginx.ingress.kubernetes.io/proxy-request-buffering"] == "off"


class TestPullSecret:
    def test_named_last_it_is_every_deployments(self, folder: Path) -> None:
        pods = {
            pod["spec"]["serviceAccountName"]: pod["spec"]["imagePullSecrets"]
            for pod in built_with(folder, "flow-pods", "pull-secret").pods()
        }
        secret = [{"name": "assay-pull"}]
        assert pods == {"assay-agent": secret, "assay-flow-worker": secret}
