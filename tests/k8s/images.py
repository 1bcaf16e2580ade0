"""The application's image, made from its Containerfile as anybody makes it, on a base that the cluster's registry has."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import uv

from tests.clusters import image_registry

ROOT: Final = Path(__file__).parents[2]
_CERTIFICATES: Final = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
_BUILDER: Final = """
FROM {base}
COPY pip /opt/pip
COPY certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV PYTHONPATH=/opt/pip SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt
"""
"""The Python image with pip, and with whom this host trusts: an index may be behind a proxy of its own."""


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


def build_application(folder: Path) -> str:
    """Build the image and push it; what was built before is found in the engine's cache.

    Returns:
        Its name by digest.
    """
    registry = image_registry()
    base = registry.python()
    docker("version")
    uv_program = uv.find_uv_bin()
    install = [uv_program, "pip", "install", "--quiet", "--target", str(folder / "pip"), "pip==25.3"]
    subprocess.run(install, check=True, timeout=300)
    shutil.copy(_CERTIFICATES, folder / "certificates.crt")
    (folder / "Dockerfile").write_text(_BUILDER.format(base=base), encoding="utf-8")
    builder, name = f"{registry.host}/builder:test", f"{registry.host}/assay:test"
    docker("build", "--quiet", "--tag", builder, folder)
    arguments = ("--build-arg", f"BASE={base}", "--build-arg", f"BUILDER={builder}")
    docker("build", "--quiet", "--network=host", *arguments, "--file", ROOT / "Containerfile", "--tag", name, ROOT)
    docker("push", "--quiet", name)
    [digest] = [each for each in docker("inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", name).split()
                if each.startswith(f"{registry.host}/assay@")][-1:]  # fmt: skip
    return digest
