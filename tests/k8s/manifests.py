"""What kustomize makes of a folder, parsed."""

import os
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


def built_with(
    folder: Path, *components: str, overlay: str = "site/overlays/embedded", **written_besides: Any
) -> Manifests:
    """An overlay with components, and what else a kustomization says.

    Args:
        folder: to be made, where it is written.
        components: their names, of the overlay's own kind.
        overlay: of `k8s/`.
        written_besides: as in kustomization.yaml.
    """
    folder.mkdir()
    own, here = K8S / Path(overlay).parts[0] / "components", folder.resolve()
    written = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(K8S / overlay, here)],
        "components": [os.path.relpath(own / each, here) for each in components],
        **written_besides,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    return build(folder)
