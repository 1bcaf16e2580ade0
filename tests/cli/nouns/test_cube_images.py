"""Cubes that are images, from the command line: a tag becomes a digest, and that digest is what runs ever after."""

import asyncio
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agents.cube_store import CubeStore
from agents.environments import EnvironmentCache
from agents.images.cube_images import CubeImages
from agents.images.registry import RegistryAccess, RegistrySource
from agents.images.store import ImageStore
from agents.runtimes.process import ProcessRuntime
from agents.runtimes.protocol import StepRequest
from api.schemas.cubes import CubeRef
from cubes.contract import TaskName
from tests.cli.federation import Federation
from tests.cli.support import Assay
from tests.small_images import Image, ImageRegistry, image_registry, make_image, programs

CONTRACT = """\
container_type: DockerImage
image: {image}   # moves with each release
tasks:
  infer:
    run_args: {{command: [sh, -c, "cat /release /in/cases > /out/seen"]}}
    input_volumes: {{data_path: {{mount_path: /in, type: directory}}}}
    output_volumes: {{output_path: {{mount_path: /out, type: directory}}}}
"""


@pytest.fixture
def images() -> Iterator[ImageRegistry]:
    with image_registry() as registry:
        yield registry


def _release(words: str) -> Image:
    return make_image(programs("sh", "cat"), [("release", {}, words.encode())], process={"Env": ["PATH=/bin"]})


@pytest.fixture
def first(images: ImageRegistry) -> Image:
    image = _release("first\n")
    images.push(image)
    return image


@pytest.fixture
def cube(tmp_path: Path, images: ImageRegistry, first: Image) -> Callable[..., Path]:
    def make(**changes: str) -> Path:
        folder = tmp_path / "cube"
        folder.mkdir()
        text = CONTRACT.format(image=images.reference())
        for old, new in changes.items():
            text = text.replace(old, new)
        (folder / "container_config.yaml").write_text(text)
        return folder

    assert first
    return make


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cases").write_text("three cases\n")
    return tmp_path / "data"


class TestRegister:
    def test_what_was_registered_is_what_runs_although_the_tag_moved(
        self,
        at: Assay,
        registry: Federation,
        images: ImageRegistry,
        first: Image,
        cube: Callable[..., Path],
        data: Path,
        tmp_path: Path,
    ) -> None:
        """The trail of digests: registered, approved as part of the pack, pulled, run."""
        made = at("mel", "cube", "register", cube(), "--name", "moving-image", "--json")
        assert f"@{first.digest}" in made.err
        assert made.json["contract"]["image"] == f"{images.reference()}@{first.digest}"
        images.push(_release("second\n"))
        ref = CubeRef.model_validate({name: made.json[name] for name in CubeRef.model_fields})
        with registry.client("mel") as client:
            store = CubeStore(tmp_path / "cubes", client.blobs.download)
            bundle = store.bundle(ref)
        assert bundle.pack_digest == made.json["pack_digest"]
        assert bundle.contract.reference.digest == first.digest
        known = RegistryAccess()
        kept = CubeImages(ImageStore(tmp_path / "images", lambda named: closing(RegistrySource(named, known))))
        assert kept.of(bundle).record.digest == first.digest
        (tmp_path / "out").mkdir()
        (tmp_path / "work").mkdir()
        runtime = ProcessRuntime(tmp_path / "work", EnvironmentCache(tmp_path / "e"), images=kept)
        request = StepRequest(
            key="step",
            cube=bundle,
            task=TaskName.INFER,
            volumes={"data_path": data, "output_path": tmp_path / "out"},
            log=tmp_path / "log",
        )
        outcome = asyncio.run(runtime.run(request))
        assert outcome.ok, outcome.message
        assert (tmp_path / "out" / "seen").read_text() == "first\nthree cases\n"

    def test_the_same_tag_later_is_another_cube(
        self, at: Assay, images: ImageRegistry, cube: Callable[..., Path]
    ) -> None:
        folder = cube()
        before = at("mel", "cube", "register", folder, "--name", "release-one", "--json").json
        images.push(_release("second\n"))
        after = at("mel", "cube", "register", folder, "--name", "release-two", "--json").json
        assert before["pack_digest"] != after["pack_digest"]

    def test_an_image_that_is_not_there_is_not_registered(
        self, at: Assay, images: ImageRegistry, cube: Callable[..., Path]
    ) -> None:
        images.manifests.clear()
        ended = at("mel", "cube", "register", cube(), "--name", "no-image")
        assert ended.code == 10
        assert "is not in its registry" in ended.err

    def test_singularity_is_refused_with_a_reason(self, at: Assay, cube: Callable[..., Path]) -> None:
        ended = at("mel", "cube", "register", cube(DockerImage="SingularityFile"), "--name", "singular")
        assert ended.code == 7
        assert "apptainer" in ended.err

    def test_the_registry_takes_no_tag_whoever_sends_it(
        self, registry: Federation, cube: Callable[..., Path], tmp_path: Path
    ) -> None:
        from api.client import Refused  # noqa: PLC0415 - the command line loads it late too
        from api.schemas.cubes import CubeCreate, CubeKind  # noqa: PLC0415
        from cubes.packing import pack_folder  # noqa: PLC0415

        pack_folder(cube(), tmp_path / "pack.tar")
        with registry.client("mel") as client:
            digest = client.blobs.upload(tmp_path / "pack.tar")
            with pytest.raises(Refused, match="named by a tag"):
                client.cubes.create(CubeCreate(name="by-tag", kind=CubeKind.MODEL, pack_digest=digest))


