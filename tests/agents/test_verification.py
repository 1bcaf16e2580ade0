"""A dataset is verified quickly while nothing about its files changed, and fully whenever that could deceive."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agents import verification
from agents.errors import DatasetChangedError, InvalidInputError
from agents.home import write_private
from agents.manifest import build_manifest, fingerprint
from agents.verification import Verified, dataset_parts, verify_dataset

DAY = 86_400.0
Verify = Callable[..., Verified]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Twenty data files, two label files, and their manifest; all settled."""
    folder = tmp_path / "dataset"
    for number in range(20):
        path = folder / "data" / f"case-{number % 4}" / f"{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"case {number}")
    (folder / "labels").mkdir()
    for name in ("x", "y"):
        (folder / "labels" / name).write_text(f"label {name}")
    write_private(folder / "manifest.json", build_manifest(dataset_parts(folder)).model_dump_json())
    return folder


@pytest.fixture
def root(dataset: Path) -> str:
    return build_manifest(dataset_parts(dataset)).root


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record"


@pytest.fixture
def verify(dataset: Path, root: str, record: Path) -> Verify:
    def run(*, full: bool = False, full_every_s: float = DAY) -> Verified:
        return verify_dataset("d1", dataset, root, record, full=full, full_every_s=full_every_s)

    return run


