"""The same cube gives the same bytes, whatever runs it: namespaces, an engine, a cluster; in each format."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from agents.environments import EnvironmentCache
from agents.images.cube_images import CubeImages
from agents.runtimes.docker.runtime import DockerRuntime
from agents.runtimes.docker.settings import DockerSettings
from agents.runtimes.process import ProcessRuntime
from agents.runtimes.protocol import CubeBundle, Runtime, StepRequest
from cubes.contract import TaskName, load_contract
from tests.agents.runtimes.docker.conftest import LIMITS
from tests.agents.runtimes.kubernetes.places import Place, place_in
from tests.clusters import CLAIM, DENY, Registry, namespace
from tests.small_images import Entry, make_image, programs, push

pytestmark = [pytest.mark.anyio, pytest.mark.docker]
SCRIPT = b"""#!/bin/sh
for word in "$@"; do
  case $word in --data_path=*) data=${word#--data_path=};; --output_path=*) out=${word#--output_path=};; esac
done
mkdir -p "${out:-/results}/deep" && cd "${out:-/results}"
sha256sum < "${data:-/data}/cases" > digest
sort "${data:-/data}/cases" > deep/sorted
echo "$OF_THE_IMAGE $OF_THE_CONTRACT $PWD $#" > said
cat /marks > before 2>/dev/null; echo mark > /marks && cat /marks >> said
"""
FORMATS = {
    "container_config.yaml": """
container_type: DockerImage
image: {image}
tasks:
  infer:
    run_args: {{environment: {{OF_THE_CONTRACT: b}}}}
    input_volumes: {{data_path: {{mount_path: /data, type: directory}}}}
    output_volumes: {{output_path: {{mount_path: /results, type: directory}}}}
""",
    "mlcube.yaml": """
docker: {{image: "{image}", env_args: "-e OF_THE_CONTRACT=b"}}
tasks:
  infer:
    parameters: {{inputs: {{data_path: data/}}, outputs: {{output_path: {{type: directory, default: predictions}}}}}}
""",
}


@pytest.fixture(scope="module")
def image(engine_registry: Registry) -> str:
    layer = programs("sh", "cat", "mkdir", "sha256sum", "sort")
    # Whoever runs it may write to the root folder: an engine keeps the image's owners.
    script: list[Entry] = [(".", {"type": b"5", "mode": 0o1777}, b""), ("run.sh", {"mode": 0o755}, SCRIPT)]
    script.append(("marks", {"mode": 0o666}, b"of the image\n"))
    process = {"Entrypoint": ["/run.sh"], "Env": ["PATH=/bin", "OF_THE_IMAGE=a"]}
    return str(push(make_image(layer, script, process=process), engine_registry.host, f"same-{uuid4().hex[:8]}"))


@pytest.fixture(params=sorted(FORMATS))
def cube(request: pytest.FixtureRequest, tmp_path: Path, image: str) -> CubeBundle:
    folder = tmp_path / "cube"
    folder.mkdir()
    (folder / request.param).write_text(FORMATS[request.param].format(image=image))
    return CubeBundle(contract=load_contract(folder), pack_digest="", folder=folder)


@pytest.fixture(scope="module")
def cluster(python_image: str) -> Iterator[Place]:
    with namespace("same") as own:
        own.kubectl("apply", "-f", "-", stdin=f"{DENY}---{CLAIM}")
        yield place_in(own, python_image)


async def _outputs(runtime: Runtime, cube: CubeBundle, folder: Path) -> dict[str, bytes]:
    for name in ("data", "out"):
        (folder / name).mkdir(parents=True)
    (folder / "data" / "cases").write_text("three\ncases\nhere\n")
    (folder / "data").chmod(0o755)
    volumes = {"data_path": folder / "data", "output_path": folder / "out"}
    wanted = StepRequest(
        key=f"step-{uuid4().hex[:8]}",
        cube=cube,
        task=TaskName.INFER,
        volumes=volumes,
        log=folder / "log",
        limits=LIMITS,
    )
    outcome = await runtime.run(replace(wanted, limits=replace(LIMITS, deadline_s=120)))
    assert outcome.ok, outcome.message
    return {
        path.relative_to(folder / "out").as_posix(): path.read_bytes()
        for path in (folder / "out").rglob("*")
        if path.is_file()
    }


def _in_namespaces(folder: Path, images: CubeImages) -> ProcessRuntime:
    (folder / "work").mkdir()
    return ProcessRuntime(folder / "work", EnvironmentCache(folder / "e"), images=images)


async def test_in_namespaces_and_in_an_engine(cube: CubeBundle, images: CubeImages, tmp_path: Path) -> None:
    here = await _outputs(_in_namespaces(tmp_path, images), cube, tmp_path / "process")
    settings = DockerSettings()
    with closing(DockerRuntime(tmp_path, "same", settings, EnvironmentCache(tmp_path / "e"), images)) as runtime:
        there = await _outputs(runtime, cube, tmp_path / "docker")
    assert here == there
    assert here["deep/sorted"] == b"cases\nhere\nthree\n"
    assert here["before"] == b"of the image\n"


@pytest.mark.kubernetes
async def test_and_in_a_cluster(cube: CubeBundle, images: CubeImages, tmp_path: Path, cluster: Place) -> None:
    here = await _outputs(_in_namespaces(tmp_path, images), cube, tmp_path / "process")
    there = await _outputs(cluster.runtime(), cube, cluster.home / "same" / uuid4().hex)
    assert here == there
