"""What kustomize makes of a folder, parsed."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

K8S: Final = Path(__file__).parents[2] / "k8s"
OVERLAYS: Final = tuple(sorted(path.parent.relative_to(K8S) for path in K8S.glob("*/overlays/*/kustomization.yaml")))
COMPONENTS: Final = tuple(
    sorted(path.parent.relative_to(K8S) for path in K8S.glob("*/components/*/kustomization.yaml"))
)
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Manifests:
    """All objects of one overlay."""

    name: str
    objects: tuple[Json, ...]

    def of(self, kind: str) -> list[Json]:
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind: str, name: str) -> Json:
        [found] = [item for item in self.of(kind) if item["metadata"]["name"] == name]
        return found

    def pods(self) -> Iterator[Json]:
        """The pod template of every Deployment."""
        for deployment in self.of("Deployment"):
            yield deployment["spec"]["template"]

    def containers(self) -> Iterator[Json]:
        for pod in self.pods():
            yield from pod["spec"].get("initContainers", ())
            yield from pod["spec"]["containers"]


def build(folder: Path) -> Manifests:
    """What `kubectl kustomize` makes of a folder; skips without kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl: put one of 1.27 or later on PATH (see k8s/README.md)")
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower(), done.stderr
    return Manifests(folder.name, tuple(yaml.safe_load_all(done.stdout)))
