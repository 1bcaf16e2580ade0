"""The application as Deployments in a cluster: filled in as a hospital or a federation does, and used from inside its pods."""

import json
from dataclasses import dataclass
from typing import Any, Final

from tests.clusters import Namespace
from tests.k8s.manifests import K8S
from tests.k8s.places import replace

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