@pytest.fixture
def settled(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything was verified once, and as if long enough ago that each file's times can be relied upon."""
    monkeypatch.setattr(verification, "_SETTLED_NS", -1)
    verify()


def _replace(path: Path, text: str) -> None:
    """Another content of the same length, with the old mtime put back: all that an ordinary user can hide."""
    before = path.stat()
    assert len(text) == before.st_size
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


class TestQuickLook:
    def test_the_first_look_reads_everything(self, verify: Verify) -> None:
        assert verify() == Verified(full=True, files=22, read=22)

    @pytest.mark.usefixtures("settled")
    def test_nothing_is_read_while_nothing_changed(self, verify: Verify) -> None:
        assert verify() == Verified(full=False, files=22, read=0)

    @pytest.mark.usefixtures("settled")
    def test_a_file_that_was_only_touched_is_read_once(self, verify: Verify, dataset: Path) -> None:
        (dataset / "labels" / "x").touch()
        assert verify().read == 1
        assert verify().read == 0

    def test_what_changed_a_moment_ago_is_read_again(self, verify: Verify) -> None:
        """Within one tick of the file system's clock a second change would leave no trace."""
        verify()
        assert verify() == Verified(full=False, files=22, read=22)

    @pytest.mark.usefixtures("settled")
    def test_a_change_with_its_mtime_put_back_is_noticed(self, verify: Verify, dataset: Path, root: str) -> None:
        _replace(dataset / "data" / "case-1" / "5.csv", "case 6")
        with pytest.raises(DatasetChangedError) as caught:
            verify()
        assert caught.value.files == ["data/case-1/5.csv"]
        assert root in str(caught.value)
        assert build_manifest(dataset_parts(dataset)).root in str(caught.value)

    @pytest.mark.usefixtures("settled")
    @pytest.mark.parametrize("change", ["add", "remove", "exchange"])
    def test_a_file_more_less_or_another_is_noticed(self, verify: Verify, dataset: Path, change: str) -> None:
        if change != "add":
            (dataset / "labels" / "x").unlink()
        if change != "remove":
            (dataset / "labels" / "z").write_text("label x")
        with pytest.raises(DatasetChangedError) as caught:
            verify()
        assert caught.value.files == {"add": ["labels/z"], "remove": ["labels/x"]}.get(change, ["labels/x", "labels/z"])

    @pytest.mark.usefixtures("settled")
    def test_two_files_that_swap_names_are_noticed(self, verify: Verify, dataset: Path) -> None:
        x, y, aside = (dataset / "labels" / name for name in ("x", "y", "aside"))
        x.rename(aside)
        y.rename(x)
        aside.rename(y)
        with pytest.raises(DatasetChangedError, match="labels/x"):
            verify()

    @pytest.mark.usefixtures("settled")
    def test_a_link_in_the_place_of_a_file_is_refused(self, verify: Verify, dataset: Path, tmp_path: Path) -> None:
        (tmp_path / "same").write_text("label x")
        (dataset / "labels" / "x").unlink()
        (dataset / "labels" / "x").symlink_to(tmp_path / "same")
        with pytest.raises(InvalidInputError, match="'x' is not a regular file"):
            verify()

    @pytest.mark.usefixtures("settled")
    def test_after_a_refusal_nothing_is_taken_for_verified(self, verify: Verify, dataset: Path) -> None:
        _replace(dataset / "labels" / "x", "label y")
        for _ in range(2):
            with pytest.raises(DatasetChangedError):
                verify()
        _replace(dataset / "labels" / "x", "label x")
        assert verify().read == 1


class TestManifest:
    @pytest.mark.usefixtures("settled")
    def test_an_edited_manifest_is_noticed_though_data_and_manifest_agree(
        self, verify: Verify, dataset: Path, root: str
    ) -> None:
        (dataset / "labels" / "x").write_text("label X")
        edited = build_manifest(dataset_parts(dataset))
        write_private(dataset / "manifest.json", edited.model_dump_json())
        with pytest.raises(DatasetChangedError) as caught:
            verify()
        assert caught.value.files == ["manifest.json"]
        assert (caught.value.registered, caught.value.found) == (root, edited.root)

    @pytest.mark.usefixtures("settled")
    @pytest.mark.parametrize("damage", [None, "", "{", '{"parts": 1}'])
    def test_a_manifest_that_cannot_be_read_is_a_change(
        self, verify: Verify, dataset: Path, damage: str | None
    ) -> None:
        (dataset / "manifest.json").unlink()
        if damage is not None:
            (dataset / "manifest.json").write_text(damage)
        with pytest.raises(DatasetChangedError, match=r"manifest\.json"):
            verify()


class TestFullLook:
    @pytest.mark.usefixtures("settled")
    def test_on_demand_every_byte_is_read(self, verify: Verify) -> None:
        assert verify(full=True) == Verified(full=True, files=22, read=22)

    @pytest.mark.usefixtures("settled")
    def test_it_does_not_believe_the_record(self, verify: Verify, dataset: Path, record: Path) -> None:
        """Somebody changed a file, then wrote the new fingerprint into the record."""
        changed = dataset / "labels" / "x"
        before = fingerprint(changed.stat())
        _replace(changed, "label y")
        text = record.read_text()
        assert before in text
        record.write_text(text.replace(before, fingerprint(changed.stat())))
        assert verify().read == 0
        with pytest.raises(DatasetChangedError, match="labels/x"):
            verify(full=True)

    @pytest.mark.usefixtures("settled")
    def test_it_is_due_when_the_last_one_is_too_old(self, verify: Verify) -> None:
        assert verify(full_every_s=0.0).full
        assert not verify().full

    @pytest.mark.usefixtures("settled")
    def test_quick_looks_do_not_put_it_off(self, verify: Verify, dataset: Path, record: Path) -> None:
        first = json.loads(record.read_text().partition("\n")[0])["full_at"]
        (dataset / "labels" / "x").touch()
        verify()
        assert json.loads(record.read_text().partition("\n")[0])["full_at"] == first

    @pytest.mark.usefixtures("settled")
    def test_a_record_from_the_future_is_not_believed(self, verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
        """The clock was set back: nobody knows how old the record is."""
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 3600)
        assert verify().full

    @pytest.mark.usefixtures("settled")
    @pytest.mark.parametrize("damage", ["", "not json\n", '{"format": 99}\n', '{"full_at": "x"}\n', "[]\n", "\x00\n"])
    def test_a_record_that_is_damaged_is_made_anew(self, verify: Verify, record: Path, damage: str) -> None:
        record.write_text(damage)
        assert verify().full
        assert not verify().full

    @pytest.mark.usefixtures("settled")
    def test_a_record_of_another_root_is_of_no_use(
        self, dataset: Path, record: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = "sha256:" + "0" * 64
        monkeypatch.setattr(verification, "build_manifest", None)  # it must not come to reading
        with pytest.raises(DatasetChangedError, match=other):
            verify_dataset("d1", dataset, other, record, full=False, full_every_s=DAY)


def test_names_of_every_kind_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "_SETTLED_NS", -1)
    folder = tmp_path / "d"
    (folder / "data" / "ü 1\nnext").mkdir(parents=True)
    for name in ("日本", "a\tb", 'q"', "sp ace"):
        (folder / "data" / "ü 1\nnext" / name).write_text(name)
    manifest = build_manifest(dataset_parts(folder))
    write_private(folder / "manifest.json", manifest.model_dump_json())
    for expected in (8, 0):  # four files, each as data and as labels
        found = verify_dataset("d", folder, manifest.root, tmp_path / "record", full=False, full_every_s=DAY)
        assert found.read == expected
