"""The application's image, made from its Containerfile as anybody makes it, on a base that the cluster's registry has."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import uv

from cli.demo.images import ImageBuilder, resolved
from tests.clusters import image_registry

ROOT: Final = Path(__file__).parents[2]
_WORKER: Final = """
FROM {application}
COPY site /opt/prefect
ENV PYTHONPATH=/opt/prefect
"""
_WORKER_PACKAGES: Final = (
    "prefect-kubernetes==0.8.0",
    "kubernetes-asyncio==36.1.0",
    "kopf==1.45.2",
    "pyopenssl==25.3.0",
    "tenacity==9.1.2",
    "iso8601==2.1.0",
)
"""What Prefect's Kubernetes worker needs beyond the application's own packages."""


def docker(*words: str | Path, limit_s: float = 900) -> str:
    """Run docker, and give what it printed."""
    program = shutil.which("docker")
    if program is None or "DOCKER_HOST" not in os.environ:
        pytest.skip("no container engine: set DOCKER_HOST, and put docker on PATH (see k8s/README.md)")
    done = subprocess.run(
        [program, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=limit_s,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
    )
    assert done.returncode == 0, f"docker {words[0]}: {done.stderr[-3000:]}"
    return done.stdout.strip()


def builder() -> ImageBuilder:
    """What makes images here: the demonstration's own, on the base that the cluster's registry has; skips without an engine."""
    registry = image_registry()
    docker("version")
    return ImageBuilder(registry.host, registry.python())


def build_application() -> str:
    """Build the image and push it; what was built before is found in the engine's cache.

    Returns:
        Its name by digest.
    """
    return builder().application()


def build_worker(folder: Path, application: str) -> str:
    """Prefect's Kubernetes worker on the application's own packages, pushed.

    Returns:
        Its name by digest.
    """
    site = folder / "site"
    install = [uv.find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--target", str(site), *_WORKER_PACKAGES]
    subprocess.run(install, check=True, timeout=300)
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(site)], check=True
    )
    (folder / "Dockerfile").write_text(_WORKER.format(application=application), encoding="utf-8")
    host = image_registry().host
    name = f"{host}/prefect-worker:test"
    docker("build", "--quiet", "--tag", name, folder)
    docker("push", "--quiet", name)
    return resolved(name, host)
