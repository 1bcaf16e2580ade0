"""The cube store: what was approved is what runs, or nothing."""

import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.cube_store import CubeStore, CubeUnavailableError
from agents.environments import EnvironmentCache
from api.schemas.cubes import CubeKind, CubeRef
from cubes.digests import digest_file, digest_of
from cubes.packing import UnpackLimits, pack_folder

CONTRACT = """
container_type: Folder
tasks:
  infer:
    run_args: {command: python3 main.py}
    input_volumes:
      data_path: {mount_path: /in/data, type: directory}
    output_volumes:
      output_path: {mount_path: /out/predictions, type: directory}
"""


class Blobs:
    """A registry's blobs; counts what is fetched."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fetched = folder, list[str]()
        folder.mkdir()

    def add(self, **files: str) -> str:
        source = self.folder / "source"
        for name, text in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        packed = pack_folder(source, self.folder / "new.tar")
        shutil.rmtree(source)
        (self.folder / "new.tar").rename(self.path(packed.digest))
        return packed.digest

    def path(self, digest: str) -> Path:
        return self.folder / digest.removeprefix("sha256:")

    def fetch(self, digest: str, target: Path) -> None:
        self.fetched.append(digest)
        shutil.copyfile(self.path(digest), target)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


@pytest.fixture
def pack(blobs: Blobs) -> str:
    return blobs.add(**{"container_config.yaml": CONTRACT, "main.py": "print('hello')\n", "deep/er.txt": "x"})


@pytest.fixture
def store(tmp_path: Path, blobs: Blobs) -> CubeStore:
    return CubeStore(tmp_path / "cubes", blobs.fetch)


@pytest.fixture
def ref(pack: str) -> Callable[..., CubeRef]:
    def make(**changes: Any) -> CubeRef:
        values = {"id": 1, "name": "model", "kind": CubeKind.MODEL, "pack_digest": pack, "parameters": {}}
        return CubeRef.model_validate({**values, "additional_files_digest": None, "parameters_digest": None, **changes})

    return make


Ref = Callable[..., CubeRef]


class TestBundle:
    def test_a_cube_is_unpacked_with_its_contract(self, store: CubeStore, ref: Ref, pack: str) -> None:
        bundle = store.bundle(ref())
        assert (bundle.folder / "main.py").read_text() == "print('hello')\n"
        assert list(bundle.contract.tasks) == ["infer"]
        assert bundle.pack_digest == pack
        assert (bundle.additional_files, bundle.parameters_file) == (None, None)

    def test_additional_files_come_along(self, store: CubeStore, ref: Ref, blobs: Blobs) -> None:
        bundle = store.bundle(ref(additional_files_digest=blobs.add(weights="1 2 3")))
        assert bundle.additional_files is not None
        assert (bundle.additional_files / "weights").read_text() == "1 2 3"

    def test_parameters_become_a_file(self, store: CubeStore, ref: Ref) -> None:
        parameters = {"threshold": 0.5, "names": ["a", "b"]}
        bundle = store.bundle(ref(parameters=parameters, parameters_digest=digest_of(parameters)))
        assert bundle.parameters_file is not None
        assert yaml.safe_load(bundle.parameters_file.read_text()) == parameters

    def test_nothing_in_it_can_be_changed_by_mistake(self, store: CubeStore, ref: Ref) -> None:
        folder = store.bundle(ref()).folder
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
        assert modes == {
            "content": 0o555, "main.py": 0o444, "container_config.yaml": 0o444, "deep": 0o555, "er.txt": 0o444,
        }  # fmt: skip

    def test_it_is_fetched_once(self, store: CubeStore, ref: Ref, blobs: Blobs, pack: str) -> None:
        assert store.bundle(ref()) == store.bundle(ref())
        assert blobs.fetched == [pack]

    def test_its_environment_is_made_ready_too(self, tmp_path: Path, blobs: Blobs, ref: Ref) -> None:
        """A list that cannot be used is found out here, not in the middle of an execution."""
        bad = blobs.add(**{"container_config.yaml": "requirements: list.lock" + CONTRACT, "list.lock": "numpy\n"})
        store = CubeStore(tmp_path / "cubes", blobs.fetch, EnvironmentCache(tmp_path / "environments"))
        with pytest.raises(CubeUnavailableError, match="'numpy', which is no name==version"):
            store.bundle(ref(pack_digest=bad))


class TestTampering:
    @pytest.mark.parametrize("how", ["change", "add", "remove", "link"])
    def test_a_changed_copy_is_fetched_again(self, store: CubeStore, ref: Ref, blobs: Blobs, how: str) -> None:
        folder = store.bundle(ref()).folder
        folder.chmod(0o755)
        target = folder / "main.py"
        if how == "add":
            (folder / "more.py").write_text("print('added')")
        else:
            target.unlink()
        if how == "change":
            target.write_text("print('other')\n")
        if how == "link":
            target.symlink_to("/etc/passwd")
        again = store.bundle(ref()).folder
        assert (again / "main.py").read_text() == "print('hello')\n"
        assert not (again / "more.py").exists()
        assert len(blobs.fetched) == 2

    def test_a_copy_under_another_cubes_name_is_not_believed(
        self, store: CubeStore, ref: Ref, blobs: Blobs, tmp_path: Path, pack: str
    ) -> None:
        other = blobs.add(**{"container_config.yaml": CONTRACT, "main.py": "print('other')\n"})
        place = store.bundle(ref(pack_digest=other)).folder.parent
        place.rename(tmp_path / "cubes" / pack.removeprefix("sha256:"))
        assert (store.bundle(ref()).folder / "main.py").read_text() == "print('hello')\n"

    def test_what_a_crash_left_is_removed(self, store: CubeStore, ref: Ref, tmp_path: Path, pack: str) -> None:
        place = store.bundle(ref()).folder.parent
        place.rename(place.with_name(f".{place.name}.half"))
        store.bundle(ref())
        names = {path.name for path in (tmp_path / "cubes").iterdir()}
        assert names == {place.name, f"{pack.removeprefix('sha256:')}.lock"}


class TestRefuse:
    def test_another_blob_than_was_approved(self, store: CubeStore, ref: Ref, blobs: Blobs, pack: str) -> None:
        other = blobs.add(**{"container_config.yaml": CONTRACT, "main.py": "print('other')\n"})
        shutil.copyfile(blobs.path(other), blobs.path(pack))
        with pytest.raises(CubeUnavailableError) as caught:
            store.bundle(ref())
        assert f"wanted {pack}, got {other}" in str(caught.value)
        assert "'model'" in str(caught.value)

    def test_other_parameters_than_were_approved(self, store: CubeStore, ref: Ref) -> None:
        wanted = digest_of({"threshold": 0.5})
        with pytest.raises(CubeUnavailableError, match=f"wanted parameters {wanted}"):
            store.bundle(ref(parameters={"threshold": 0.1}, parameters_digest=wanted))

    def test_a_blob_that_cannot_be_had(self, store: CubeStore, ref: Ref, blobs: Blobs, pack: str) -> None:
        blobs.path(pack).unlink()
        with pytest.raises(CubeUnavailableError, match=f"the blob {pack} cannot be fetched"):
            store.bundle(ref())

    def test_a_blob_that_is_no_archive(self, store: CubeStore, ref: Ref, blobs: Blobs) -> None:
        (blobs.folder / "junk").write_bytes(b"junk" * 1000)
        digest = digest_file(blobs.folder / "junk")
        (blobs.folder / "junk").rename(blobs.path(digest))
        with pytest.raises(CubeUnavailableError, match="cannot be unpacked"):
            store.bundle(ref(pack_digest=digest))

    def test_a_blob_that_becomes_too_much(self, tmp_path: Path, ref: Ref, blobs: Blobs) -> None:
        small = CubeStore(tmp_path / "cubes", blobs.fetch, limits=UnpackLimits(bytes=10))
        with pytest.raises(CubeUnavailableError, match="more than 10 bytes"):
            small.bundle(ref())

    def test_a_cube_without_a_contract(self, store: CubeStore, ref: Ref, blobs: Blobs) -> None:
        with pytest.raises(CubeUnavailableError, match=r"container_config\.yaml"):
            store.bundle(ref(pack_digest=blobs.add(**{"main.py": ""})))

    def test_nothing_is_left_of_a_refusal(
        self, store: CubeStore, ref: Ref, blobs: Blobs, pack: str, tmp_path: Path
    ) -> None:
        blobs.path(pack).write_bytes(b"junk")
        with pytest.raises(CubeUnavailableError):
            store.bundle(ref())
        assert [path.suffix for path in (tmp_path / "cubes").iterdir()] == [".lock"]
