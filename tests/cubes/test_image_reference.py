"""References are read as an engine reads them; what names no bytes is found out."""

import pytest

from cubes.contract import parse_contract
from cubes.errors import ContractError
from cubes.image_reference import parse_reference

DIGEST = "sha256:" + "0" * 64
TASK = """
tasks:
  infer:
    input_volumes: {data_path: {mount_path: /in, type: directory}}
    output_volumes: {output_path: {mount_path: /out, type: directory}}
"""


class TestParse:
    @pytest.mark.parametrize(
        ("text", "name", "tag", "digest"),
        [
            ("busybox", "docker.io/library/busybox", "latest", None),
            ("org/model:1.0", "docker.io/org/model", "1.0", None),
            ("hospital.example/a/b:x", "hospital.example/a/b", "x", None),
            ("127.0.0.1:5000/model", "127.0.0.1:5000/model", "latest", None),
            ("localhost/model:1", "localhost/model", "1", None),
            (f"org/model@{DIGEST}", "docker.io/org/model", None, DIGEST),
            (f"r.example:5000/m:1@{DIGEST}", "r.example:5000/m", "1", DIGEST),
        ],
    )
    def test_parts(self, text: str, name: str, tag: str | None, digest: str | None) -> None:
        reference = parse_reference(text)
        assert (reference.name, reference.tag, reference.digest) == (name, tag, digest)
        assert parse_reference(str(reference)) == reference

    @pytest.mark.parametrize(
        "text", ["", "Upper/case", "a//b", "a/../b", "m:ta g", "m@sha256:123", "m@md5:" + "0" * 64, "-x/y:1", "m:" + "x" * 200]
    )  # fmt: skip
    def test_refusals(self, text: str) -> None:
        with pytest.raises(ValueError, match="image"):
            parse_reference(text)


class TestPin:
    def test_a_tag_names_no_bytes(self) -> None:
        contract = parse_contract("container_type: DockerImage\nimage: org/model:1" + TASK)
        assert contract.unpinned is not None
        assert "'org/model:1'" in contract.unpinned

    def test_a_digest_does(self) -> None:
        contract = parse_contract(f"container_type: DockerImage\nimage: org/model:1@{DIGEST}" + TASK)
        assert contract.unpinned is None
        assert contract.reference.digest == DIGEST

    def test_an_archive_at_a_url_needs_its_digest(self) -> None:
        text = "container_type: DockerArchive\nimage: https://files.example/model.tar" + TASK
        assert parse_contract(text).unpinned is not None
        assert parse_contract(text + f"archive_digest: {DIGEST}").unpinned is None

    def test_an_archive_in_the_pack_is_part_of_its_digest(self) -> None:
        assert parse_contract("container_type: DockerArchive\nimage: image.tar" + TASK).unpinned is None


class TestFileSystem:
    @pytest.mark.parametrize(
        ("head", "disposable"),
        [
            ("container_type: DockerImage\nimage: m", True),
            ("container_type: DockerImage\nimage: m\nfile_system: read_only", False),
        ],
    )
    def test_images_of_others_may_write_to_their_own(self, head: str, *, disposable: bool) -> None:
        assert parse_contract(head + TASK).disposable_root is disposable

    def test_a_folder_may_not(self) -> None:
        task = TASK.replace("  infer:\n", "  infer:\n    run_args: {command: x}\n")
        assert not parse_contract("container_type: Folder" + task).disposable_root
        with pytest.raises(ContractError, match="a Folder is read-only"):
            parse_contract("container_type: Folder\nfile_system: disposable" + task)


class TestTwins:
    def test_labels_may_lie_with_the_data(self) -> None:
        """Some images take one mount for both."""
        contract = parse_contract(
            """
            container_type: DockerImage
            image: m
            tasks:
              sanity_check:
                input_volumes:
                  data_path: {mount_path: /data, type: directory}
                  labels_path: {mount_path: /data, type: directory}
            """
        )
        assert [list(task.input_volumes) for task in contract.tasks.values()] == [["data_path"]]
