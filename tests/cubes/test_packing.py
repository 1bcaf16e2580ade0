"""A pack's digest is its content; an archive from a stranger unpacks to files below its folder, or to nothing."""

import gzip
import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cubes.errors import PackError
from cubes.packing import UnpackLimits, pack_folder, unpack

LIMITS = UnpackLimits()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cube"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.py").write_text("print()")
    (folder / "sub" / "run.sh").write_text("#!/bin/sh")
    (folder / "sub" / "run.sh").chmod(0o755)
    return folder


def _archive(path: Path, *entries: tarfile.TarInfo, content: bytes = b"x") -> Path:
    with tarfile.open(path, "w") as tar:
        for entry in entries:
            if entry.isreg():
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content) if entry.isreg() else None)
    return path


def _entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


class TestPack:
    def test_time_owner_and_umask_do_not_matter(self, folder: Path, tmp_path: Path) -> None:
        first = pack_folder(folder, tmp_path / "1.tar")
        for path in folder.rglob("*"):
            os.utime(path, (1, 1))
        (folder / "a.py").chmod(0o600)
        assert pack_folder(folder, tmp_path / "2.tar") == first

    def test_caches_are_left_out(self, folder: Path, tmp_path: Path) -> None:
        first = pack_folder(folder, tmp_path / "1.tar")
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"x")
        assert pack_folder(folder, tmp_path / "2.tar") == first

    @pytest.mark.parametrize("change", ["content", "name", "mode"])
    def test_what_matters_changes_the_digest(self, folder: Path, tmp_path: Path, change: str) -> None:
        first = pack_folder(folder, tmp_path / "1.tar")
        path = folder / "a.py"
        match change:
            case "content":
                path.write_text("print(1)")
            case "name":
                path.rename(folder / "b.py")
            case _:
                path.chmod(0o755)
        assert pack_folder(folder, tmp_path / "2.tar").digest != first.digest

    def test_a_link_is_refused(self, folder: Path, tmp_path: Path) -> None:
        (folder / "link").symlink_to("a.py")
        with pytest.raises(PackError, match="link"):
            pack_folder(folder, tmp_path / "1.tar")

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(PackError, match="empty"):
            pack_folder(tmp_path / "empty", tmp_path / "1.tar")

    def test_a_pipe_is_refused(self, folder: Path, tmp_path: Path) -> None:
        os.mkfifo(folder / "pipe")
        with pytest.raises(PackError, match="regular file"):
            pack_folder(folder, tmp_path / "1.tar")


class TestUnpack:
    def test_what_was_packed_comes_back(self, folder: Path, tmp_path: Path) -> None:
        pack_folder(folder, tmp_path / "1.tar")
        unpack(tmp_path / "1.tar", tmp_path / "out", LIMITS)
        assert (tmp_path / "out/sub/run.sh").read_text() == "#!/bin/sh"
        assert (tmp_path / "out/sub/run.sh").stat().st_mode & 0o111
        assert not (tmp_path / "out/a.py").stat().st_mode & 0o111

    def test_gzip_too(self, folder: Path, tmp_path: Path) -> None:
        pack_folder(folder, tmp_path / "1.tar")
        (tmp_path / "1.tar.gz").write_bytes(gzip.compress((tmp_path / "1.tar").read_bytes()))
        unpack(tmp_path / "1.tar.gz", tmp_path / "out", LIMITS)
        assert (tmp_path / "out/a.py").exists()

    @pytest.mark.parametrize(
        ("entry", "said"),
        [
            (lambda: _entry("../evil"), "clean relative"),
            (lambda: _entry("/etc/evil"), "clean relative"),
            (lambda: _entry("a/../../evil"), "clean relative"),
            (lambda: _entry("link", tarfile.SYMTYPE, "/etc/passwd"), "neither a file nor a folder"),
            (lambda: _entry("hard", tarfile.LNKTYPE, "a"), "neither a file nor a folder"),
            (lambda: _entry("device", tarfile.CHRTYPE), "neither a file nor a folder"),
            (lambda: _entry("pipe", tarfile.FIFOTYPE), "neither a file nor a folder"),
            (lambda: _entry("x" * 1_001), "clean relative"),
            (lambda: _entry("new\nline"), "control character"),
        ],
    )
    def test_what_is_dangerous_is_refused_and_leaves_nothing(
        self, tmp_path: Path, entry: Callable[[], tarfile.TarInfo], said: str
    ) -> None:
        archive = _archive(tmp_path / "bad.tar", _entry("good"), entry())
        with pytest.raises(PackError, match=said):
            unpack(archive, tmp_path / "out", LIMITS)
        assert [path.name for path in tmp_path.iterdir()] == ["bad.tar"]

    def test_a_name_twice_is_refused(self, tmp_path: Path) -> None:
        archive = _archive(tmp_path / "bad.tar", _entry("a"), _entry("./a"))
        with pytest.raises(PackError, match="twice"):
            unpack(archive, tmp_path / "out", LIMITS)

    def test_a_bomb_is_refused(self, tmp_path: Path) -> None:
        archive = _archive(tmp_path / "bomb.tar", _entry("a"), content=bytes(5_000))
        with pytest.raises(PackError, match="more than 4096 bytes"):
            unpack(archive, tmp_path / "out", UnpackLimits(bytes=4096))

    def test_too_many_entries_are_refused(self, tmp_path: Path) -> None:
        archive = _archive(tmp_path / "many.tar", *(_entry(str(n)) for n in range(9)))
        with pytest.raises(PackError, match="more than 8 entries"):
            unpack(archive, tmp_path / "out", UnpackLimits(files=8))

    @pytest.mark.parametrize("content", [b"", b"not an archive at all", b"\x1f\x8bbroken"])
    def test_what_is_no_archive(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.tar").write_bytes(content)
        with pytest.raises(PackError, match="cannot be unpacked"):
            unpack(tmp_path / "x.tar", tmp_path / "out", LIMITS)

    def test_a_truncated_archive_leaves_nothing(self, folder: Path, tmp_path: Path) -> None:
        pack_folder(folder, tmp_path / "1.tar")
        (tmp_path / "2.tar").write_bytes((tmp_path / "1.tar").read_bytes()[:700])
        with pytest.raises(PackError):
            unpack(tmp_path / "2.tar", tmp_path / "out", LIMITS)
        assert not (tmp_path / "out").exists()


_names = st.text(st.characters(categories=["L", "N"], include_characters=" -_"), min_size=1, max_size=12).filter(
    lambda name: name.strip() == name and name != "__pycache__"
)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(_names, st.binary(max_size=64), min_size=1, max_size=6))
def test_any_content_comes_back(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "in")
        source.mkdir()
        for name, content in files.items():
            (source / name).write_bytes(content)
        packed = pack_folder(source, Path(place, "1.tar"))
        unpack(Path(place, "1.tar"), Path(place, "out"), LIMITS)
        found = {path.name: path.read_bytes() for path in Path(place, "out").iterdir()}
        assert found == files
        assert pack_folder(Path(place, "out"), Path(place, "2.tar")) == packed
