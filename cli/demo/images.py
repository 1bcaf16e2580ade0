"""Images of the demonstration: the application and its cubes, each built from its file in this clone and pushed.

Everything is named by digest afterwards. What was built before is found in the engine's cache, which stays, as the images do.
"""

import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from cli.demo.clone import REFERENCE, ROOT
from cli.errors import FailedError, NotSetUpError
from cubes.image_reference import parse_reference

REGISTRY: Final = "ASSAY_TEST_REGISTRY"
BASE: Final = "ASSAY_DEMO_BASE"
CUBES: Final = ("preparator", "metrics", "models/sklearn")
"""Folders of the reference benchmark that become images."""
_PIP: Final = "pip==25.3"
_BUILDER: Final = """
ARG BASE
FROM ${BASE}
COPY pip /opt/pip
COPY certificates.pem /opt/certificates.pem
ENV PYTHONPATH=/opt/pip SSL_CERT_FILE=/opt/certificates.pem PIP_CERT=/opt/certificates.pem
"""
"""The base with pip, and with whom this machine trusts: a package index may be behind a proxy of its own."""


@dataclass(frozen=True, slots=True)
class Images:
    """By digest."""

    application: str
    cube_images: dict[str, str]
    """By folder of the reference benchmark."""
    cubes: dict[str, Path]
    """By the same, a folder with the contract of the image."""


@dataclass(frozen=True, slots=True)
class ImageBuilder:
    """A container engine, and the registry that it shares with the cluster's nodes."""

    registry: str
    base: str

    def build(self, folder: Path, tell: Callable[[str], None]) -> Images:
        """Build and push all of them.

        Args:
            folder: for contracts; made when missing.
            tell: is called with each image's digest when it is there.

        Raises:
            FailedError: an image cannot be built or pushed; says what the engine said.
        """
        application = self.application()
        tell(application)
        images, cubes = {}, {}
        for cube in CUBES:
            images[cube] = self.cube(cube)
            tell(images[cube])
            cubes[cube] = contract_of_image(REFERENCE / cube, folder / cube, images[cube])
        return Images(application, images, cubes)

    def application(self) -> str:
        """The one application image, by digest."""
        return self._one("assay", ROOT, ROOT / "Containerfile")

    def cube(self, name: str) -> str:
        """The image of a cube of the reference benchmark, by digest."""
        context = REFERENCE / name
        return self._one(f"fna-{context.name}", context, context / "Dockerfile")

    def _one(self, repository: str, context: Path, file: Path) -> str:
        name = f"{self.registry}/{repository}:demo"
        arguments = ["--build-arg", f"BASE={self.base}"]
        if "ARG BUILDER" in file.read_text(encoding="utf-8"):
            arguments += ["--build-arg", f"BUILDER={base_with_pip(self.registry, self.base)}"]
        # The host's network: a proxy on the way to the package index may listen on this machine alone.
        _docker("build", "--quiet", "--network=host", *arguments, "--file", str(file), "--tag", name, str(context))
        _docker("push", "--quiet", name)
        return resolved(name, self.registry)


def find_builder() -> ImageBuilder:
    """What images are made with.

    Raises:
        NotSetUpError: there is no engine, no registry, or no base image; says what to do.
    """
    registry = os.environ.get(REGISTRY)
    if not registry:
        raise NotSetUpError(
            f"no image registry is named: set {REGISTRY} to one that this machine pushes to and the cluster's nodes pull"
            " from (k8s/README.md has one for a laptop)"
        )
    if shutil.which("docker") is None:
        raise NotSetUpError("docker is not on PATH: images of the application and the cubes are built with it")
    try:
        _docker("version")
    except FailedError as error:
        raise NotSetUpError(f"no container engine answers, start it or set DOCKER_HOST: {error}") from error
    python = f"python:{sys.version_info.major}.{sys.version_info.minor}"
    return ImageBuilder(registry, _base(os.environ.get(BASE) or f"{registry}/{python}", registry, python))


def resolved(name: str, registry: str) -> str:
    """An image by the digest that its registry has it under, without its tag.

    Raises:
        agents.images.errors.ImageError: it has it not.
    """
    from agents.images.registry import RegistryAccess, RegistrySource

    reference = parse_reference(name)
    with closing(RegistrySource(reference, RegistryAccess(plain_http=frozenset({registry})))) as source:
        return f"{reference.name}@{reference.digest or source.resolve()}"


def contract_of_image(folder: Path, target: Path, image: str) -> Path:
    """A folder with the contract that a cube has as an image: the same tasks, its programs below /cube.

    Raises:
        ContractError: what results is no contract.
    """
    import yaml

    from cubes.contract import CONTRACT_FILE, load_contract

    contract: dict[str, Any] = yaml.safe_load((folder / CONTRACT_FILE).read_text(encoding="utf-8"))
    contract.pop("requirements", None)  # they are in the image
    for task in contract["tasks"].values():
        interpreter, program = task["run_args"]["command"].split(" ", 1)
        task["run_args"]["command"] = f"{interpreter} /cube/{program}"
    target.mkdir(parents=True)
    whole = {**contract, "container_type": "DockerImage", "image": image}
    (target / CONTRACT_FILE).write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    load_contract(target)
    return target


@cache
def base_with_pip(registry: str, base: str) -> str:
    """A base with pip, made once: more than one image wants it."""
    from uv import find_uv_bin

    name = f"{registry}/assay-builder:demo"
    with tempfile.TemporaryDirectory(prefix="assay-builder-") as scratch:
        here = Path(scratch)
        _run([find_uv_bin(), "pip", "install", "--quiet", "--target", str(here / "pip"), _PIP])
        (here / "certificates.pem").write_bytes(_certificates())
        (here / "Dockerfile").write_text(_BUILDER, encoding="utf-8")
        _docker("build", "--quiet", "--build-arg", f"BASE={base}", "--tag", name, scratch)
    return name


def _base(name: str, registry: str, python: str) -> str:
    from agents.images.errors import ImageError

    try:
        return resolved(name, registry)
    except ImageError as error:
        raise NotSetUpError(
            f"the base of all images cannot be found: {error}. Push {python}-slim as {registry}/{python}, or name another"
            f" in {BASE}"
        ) from error


def _certificates() -> bytes:
    """Of the authorities that this machine trusts."""
    known = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if known is None:
        raise NotSetUpError("this machine names no certificates that it trusts: set SSL_CERT_FILE")
    return Path(known).read_bytes()


def _docker(*words: str) -> None:
    _run(["docker", *words])


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "DOCKER_BUILDKIT": "1"}
    )
    if done.returncode:
        raise FailedError(f"{Path(command[0]).name} {command[1]}: {done.stderr.strip()[-2000:]}")
