"""The application as Deployments in a cluster: filled in as a hospital or a federation does, and used from inside its pods."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tests.clusters import Namespace, namespace, wait_for
from tests.k8s.manifests import K8S
from tests.k8s.places import REGISTRY, fill_in, open_to_the_cluster, replace

Patches = Mapping[str, Sequence[Mapping[str, object]]]
_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
SMALL: Final = {"Deployment": [replace("/spec/template/spec/containers/0/resources/requests/cpu", "10m")]}
NO_INGRESS: Final = {"Ingress": [replace("/spec/ingressClassName", "none")]}
START_S: Final = 600.0


@dataclass(frozen=True)
class Deployed:
    """A Deployment of the application's image, whose commands are typed in its pod."""

    own: Namespace
    name: str
    container: str

    def wait_until_ready(self) -> None:
        self.own.kubectl("rollout", "status", f"deployment/{self.name}", f"--timeout={START_S:.0f}s")

    def lose_pod(self) -> None:
        """Delete its pod, and wait until the next one is ready."""
        before = self.pod()["metadata"]["name"]
        self.own.kubectl("delete", "pod", before, "--wait=false")
        wait_for(lambda: self.pod()["metadata"]["name"] != before, "another pod", 180)
        self.wait_until_ready()

    def assay(self, *words: str, environment: tuple[str, ...] = ()) -> Any:
        """Type a command, and give its answer as data."""
        command = ("exec", f"deploy/{self.name}", "-c", self.container, "--", "env", *environment, "assay", *words)
        return json.loads(self.own.kubectl(*command, "--json"))

    def run(self, *words: str) -> str:
        """Run a program in its pod, and give what it printed."""
        return self.own.kubectl("exec", f"deploy/{self.name}", "-c", self.container, "--", *words)

    def pod(self) -> dict[str, Any]:
        """The pod that is not on its way out."""
        listed = self.own.get(
            "pods", "-l", f"app.kubernetes.io/name=assay,app.kubernetes.io/component={self.container}"
        )["items"]
        [found] = [pod for pod in listed if "deletionTimestamp" not in pod["metadata"]]
        return dict(found)


@dataclass(frozen=True)
class DeployedRegistry:
    """A federation's registry in the cluster, and its administrator's token."""

    deployed: Deployed
    token: str

    @property
    def own(self) -> Namespace:
        return self.deployed.own

    @property
    def url(self) -> str:
        """Where the cluster's other pods reach it."""
        return f"http://{self.deployed.name}.{self.own.name}.svc.cluster.local"

    def ask(self, *words: str) -> Any:
        """Type a command in its pod as the administrator, and give its answer as data."""
        return self.deployed.assay(
            *words, environment=("ASSAY_REGISTRY_URL=http://127.0.0.1:8420", f"ASSAY_TOKEN={self.token}")
        )

    def site_token(self) -> str:
        """A new token for the site `north`; the one before ends."""
        return str(self.ask("site", "token", "north")["secret"])

    def north(self) -> dict[str, Any]:
        """What it says of its one site."""
        [site] = self.ask("site", "list")
        return dict(site)


@contextmanager
def deployed_registry(
    folder: Path, overlay: str, application: str, patches: Patches = _NONE, secret: Mapping[str, str] = _NONE
) -> Iterator[DeployedRegistry]:
    """A registry with a site `north` that has no agent yet, in a namespace of its own.

    Args:
        folder: to be made, for what is applied.
        overlay: of `k8s/registry/overlays`.
        application: image by digest.
        patches: besides those of every test.
        secret: of `assay-postgresql`.
    """
    with namespace("registry") as own:
        patches = {**SMALL, **NO_INGRESS, **patches}
        fill_in(folder, f"registry/overlays/{overlay}", own, image=application, patches=patches)
        _apply(own, folder, {"assay-postgresql": secret})
        deployed = Deployed(own, "assay-registry", "registry")
        deployed.wait_until_ready()
        registry = DeployedRegistry(deployed, deployed.run("cat", "/var/lib/assay/data/first.token").strip())
        registry.ask("organization", "add", "north", "--title", "North")
        registry.ask("site", "add", "north", "--title", "North", "--organization", "north")
        yield registry


@contextmanager
def deployed_site(
    folder: Path,
    overlay: str,
    application: str,
    registry: DeployedRegistry,
    patches: Patches = _NONE,
    secret: Mapping[str, str] = _NONE,
) -> Iterator[Deployed]:
    """The agent of `north`, which knows its registry's address and has a token, and nothing else of it.

    Args:
        folder: to be made, for what is applied.
        overlay: of `k8s/site/overlays`.
        application: image by digest.
        registry: whose site it is.
        patches: besides those of every test.
        secret: of `assay-postgresql`.
    """
    with namespace("agent") as own:
        to_the_registry = {
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": registry.own.name}}}],
            "ports": [{"protocol": "TCP", "port": 8420}],
        }
        out = {f"NetworkPolicy/{REGISTRY}": [replace("/spec/egress/0", to_the_registry)]}
        patches = {**SMALL, **open_to_the_cluster(), **out, **patches}
        settings = site_toml(own, registry.url, application)
        fill_in(folder, f"site/overlays/{overlay}", own, image=application, site_toml=settings, patches=patches)
        own.kubectl("label", "namespace", own.name, "assay/pages=true")  # which lets it through to the registry
        _apply(own, folder, {"assay-secrets": {"registry.token": registry.site_token()}, "assay-postgresql": secret})
        agent = Deployed(own, "assay-agent", "agent")
        agent.wait_until_ready()
        yield agent


def _apply(own: Namespace, folder: Path, secrets: Mapping[str, Mapping[str, str]]) -> None:
    for name, values in secrets.items():
        if values:
            literals = (f"--from-literal={key}={value}" for key, value in values.items())
            own.kubectl("create", "secret", "generic", name, *literals)
    own.kubectl("apply", "-k", str(folder))


def site_toml(own: Namespace, registry_url: str, image: str) -> str:
    """The overlay's settings, as a hospital fills them in."""
    text = (K8S / "site" / "overlays" / "embedded" / "site.toml").read_text(encoding="utf-8")
    changes = {
        '"hospital"': '"north"',
        '"https://registry.example.org"': f'"{registry_url}"\npoll_s = 1\nheartbeat_s = 2',
        '"assay-site"\n': f'"{own.name}"\n',
        f'"registry.example.org/assay@sha256:{"0" * 64}"': f'"{image}"',
    }
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text
