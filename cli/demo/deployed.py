"""The federation in a cluster: the registry and each hospital's site are Deployments of one image, in namespaces of their own.

The registry stands in the cluster, too: sites then reach it as they reach any, by a name and through their policies, and nothing
in the cluster has to find a way back to this machine. People of the registry come through a forwarded port; people of a
hospital type in their agent's pod, since a site's commands work on the site's own folder, which is there and nowhere else.
"""

import json
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.text import Text

from agents.home import Home
from cli.demo.cast import Hospital
from cli.demo.cluster import Cluster, bring, find_cluster, is_ready
from cli.demo.federation import Federation, free_port
from cli.demo.images import ImageBuilder, Images, find_builder
from cli.demo.kubectl import kubectl
from cli.demo.overlays import Party, registry_address, write_registry, write_site
from cli.demo.setting import Setting, wait_for_answers
from cli.demo.stage import Stage
from cli.demo.terminal import Place, Terminal
from cli.errors import FailedError

_HOME: Final = Path("/var/lib/assay/home")
_DATA: Final = Path("/data")
_REGISTRY: Final = "assay-registry"
_AGENT: Final = "assay-agent"


@dataclass(slots=True)
class InCluster:
    """Images are built and pushed, overlays applied with `kubectl apply -k`; steps are pods of the hospitals' agents."""

    cluster: Cluster
    builder: ImageBuilder
    folder: Path
    console: Console
    where: str = "in the cluster that KUBECONFIG names"
    _images: Images | None = None
    _namespaces: dict[str, str] = field(default_factory=dict)
    _terminals: list[Terminal] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for terminal in self._terminals:
                terminal.close()
        finally:
            self._remove(alone=error is None)

    def prepare(self, stage: Stage) -> None:
        with (
            stage.phase("Images: the application and three cubes, built from this clone and pushed"),
            self.console.status("    building and pushing"),
        ):
            self._images = self.builder.build(self.folder / "cubes", stage.tell)

    def cube(self, name: str) -> Path:
        return self._built.cubes[name]

    def raise_registry(self, stage: Stage, setting: Setting) -> None:
        party = self._party("registry")
        administrator = {
            "ADMINISTRATOR": setting.administrator.email,
            "ADMINISTRATOR_NAME": setting.administrator.name,
            "ORGANIZATION": "federation",
            "ORGANIZATION_TITLE": "Federation",
        }
        self._apply(stage, write_registry(self.folder / "cluster" / "registry", party, administrator))

    def wait_for_registry(self, stage: Stage, setting: Setting) -> None:
        namespace = self._namespaces["registry"]
        stage.wait("the registry starts", lambda: is_ready(namespace, "registry"))
        setting.registry_url, setting.registry_prefect = _forward(setting.federation, namespace, _REGISTRY, 80, 81)
        place = Place(namespace, _REGISTRY, "registry")
        token = place.ask("cat", "/var/lib/assay/data/first.token").strip()
        setting.administrator.environment.update(ASSAY_REGISTRY_URL=setting.registry_url, ASSAY_TOKEN=token)
        wait_for_answers(stage, setting, "the way to the registry opens")

    def open_site(
        self,
        stage: Stage,
        setting: Setting,  # noqa: ARG002 - a site on this machine needs it
        hospital: Hospital,
        token: str,
    ) -> None:
        party = self._party(hospital.name)
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "assay-secrets"},
            "stringData": {"registry.token": token},
        }
        kubectl("-n", party.namespace, "create", "-f", "-", stdin=json.dumps(secret))
        overlay = self.folder / "cluster" / hospital.name
        self._apply(stage, write_site(overlay, party, hospital, self._namespaces["registry"]))

    def wait_for_site(self, stage: Stage, setting: Setting, hospital: Hospital) -> None:
        namespace = self._namespaces[hospital.name]
        archive = self.folder / "cluster" / f"{hospital.name}.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(hospital.raw, ".")
        bring(namespace, "assay-data", self._built.application, archive)
        hospital.raw, hospital.home = _DATA, _HOME
        stage.wait(f"the agent of {hospital.title} starts", lambda: is_ready(namespace, "agent"))
        place = Place(namespace, _AGENT, "agent")
        terminal = Terminal(place, setting.folder / "logs" / f"{hospital.name}.terminal.log")
        self._terminals.append(terminal)
        registry = {"ASSAY_REGISTRY_URL": registry_address(self._namespaces["registry"])}
        for person in (hospital.operator, hospital.owner):
            known = {name: value for name, value in person.environment.items() if name == "ASSAY_TOKEN"}
            person.environment = {"ASSAY_SITE_HOME": str(_HOME), **registry, **known}
            person.terminal = terminal

    def has_heard(self, hospital: Hospital, benchmark: str) -> bool:
        place = Place(self._namespaces[hospital.name], _AGENT, "agent")
        # The shell says nothing, and no error, as long as there is no such file.
        heard = place.ask("sh", "-c", f"cat {Home(_HOME).work_file} 2>/dev/null || true")
        return f'"{benchmark}"' in heard

    def pages(self, setting: Setting, hospital: Hospital) -> str:
        [address] = _forward(setting.federation, self._namespaces[hospital.name], _AGENT, 80)
        return address

    def images(self) -> dict[str, Any]:
        return {"application": self._built.application, "cubes": self._built.cube_images}

    @property
    def _built(self) -> Images:
        if self._images is None:
            raise RuntimeError("images are made before anything else: call prepare() first")
        return self._images

    def _remove(self, *, alone: bool) -> None:
        """Take everything away; what went wrong before counts more than what stays."""
        try:
            with self.console.status("    what was made in the cluster is removed"):
                self.cluster.remove()
        except FailedError as left:
            if alone:
                raise
            self.console.print(Text(str(left)), soft_wrap=True)

    def _party(self, name: str) -> Party:
        self._namespaces[name] = self.cluster.namespace(name)
        return Party(self._namespaces[name], self._built.application, self.cluster.mark)

    def _apply(self, stage: Stage, overlay: Path) -> None:
        stage.tell(f"$ kubectl apply -k {os.path.relpath(overlay)}")
        kubectl("apply", "-k", str(overlay))


def find_ground(folder: Path, console: Console) -> InCluster:
    """Everything that a federation in a cluster needs.

    Raises:
        NotSetUpError: something is missing; says what to do.
    """
    return InCluster(find_cluster(), find_builder(), folder, console)


def _forward(federation: Federation, namespace: str, service: str, *ports: int) -> list[str]:
    """Addresses on this machine that lead to a service's ports."""
    pairs = {port: free_port() for port in ports}
    words = [f"{here}:{port}" for port, here in pairs.items()]
    program = ["kubectl", "-n", namespace, "port-forward", f"service/{service}", *words]
    federation.run(f"way to {service} in {namespace}", program)
    return [f"http://127.0.0.1:{here}" for here in pairs.values()]
