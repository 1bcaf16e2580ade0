"""`assay site storage`: what takes space, what may go, and what is no longer what it was."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.cube_store import CubeStore
from agents.staging import output_places
from agents.store.datasets import add_dataset, update_dataset
from agents.store.tables import DatasetState, Role
from api.schemas.cubes import CubeKind, CubeRef
from cubes.contract import TaskName, load_contract
from cubes.digests import digest_bytes, digest_file
from cubes.packing import pack_folder
from tests.cli.support import ROOT, Assay, Here

OLD_S = 7 * 86_400


def _old(path: Path) -> Path:
    os.utime(path, (time.time() - OLD_S,) * 2)
    return path


@pytest.fixture
def leftover(here: Here) -> Path:
    """A cube that the registry no longer asks for."""
    here.tell("forest")
    place = here.home.folder("cubes") / ("f" * 64)
    place.mkdir()
    (place / "content").write_bytes(bytes(1_000))
    return _old(place)


@pytest.fixture
def cube(here: Here, tmp_path: Path) -> Path:
    """The place of a cube as the site fetched it."""
    here.tell("forest")
    archive = tmp_path / "pack.tar"
    digest = pack_folder(ROOT / "tests" / "staged_preparator", archive).digest

    def fetch(_digest: str, target: Path) -> None:
        target.write_bytes(archive.read_bytes())

    store = CubeStore(here.home.folder("cubes"), fetch)
    ref = CubeRef(
        id=1,
        name="p",
        kind=CubeKind.DATA_PREPARATOR,
        pack_digest=digest,
        additional_files_digest=None,
        parameters={},
        parameters_digest=None,
    )
    return store.bundle(ref).folder.parent


@pytest.mark.usefixtures("operator")
class TestUse:
    def test_by_kind_the_largest_first(self, assay: Assay, leftover: Path, here: Here) -> None:
        (here.home.folder("logs") / "step.log").write_bytes(bytes(3_000_000))
        found = assay("site", "storage", "--json").json
        assert found["use"][0] == {"part": "logs", "files": 1, "bytes": 3_000_000}
        assert {"part": "cubes", "files": 1, "bytes": 1_000} in found["use"]
        assert [each["path"] for each in found["removable"]] == [str(leftover)]
        out = assay("site", "storage").out
        assert "Could be removed (--prune)" in out
        assert leftover.exists()

    def test_a_viewer_may_look_and_not_prune(
        self, assay: Assay, leftover: Path, signed_in: Callable[[Role], None]
    ) -> None:
        signed_in(Role.VIEWER)
        assert assay("site", "storage").code == 0
        assert assay("site", "storage", "--prune").code == 4
        assert leftover.exists()


@pytest.mark.usefixtures("operator")
class TestPrune:
    def test_a_dry_run_says_what_would_go(self, assay: Assay, leftover: Path) -> None:
        found = assay("site", "storage", "--prune", "--dry-run", "--json").json
        assert [each["why"] for each in found["removable"]] == ["nothing refers to it"]
        assert leftover.exists()

    def test_what_nothing_refers_to_goes(self, assay: Assay, leftover: Path) -> None:
        assert len(assay("site", "storage", "--prune", "--json").json["removed"]) == 1
        assert not leftover.exists()

    @pytest.mark.parametrize(("state", "stays"), [(DatasetState.FAILED, True), (DatasetState.REJECTED, False)])
    def test_what_people_did_in_a_preparation_that_failed_stays(
        self, assay: Assay, here: Here, tmp_path: Path, state: DatasetState, *, stays: bool
    ) -> None:
        here.tell("forest")
        folder = here.home.folder("prepared") / "0123456789ab"
        output_places(folder, load_contract(ROOT / "tests" / "staged_preparator").tasks[TaskName.PREPARE])
        _old(folder)
        with here.store.write() as session:
            add_dataset(
                session, name="d1", title="D", benchmark_id=4, data_path=tmp_path, labels_path=tmp_path, requested_by=1
            )
            update_dataset(session, "d1", folder=str(folder), state=state)
        assert assay("site", "storage", "--prune").code == 0
        assert folder.exists() is stays


@pytest.mark.usefixtures("operator")
class TestCheck:
    def test_what_is_whole_is_said_to_be(self, assay: Assay, cube: Path) -> None:
        assert cube.is_dir()
        ended = assay("site", "storage", "--check", "--json")
        assert (ended.code, ended.json["changed"]) == (0, [])

    def test_a_byte_of_a_cube_that_changed_is_ten(self, assay: Assay, cube: Path) -> None:
        program = cube / "content" / "prepare.py"
        program.chmod(0o644)
        program.write_bytes(program.read_bytes().replace(b"reviewed", b"reviewes", 1))
        ended = assay("site", "storage", "--check")
        assert ended.code == 10
        assert cube.name in ended.err

    def test_a_byte_of_a_download_that_changed_is_ten(self, assay: Assay, here: Here) -> None:
        here.tell("forest")
        kept = here.home.folder("downloads") / digest_bytes(b"weights").removeprefix("sha256:")
        kept.write_bytes(b"weights")
        assert assay("site", "storage", "--check").code == 0
        kept.write_bytes(b"weighty")
        assert digest_file(kept) != f"sha256:{kept.name}"
        assert assay("site", "storage", "--check").code == 10
