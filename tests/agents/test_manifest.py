"""A manifest notices every change of a dataset, and says which file."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import DatasetChangedError, InvalidInputError
from agents.manifest import FileEntry, Manifest, build_manifest, entries_of, verify_manifest, walk
from cubes.digests import digest_bytes, digest_of


@pytest.fixture
def folders(tmp_path: Path) -> Mapping[str, Path]:
    for part, names in {"data": ["a.csv", "sub/b.csv"], "labels": ["x.csv", "y.csv"]}.items():
        for name in names:
            path = tmp_path / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"content of {part}/{name}")
    return {"data": tmp_path / "data", "labels": tmp_path / "labels"}


class TestBuild:
    def test_the_same_files_give_the_same_roots(self, folders: Mapping[str, Path]) -> None:
        first, second = build_manifest(folders), build_manifest(folders)
        assert first == second
        assert first.root == second.root

    def test_parts_have_roots_of_their_own(self, folders: Mapping[str, Path]) -> None:
        manifest = build_manifest(folders)
        assert manifest.root_of("data") != manifest.root_of("labels")
        assert manifest.root_of("metadata") is None

    def test_it_comes_back_from_json(self, folders: Mapping[str, Path]) -> None:
        manifest = build_manifest(folders)
        assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest

    @pytest.mark.parametrize("target", ["/etc/passwd", "a.csv"])
    def test_a_link_is_refused(self, folders: Mapping[str, Path], target: str) -> None:
        (folders["data"] / "link").symlink_to(target)
        with pytest.raises(InvalidInputError, match="'link' is not a regular file"):
            build_manifest(folders)

    def test_a_linked_folder_is_refused(self, folders: Mapping[str, Path], tmp_path: Path) -> None:
        (folders["data"] / "elsewhere").symlink_to(tmp_path / "labels", target_is_directory=True)
        with pytest.raises(InvalidInputError, match="elsewhere"):
            build_manifest(folders)

    def test_a_pipe_is_refused_and_not_opened(self, folders: Mapping[str, Path]) -> None:
        os.mkfifo(folders["data"] / "pipe")
        with pytest.raises(InvalidInputError, match="pipe"):
            build_manifest(folders)


class TestVerify:
    def test_untouched_files_pass(self, folders: Mapping[str, Path]) -> None:
        verify_manifest("d", build_manifest(folders), folders)

    def test_a_changed_byte_names_the_file_and_both_roots(self, folders: Mapping[str, Path]) -> None:
        manifest = build_manifest(folders)
        (folders["data"] / "sub/b.csv").write_text("content of data/sub/B.csv")
        with pytest.raises(DatasetChangedError) as caught:
            verify_manifest("d", manifest, folders)
        assert caught.value.files == ["data/sub/b.csv"]
        assert manifest.root in str(caught.value)
        assert build_manifest(folders).root in str(caught.value)

    def test_two_label_files_that_swap_names_are_noticed(self, folders: Mapping[str, Path]) -> None:
        manifest = build_manifest(folders)
        x, y = folders["labels"] / "x.csv", folders["labels"] / "y.csv"
        x_content, y_content = x.read_text(), y.read_text()
        x.write_text(y_content)
        y.write_text(x_content)
        with pytest.raises(DatasetChangedError) as caught:
            verify_manifest("d", manifest, folders)
        assert caught.value.files == ["labels/x.csv", "labels/y.csv"]

    @pytest.mark.parametrize("change", ["add", "remove"])
    def test_a_file_more_or_less_is_noticed(self, folders: Mapping[str, Path], change: str) -> None:
        manifest = build_manifest(folders)
        path = folders["data"] / ("new.csv" if change == "add" else "a.csv")
        path.write_text("x") if change == "add" else path.unlink()
        with pytest.raises(DatasetChangedError, match=path.name):
            verify_manifest("d", manifest, folders)


_entries = st.lists(
    st.builds(
        FileEntry,
        path=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8),
        size=st.integers(0, 99),
        sha256=st.binary(min_size=32, max_size=32).map(lambda raw: "sha256:" + raw.hex()),
    ),
    max_size=4,
).map(tuple)


@given(_entries, _entries, _entries, _entries)
def test_roots_are_equal_exactly_when_the_parts_are(
    data: tuple[FileEntry, ...],
    labels: tuple[FileEntry, ...],
    other_data: tuple[FileEntry, ...],
    other: tuple[FileEntry, ...],
) -> None:
    one = Manifest(parts={"data": data, "labels": labels})
    two = Manifest(parts={"data": other_data, "labels": other})
    assert (one.root == two.root) == (dict(one.parts) == dict(two.parts))


@given(st.lists(st.builds(FileEntry, path=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    size=st.integers(0, 2**53 - 1), sha256=st.just("sha256:" + "0" * 64)), max_size=3))  # fmt: skip
def test_the_root_of_a_part_is_the_digest_of_its_canonical_form(entries: list[FileEntry]) -> None:
    plain = [[entry.path, entry.size, entry.sha256] for entry in entries]
    assert Manifest(parts={"data": tuple(entries)}).root_of("data") == digest_of(plain)


def test_a_file_that_is_written_while_it_is_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "growing").write_text("first")
    found = list(walk(tmp_path))
    (tmp_path / "growing").write_text("second")
    with pytest.raises(InvalidInputError, match="'growing' was written to"):
        entries_of(tmp_path, found)


def test_large_files_are_read_to_their_end(tmp_path: Path) -> None:
    content = os.urandom(3 * 2**20 + 17)
    (tmp_path / "large").write_bytes(content)
    (entry,) = build_manifest({"data": tmp_path}).parts["data"]
    assert (entry.size, entry.sha256) == (len(content), digest_bytes(content))