class TestValidate:
    def test_says_what_it_understood_and_what_is_missing(self, assay: Assay, cube: Callable[..., Path]) -> None:
        out = assay("cube", "validate", cube()).out
        assert "DockerImage" in out
        assert "can be changed" in out
        assert "named by a tag" in out

    def test_an_mlcube(self, assay: Assay, tmp_path: Path) -> None:
        (tmp_path / "mlcube.yaml").write_text(
            "docker: {image: 'org/m:1'}\n"
            "tasks: {infer: {parameters: {inputs: {data_path: data/}, outputs: {output_path: out/}}}}\n"
        )
        found = assay("cube", "validate", tmp_path, "--json").json
        assert found["kind"] == "model"
        assert found["contract"]["tasks"]["infer"]["run_args"]["command"][0] == "infer"

    def test_a_wrong_line_is_named(self, assay: Assay, cube: Callable[..., Path]) -> None:
        ended = assay("cube", "validate", cube(data_path="labels_path"))
        assert ended.code == 7
        assert "labels_path" in ended.err
        assert "line " in ended.err


class TestRunByHand:
    def test_one_task_of_an_image(self, assay: Assay, cube: Callable[..., Path], data: Path, tmp_path: Path) -> None:
        words = ("--input", f"data_path={data}", "--output", tmp_path / "out")
        ended = assay("cube", "test", cube(), "infer", *words)
        assert ended.code == 0, ended.err
        assert (tmp_path / "out" / "output_path" / "seen").read_text() == "first\nthree cases\n"
        assert "infer ended well" in ended.out

    def test_one_that_fails_shows_the_end_of_its_log(
        self, assay: Assay, cube: Callable[..., Path], data: Path, tmp_path: Path
    ) -> None:
        words = ("--input", f"data_path={data}", "--output", tmp_path / "out")
        ended = assay("cube", "test", cube(**{"/release": "/nothing"}), "infer", *words)
        assert ended.code == 10
        assert "/nothing: No such file" in ended.err

    @pytest.mark.parametrize(
        ("task", "given", "said"),
        [
            ("evaluate", "data_path=DATA", "has no task 'evaluate'; it has: infer"),
            ("infer", "labels=DATA", "reads data_path: give each with --input"),
            ("infer", "data_path=/no/such/folder", "is not NAME=PATH of something that exists"),
        ],
    )
    def test_what_does_not_fit_is_seven(
        self, assay: Assay, cube: Callable[..., Path], data: Path, tmp_path: Path, task: str, given: str, said: str
    ) -> None:
        words = ("--input", given.replace("DATA", str(data)), "--output", tmp_path / "out")
        ended = assay("cube", "test", cube(), task, *words)
        assert ended.code == 7
        assert said in ended.err


def test_an_image_in_the_pack_goes_through_untouched(at: Assay, tmp_path: Path) -> None:
    folder = tmp_path / "cube"
    folder.mkdir()
    _release("archived\n").save(folder / "image.tar")
    text = CONTRACT.format(image="image.tar").replace("DockerImage", "DockerArchive")
    (folder / "container_config.yaml").write_text(text)
    made = at("mel", "cube", "register", folder, "--name", "archived-image", "--json")
    assert made.code == 0, made.err
    assert made.json["contract"]["image"] == "image.tar"
    assert tarfile.is_tarfile(folder / "image.tar")
