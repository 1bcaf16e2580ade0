"""Tiny real images, run by a real engine; without DOCKER_HOST and ASSAY_TEST_REGISTRY these tests skip."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents.environments import EnvironmentCache
from agents.images.cube_images import CubeImages
from agents.images.registry import RegistryAccess, RegistrySource
from agents.images.store import ImageStore
from agents.runtimes.docker.runtime import DockerRuntime
from agents.runtimes.docker.settings import DockerSettings
from agents.runtimes.protocol import CubeBundle, Limits, StepRequest
from cubes.contract import TaskName, parse_contract
from tests.clusters import Registry, image_registry
from tests.small_images import Image, make_image, programs, push

LIMITS = Limits(deadline_s=120, memory_bytes=128 << 20, processes=64, output_bytes=8 << 20, log_bytes=1 << 20)
CONTRACT = """
container_type: DockerImage
image: {image}
{head}
tasks:
  infer:
    run_args: {{command: [sh, -c, {command!r}]}}
    input_volumes: {{data_path: {{mount_path: /in/data, type: directory}}}}
    output_volumes: {{output_path: {{mount_path: /predictions, type: directory}}}}
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def engine_registry() -> Registry:
    if "DOCKER_HOST" not in os.environ:
        pytest.skip("no container engine: set DOCKER_HOST to one that these tests may use")
    return image_registry()


@pytest.fixture(scope="session")
def python_image(engine_registry: Registry) -> str:
    return engine_registry.python()


@pytest.fixture(scope="session")
def shell_image() -> Image:
    """The shell of this host and a few programs."""
    layer = programs("sh", "cat", "ls", "id", "sleep")
    return make_image(layer, process={"Env": ["PATH=/bin", "OF_THE_IMAGE=yes"], "WorkingDir": "/"})


@pytest.fixture(scope="session")
def shell_reference(engine_registry: Registry, shell_image: Image) -> str:
    return str(push(shell_image, engine_registry.host, f"shell-{uuid4().hex[:8]}"))


@pytest.fixture
def images(tmp_path: Path) -> CubeImages:
    access = RegistryAccess()
    return CubeImages(ImageStore(tmp_path / "images", lambda reference: closing(RegistrySource(reference, access))))


@pytest.fixture
def runtime(tmp_path: Path, images: CubeImages, python_image: str) -> Iterator[DockerRuntime]:
    tmp_path.chmod(0o755)
    settings = DockerSettings(image=python_image)
    site = f"site-{uuid4().hex[:8]}"
    runtime = DockerRuntime(tmp_path / "work", site, settings, EnvironmentCache(tmp_path / "e"), images)
    yield runtime
    assert runtime._engine.sweep(tuple) == 0, "a step left its container behind"
    runtime.close()


@pytest.fixture
def request_for(tmp_path: Path, shell_reference: str) -> Callable[..., StepRequest]:
    """A request to run a command in the shell image; its output folder is `tmp_path/out`."""
    for name in ("data", "out"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "data" / "cases").write_text("three cases\n")

    def make(
        command: str = "", *, image: str | None = None, text: str | None = None, head: str = "", **more: Any
    ) -> StepRequest:
        contract = text or CONTRACT.format(image=image or shell_reference, command=command, head=head)
        return StepRequest(
            key=f"step-{uuid4().hex[:8]}",
            cube=CubeBundle(contract=parse_contract(contract), pack_digest="", folder=tmp_path),
            task=TaskName.INFER,
            volumes={"data_path": tmp_path / "data", "output_path": tmp_path / "out"},
            log=tmp_path / "log",
            limits=more.pop("limits", LIMITS),
            **more,
        )

    return make
