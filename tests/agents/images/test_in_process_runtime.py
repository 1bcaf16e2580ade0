"""The process runtime runs images of both formats, isolated, with the file system that they expect."""

import json
import os
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agents.environments import EnvironmentCache
from agents.images.cube_images import CubeImages
from agents.images.documents import ImageLimits
from agents.images.store import ImageStore
from agents.runtimes.process import ProcessRuntime
from agents.runtimes.protocol import CubeBundle, Limits, RuntimeSetupError, StepOutcome, StepRequest
from api.schemas.border import ErrorClass
from cubes.contract import TaskName, parse_contract
from tests.small_images import Entry, Image, ImageRegistry, make_image, programs

pytestmark = pytest.mark.anyio
LIMITS = Limits(deadline_s=120, memory_bytes=256 << 20, processes=64, output_bytes=8 << 20, log_bytes=1 << 20)
PROGRAMS = programs("sh", "cat", "ls", "mkdir", "id")
Run = Callable[..., Awaitable[StepOutcome]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def shell_image(*more: Entry, **process: Any) -> Image:
    return make_image(PROGRAMS, list(more), process={"Env": ["PATH=/bin", "OF_THE_IMAGE=yes"], **process})


def contract(image: str, command: str, *, head: str = "", output: str = "/results/deep", data: str = "/data") -> str:
    return f"""
container_type: DockerImage
image: {image}
{head}
tasks:
  infer:
    run_args: {{command: [sh, -c, {json.dumps(command)}], environment: {{OF_THE_CONTRACT: "yes"}}}}
    input_volumes: {{data_path: {{mount_path: {data}, type: directory}}}}
    output_volumes: {{output_path: {{mount_path: {output}, type: directory}}}}
"""


@pytest.fixture
def runtime(tmp_path: Path, store: ImageStore) -> ProcessRuntime:
    (tmp_path / "work").mkdir()
    store.limits = ImageLimits()
    return ProcessRuntime(tmp_path / "work", EnvironmentCache(tmp_path / "e"), images=CubeImages(store))


@pytest.fixture
def run(tmp_path: Path, runtime: ProcessRuntime, registry: ImageRegistry) -> Run:
    """Push an image and run a command in it; outputs are in `tmp_path/out`."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cases").write_text("three cases\n")
    (tmp_path / "out").mkdir()

    async def run(command: str, image: Image | None = None, text: str | None = None, **how: str) -> StepOutcome:
        pushed = image or shell_image()
        reference = registry.push(pushed).pinned(pushed.digest)
        parsed = parse_contract(
            text.replace("IMAGE", str(reference)) if text else contract(str(reference), command, **how)
        )
        return await runtime.run(
            StepRequest(
                key="step",
                cube=CubeBundle(contract=parsed, pack_digest="", folder=tmp_path),
                task=TaskName.INFER,
                volumes={"data_path": tmp_path / "data", "output_path": tmp_path / "out"},
                log=tmp_path / "log",
                limits=LIMITS,
            )
        )

    return run


class TestRun:
    async def test_an_image_reads_its_input_and_writes_its_output(self, run: Run, tmp_path: Path) -> None:
        outcome = await run("cat /data/cases > /results/deep/x; id -u >> /results/deep/x")
        assert outcome.ok, outcome.message
        assert (tmp_path / "out/x").read_text() == "three cases\n10001\n"
        assert (tmp_path / "out/x").stat().st_uid == os.getuid()

    async def test_an_mlcube_is_called_with_its_tasks_name(self, run: Run, tmp_path: Path) -> None:
        script = b'#!/bin/sh\necho "$0 $*" > /mlcube_io/output_path/x\n'
        image = shell_image(("run.sh", {"mode": 0o755}, script), Entrypoint=["/run.sh"])
        outcome = await run("", image, "docker: {image: IMAGE}\ntasks: {infer: {parameters: {"
                            "inputs: {data_path: data/}, outputs: {output_path: {type: directory, default: p}}}}}")  # fmt: skip
        assert outcome.ok, outcome.message
        said = "/run.sh infer --data_path=/mlcube_io/data_path --output_path=/mlcube_io/output_path\n"
        assert (tmp_path / "out/x").read_text() == said

    async def test_environment_user_and_folder_are_the_images(self, run: Run, tmp_path: Path) -> None:
        image = shell_image(WorkingDir="/not/there/yet", User="1234")
        outcome = await run('echo "$OF_THE_IMAGE $OF_THE_CONTRACT $PWD $HOME"; id -u; ls /tmp', image)
        assert outcome.ok is False  # it wrote nothing
        assert (tmp_path / "log").read_text() == "yes yes /not/there/yet /tmp\n1234\n"

    async def test_outputs_lie_wherever_the_contract_says(self, run: Run, tmp_path: Path) -> None:
        outcome = await run("cat /in/data/cases > /predictions/x", output="/predictions", data="/in/data")
        assert outcome.ok, outcome.message
        assert (tmp_path / "out/x").exists()

    async def test_another_program_than_there_is(self, run: Run) -> None:
        outcome = await run("x", make_image(PROGRAMS, process={"Entrypoint": ["/not/there"]}))
        assert (outcome.error, outcome.exit_code) == (ErrorClass.EXIT_CODE, 127)
        assert "there is no program '/not/there'" in outcome.message

    async def test_an_archive_in_the_pack(self, run: Run, tmp_path: Path) -> None:
        shell_image().save(tmp_path / "image.tar")
        text = contract("image.tar", "cat /data/cases > /results/deep/x").replace("DockerImage", "DockerArchive")
        outcome = await run("", None, text)
        assert outcome.ok, outcome.message


class TestFileSystem:
    async def test_an_image_of_others_writes_to_its_own_and_nothing_stays(self, run: Run, tmp_path: Path) -> None:
        command = "[ ! -e /marks ] && mkdir /marks && echo x > /bin/new && cat /bin/new > /results/deep/x"
        for _ in range(2):
            outcome = await run(command)
            assert outcome.ok, outcome.message
        roots = list((tmp_path / "images").glob("*/root"))
        assert [(root / "marks").exists() or (root / "bin/new").exists() for root in roots] == [False]

    async def test_one_that_asks_for_it_is_read_only(self, run: Run, tmp_path: Path) -> None:
        outcome = await run("echo x > /new", head="file_system: read_only")
        assert outcome.exit_code == 2
        assert "Read-only file system" in (tmp_path / "log").read_text()

    async def test_what_it_writes_to_its_own_is_limited(self, run: Run) -> None:
        outcome = await run("cat /dev/zero > /big")
        assert outcome.error in {ErrorClass.EXIT_CODE, ErrorClass.MEMORY}

    @pytest.mark.parametrize("target", ["/data/new", "/data/cases"])
    async def test_a_cube_that_wants_to_write_its_inputs(self, run: Run, tmp_path: Path, target: str) -> None:
        outcome = await run(f"echo changed > {target}")
        assert outcome.exit_code == 2
        assert (tmp_path / "data/cases").read_text() == "three cases\n"
        assert len(list((tmp_path / "data").iterdir())) == 1


class TestIsolation:
    async def test_no_network_no_host_no_privilege(self, run: Run, tmp_path: Path) -> None:
        command = f"""
        ls {tmp_path} 2>&1; cat /proc/self/status > /results/deep/status; cat /etc/hosts > /results/deep/hosts
        cat /proc/net/dev > /results/deep/net; ls /proc > /results/deep/processes
        """
        outcome = await run(command)
        assert outcome.ok, outcome.message
        status = dict(
            line.split(":\t", 1) for line in (tmp_path / "out/status").read_text().splitlines() if ":\t" in line
        )
        assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert "No such file" in (tmp_path / "log").read_text()
        interfaces = [line for line in (tmp_path / "out/net").read_text().splitlines() if ":" in line]
        assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
        assert len([name for name in (tmp_path / "out/processes").read_text().split() if name.isdigit()]) <= 3

    @pytest.mark.parametrize("place", ["etc", "tmp", "dev", "proc", "data", "results"])
    async def test_an_image_whose_folders_lead_to_the_hosts(self, run: Run, tmp_path: Path, place: str) -> None:
        """Mount points are made inside the image, wherever its links point."""
        victim = tmp_path / "victim"
        victim.mkdir()
        layer: list[Entry] = [(place, {"type": tarfile.SYMTYPE, "linkname": str(victim)}, b"")]
        outcome = await run("echo x > /results/deep/x", make_image(PROGRAMS, layer, process={"Env": ["PATH=/bin"]}))
        assert list(victim.iterdir()) == []
        # Links that lead to what the step gets from its runtime leave no place for it.
        assert outcome.ok if place not in {"tmp", "dev"} else outcome.error == ErrorClass.CANNOT_START

    async def test_an_image_that_is_not_what_was_approved(
        self, run: Run, registry: ImageRegistry, tmp_path: Path
    ) -> None:
        image = shell_image()
        other = shell_image(("evil", {}, b"x"))
        registry.push(image)
        registry.manifests[f"org/model:{image.digest}"] = other.manifest
        registry.push = lambda _image, *_: registry.reference()  # type: ignore[method-assign]  # what is there stays
        outcome = await run("echo x > /results/deep/x", image)
        assert outcome.error == ErrorClass.IMAGE_UNAVAILABLE
        assert image.digest in outcome.message
        assert other.digest in outcome.message
        assert list((tmp_path / "out").iterdir()) == []


class TestRefuse:
    @pytest.mark.parametrize("kind", ["SingularityFile", "EncryptedDockerArchive"])
    async def test_kinds_that_run_nowhere(self, run: Run, kind: str) -> None:
        outcome = await run("", None, contract("model.sif", "x").replace("DockerImage", kind))
        assert outcome.error == ErrorClass.IMAGE_UNAVAILABLE
        assert "give" in outcome.message

    async def test_a_tag(self, run: Run, registry: ImageRegistry) -> None:
        registry.push(shell_image())
        outcome = await run("", None, contract(str(registry.reference()), "x"))
        assert outcome.error == ErrorClass.IMAGE_UNAVAILABLE
        assert "named by a tag" in outcome.message

    async def test_a_user_that_is_nobody(self, run: Run) -> None:
        outcome = await run("x", shell_image(User="ghost"))
        assert outcome.error == ErrorClass.CANNOT_START
        assert "'ghost' is not in its /etc/passwd" in outcome.message

    async def test_a_site_without_images(self, run: Run, runtime: ProcessRuntime) -> None:
        runtime._images = None
        with pytest.raises(RuntimeSetupError, match="runs Folder cubes here"):
            await run("x")
