"""A namespace with the site's claim, and tiny cubes to run there."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from agents.environments import EnvironmentCache
from agents.runtimes.kubernetes.manifest import job_name
from agents.runtimes.kubernetes.runtime import KubernetesRuntime
from agents.runtimes.kubernetes.settings import KubernetesSettings
from agents.runtimes.protocol import CubeBundle, Limits, StepRequest
from cubes.contract import TaskName, parse_contract
from tests.clusters import Namespace

SITE = "north"
FOLDER = "container_type: Folder"
CONTRACT = """
{kind}
tasks:
  infer:
    run_args: {run}
    resources: {resources}
    input_volumes:
      data_path: {{mount_path: /in/data, type: directory}}
    output_volumes:
      output_path: {{mount_path: /out/predictions, type: directory}}
"""
LIMITS = Limits(deadline_s=60, memory_bytes=128 << 20, processes=64, output_bytes=8 << 20, log_bytes=1 << 20)


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace with the site's claim, seen as the agent sees it."""

    namespace: Namespace
    home: Path
    settings: KubernetesSettings

    def runtime(self, **changes: Any) -> KubernetesRuntime:
        settings = KubernetesSettings.model_validate({**self.settings.model_dump(), **changes})
        return KubernetesRuntime(self.home, SITE, settings, EnvironmentCache(self.home / "environments"))

    def site_settings(self, **changes: Any) -> dict[str, Any]:
        """What a site's settings file says so that its steps run here."""
        kubernetes = self.settings.model_dump(mode="json", exclude_none=True, exclude_defaults=True) | changes
        return {"runtime": "kubernetes", "kubernetes": kubernetes}

    def job(self, request: StepRequest) -> str:
        return job_name(SITE, request.key)


def place_in(own: Namespace, python_image: str) -> Place:
    root = own.claim_folder("assay-site")
    home = root / "home"
    home.mkdir(mode=0o700)
    settings = KubernetesSettings.model_validate(
        {
            "namespace": own.name,
            "image": python_image,
            "volumes": [{"path": root, "claim": "assay-site"}],
            "hopeless_s": 1,
            "pull_retry_s": 5,
        }
    )
    return Place(own, home, settings)


def settings_for(root: Path, **changes: Any) -> KubernetesSettings:
    """Settings that need no cluster: the claim `assay-site` is that folder."""
    image = f"registry.example/python@sha256:{'0' * 64}"
    volumes = [{"path": root, "claim": "assay-site"}]
    return KubernetesSettings.model_validate({"namespace": "steps", "image": image, "volumes": volumes} | changes)


def make_request(
    home: Path,
    program: str = "",
    *,
    key: str = "",
    image: str | None = None,
    run: str = "{command: python3 main.py}",
    resources: str = "{cpu: 0.2, memory: 128Mi}",
    tell: Callable[[str], None] | None = None,
    **limits: Any,
) -> StepRequest:
    folder = home / "requests" / uuid4().hex
    for name in ("cube", "data", "output"):
        (folder / name).mkdir(parents=True)
    (folder / "data" / "cases").write_text("three cases")
    (folder / "cube" / "main.py").write_text(textwrap.dedent(program))
    for path in (folder / "cube", folder / "data"):
        path.chmod(0o755)
    kind = FOLDER if image is None else f"container_type: DockerImage\nimage: {image}"
    return StepRequest(
        key=key or f"step-{folder.name[:12]}-1",
        cube=CubeBundle(
            contract=parse_contract(CONTRACT.format(kind=kind, run=run, resources=resources)),
            pack_digest="sha256:" + "0" * 64,
            folder=folder / "cube",
        ),
        task=TaskName.INFER,
        volumes={"data_path": folder / "data", "output_path": folder / "output"},
        log=folder / "log",
        limits=replace(LIMITS, **limits),
        tell=tell,
        note=tell,
    )
