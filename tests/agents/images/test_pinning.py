"""A tag becomes a digest once, in the pack: what is registered names bytes."""

from pathlib import Path

import pytest

from agents.images.pinning import pinned_folder, pinned_text
from cubes.contract import load_contract, parse_contract
from cubes.errors import ContractError
from cubes.image_reference import ImageReference, parse_reference
from cubes.packing import pack_folder

DIGEST = "sha256:" + "c" * 64
CONFIG = """\
# What our model is.
container_type: DockerImage
image: org/model:1   # the latest release
tasks:
  infer:
    input_volumes: {data_path: {mount_path: /in, type: directory}}
    output_volumes: {output_path: {mount_path: /out, type: directory}}
"""
MLCUBE = """\
docker:
  image: 'org/model:1'
tasks: {infer: {parameters: {inputs: {data_path: data/}, outputs: {output_path: out/}}}}
"""


class Registry:
    """Where a tag can move."""

    def __init__(self) -> None:
        self.now, self.asked = DIGEST, list[ImageReference]()

    def resolve(self, reference: ImageReference) -> str:
        self.asked.append(reference)
        return self.now


@pytest.fixture(params=["container_config.yaml", "mlcube.yaml"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "cube"
    folder.mkdir()
    (folder / request.param).write_text(CONFIG if request.param == "container_config.yaml" else MLCUBE)
    (folder / "README.md").write_text("about")
    return folder


class TestPin:
    def test_the_pack_holds_the_digest_and_the_folder_stays(self, folder: Path) -> None:
        before = {path.name: path.read_text() for path in folder.iterdir()}
        with pinned_folder(folder, Registry().resolve) as pinned:
            contract = load_contract(pinned.folder)
            assert contract.unpinned is None
            assert str(contract.image) == f"docker.io/org/model:1@{DIGEST}"
            assert {path.name for path in pinned.folder.iterdir()} == set(before)
        assert {path.name: path.read_text() for path in folder.iterdir()} == before

    def test_a_tag_that_moves_makes_another_pack(self, folder: Path, tmp_path: Path) -> None:
        registry, digests = Registry(), []
        for now in (DIGEST, DIGEST, "sha256:" + "d" * 64):
            registry.now = now
            with pinned_folder(folder, registry.resolve) as pinned:
                digests.append(pack_folder(pinned.folder, tmp_path / "pack.tar").digest)
        assert digests[0] == digests[1] != digests[2]

    def test_a_digest_is_not_asked_for_again(self, folder: Path) -> None:
        registry = Registry()
        with pinned_folder(folder, registry.resolve) as pinned, pinned_folder(pinned.folder, registry.resolve) as again:
            assert (again.folder, again.reference) == (pinned.folder, None)
        assert registry.asked == [parse_reference("org/model:1")]

    def test_comments_and_order_stay(self) -> None:
        text = pinned_text(CONFIG, parse_reference("org/model:1").pinned(DIGEST), "x")
        assert text == CONFIG.replace("org/model:1 ", f'"docker.io/org/model:1@{DIGEST}" ')
        assert parse_contract(text).unpinned is None

    def test_what_runs_nowhere_is_not_registered(self, tmp_path: Path) -> None:
        (tmp_path / "container_config.yaml").write_text(CONFIG.replace("DockerImage", "SingularityFile"))
        with pytest.raises(ContractError, match="apptainer"), pinned_folder(tmp_path, Registry().resolve):
            pass
