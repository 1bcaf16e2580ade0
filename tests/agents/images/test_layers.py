"""Layers are unpacked as an engine would, and nothing of them gets out of the root, whatever they try."""

import gzip
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from agents.images.documents import ImageLimits
from agents.images.errors import ImageRefusedError, ImageTamperedError
from agents.images.layers import Unpacker
from cubes.digests import digest_bytes

LIMITS = ImageLimits(unpacked_bytes=1 << 20, entries=100)
DIR = {"type": tarfile.DIRTYPE, "mode": 0o755}
Apply = Callable[..., Path]
Entry = tuple[str, dict[str, Any], bytes]


def _link(target: str, kind: bytes = tarfile.SYMTYPE) -> dict[str, Any]:
    return {"type": kind, "linkname": target}


@pytest.fixture(params=[gzip.compress, zstandard.compress, bytes], ids=["gzip", "zstd", "plain"])
def pack(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    """Each way in which a layer may travel."""
    compress: Callable[[bytes], bytes] = request.param
    return compress


@pytest.fixture
def apply(make_image: Callable[..., Any], tmp_path: Path, pack: Callable[[bytes], bytes]) -> Apply:
    """Unpack layers one over the other; what lies beside the root must stay as it is."""
    root = tmp_path / "place" / "root"
    root.mkdir(parents=True)
    (tmp_path / "place" / "secret").write_text("secret")

    def apply(*layers: list[Any], limits: ImageLimits = LIMITS) -> Path:
        unpacker = Unpacker(root, limits)
        for layer in make_image(*layers).layers:
            (tmp_path / "layer").write_bytes(pack(layer))
            unpacker.apply(tmp_path / "layer", digest_bytes(layer))
        return root

    return apply


@pytest.fixture(autouse=True)
def _nothing_beside_the_root_changed(tmp_path: Path) -> Any:
    yield
    assert {path.name for path in (tmp_path / "place").iterdir()} == {"root", "secret"}
    assert (tmp_path / "place" / "secret").read_text() == "secret"


class TestApply:
    def test_a_later_layer_lies_over_an_earlier(self, apply: Apply) -> None:
        root = apply([("a", {}, b"1"), ("b", {}, b"1")], [("a", {}, b"2")])
        assert ((root / "a").read_bytes(), (root / "b").read_bytes()) == (b"2", b"1")

    def test_modes_without_setuid_and_times(self, apply: Apply) -> None:
        root = apply([("bin/su", {"mode": 0o6755, "mtime": 1234567}, b"x")])
        status = (root / "bin/su").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o755, 1234567)

    def test_closed_folders_stay_the_callers(self, apply: Apply) -> None:
        root = apply([("etc", {**DIR, "mode": 0}, b""), ("etc/shadow", {"mode": 0}, b"x")])
        assert (root / "etc/shadow").read_bytes() == b"x"

    def test_links_stay_as_they_are(self, apply: Apply) -> None:
        root = apply([("usr/bin", DIR, b""), ("bin", _link("usr/bin"), b""), ("bin/sh", {}, b"#!")])
        assert (root / "usr/bin/sh").read_bytes() == b"#!"
        assert (root / "bin").is_symlink()

    def test_hard_links_share_a_file(self, apply: Apply) -> None:
        root = apply([("a", {}, b"1"), ("b", _link("a", tarfile.LNKTYPE), b"")])
        assert (root / "a").stat().st_ino == (root / "b").stat().st_ino

    def test_a_file_replaces_a_folder_and_a_folder_a_link(self, apply: Apply) -> None:
        root = apply(
            [("a/b", {}, b"1"), ("c", _link("/a"), b"")], [("a", {}, b"file"), ("c", DIR, b""), ("c/d", {}, b"2")]
        )
        assert (root / "a").read_bytes() == b"file"
        assert (root / "c/d").read_bytes() == b"2"

    def test_names_with_a_dot_or_a_slash_first(self, apply: Apply) -> None:
        root = apply([("./", DIR, b""), ("./a", {}, b"1"), ("/b", {}, b"2")])
        assert sorted(path.name for path in root.iterdir()) == ["a", "b"]


class TestWhiteout:
    def test_a_file_and_a_folder(self, apply: Apply) -> None:
        root = apply(
            [("a", {}, b"1"), ("d/e", {}, b"1"), ("d/f", {}, b"1")], [(".wh.a", {}, b""), ("d/.wh.e", {}, b"")]
        )
        assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == ["d", "d/f"]

    @pytest.mark.parametrize("first", [True, False])
    def test_an_opaque_folder_hides_what_lies_below_alone(self, apply: Apply, *, first: bool) -> None:
        opaque: Entry = ("d/.wh..wh..opq", {}, b"")
        kept: Entry = ("d/new/x", {}, b"2")
        root = apply([("d/old", {}, b"1"), ("d/new/old", {}, b"1")], [opaque, kept] if first else [kept, opaque])
        assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == ["d", "d/new", "d/new/x"]

    def test_a_link_goes_and_not_what_it_points_to(self, apply: Apply) -> None:
        root = apply([("t/x", {}, b"1"), ("l", _link("t"), b"")], [(".wh.l", {}, b"")])
        assert (root / "t/x").exists()
        assert not (root / "l").is_symlink()

    def test_old_bookkeeping_is_left_out(self, apply: Apply) -> None:
        assert list(apply([(".wh..wh.plnk", {}, b"")]).iterdir()) == []

    @pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh..."])
    def test_one_that_names_nothing_or_what_is_above(self, apply: Apply, name: str) -> None:
        with pytest.raises(ImageRefusedError, match="names nothing"):
            apply([("d/x", {}, b"1")], [(name, {}, b"")])


class TestEscape:
    """Whatever an archive tries, it happens below the root or not at all."""

    @pytest.mark.parametrize("name", ["../secret", "a/../../secret", ".."])
    def test_a_name_that_leads_up(self, apply: Apply, name: str) -> None:
        with pytest.raises(ImageRefusedError, match="not a clean name"):
            apply([(name, {}, b"owned")])

    @pytest.mark.parametrize("target", ["..", "/..", "../../..", "/", "a/../../.."])
    def test_through_a_link(self, apply: Apply, target: str) -> None:
        root = apply([("a/x", {}, b""), ("up", _link(target), b""), ("up/secret", {}, b"owned")])
        assert (root / "secret").read_bytes() == b"owned"

    def test_through_a_link_over_a_link(self, apply: Apply, tmp_path: Path) -> None:
        absolute = str(tmp_path / "place")
        root = apply([("one", _link(absolute), b""), ("two", _link("one"), b""), ("two/secret", {}, b"owned")])
        assert (root / absolute.lstrip("/") / "secret").read_bytes() == b"owned"

    def test_writing_over_a_link_replaces_it(self, apply: Apply) -> None:
        root = apply([("l", _link("../secret"), b"")], [("l", {}, b"owned")])
        assert not (root / "l").is_symlink()

    @pytest.mark.parametrize("target", ["../secret", "/../secret"])
    def test_a_hard_link_that_leads_up(self, apply: Apply, target: str) -> None:
        with pytest.raises(ImageRefusedError, match="not a clean name"):
            apply([("l", _link(target, tarfile.LNKTYPE), b"")])

    def test_a_hard_link_through_a_link(self, apply: Apply) -> None:
        with pytest.raises(ImageRefusedError, match="no file of the image"):
            apply([("up", _link(".."), b""), ("l", _link("up/secret", tarfile.LNKTYPE), b"")])

    def test_a_whiteout_through_a_link(self, apply: Apply) -> None:
        apply([("up", _link(".."), b"")], [("up/.wh.secret", {}, b"")])

    def test_an_opaque_folder_through_a_link(self, apply: Apply) -> None:
        apply([("up", _link("../.."), b"")], [("up/.wh..wh..opq", {}, b"")])

    def test_links_in_a_circle(self, apply: Apply) -> None:
        with pytest.raises(ImageRefusedError, match="100 links"):
            apply([("a", _link("b"), b""), ("b", _link("a"), b""), ("a/x", {}, b"")])

    def test_below_a_file(self, apply: Apply) -> None:
        with pytest.raises(ImageRefusedError, match="no folder"):
            apply([("a", {}, b"1"), ("a/b", {}, b"2")])

    @pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE])
    def test_devices(self, apply: Apply, kind: bytes) -> None:
        with pytest.raises(ImageRefusedError, match="is a device"):
            apply([("dev/mem", {"type": kind, "devmajor": 1, "devminor": 1}, b"")])


class TestBomb:
    def test_too_many_entries(self, apply: Apply) -> None:
        with pytest.raises(ImageRefusedError, match="more than 100 entries"):
            apply([(f"f{number}", {}, b"") for number in range(101)])

    def test_the_limits_hold_for_all_layers_together(self, apply: Apply) -> None:
        half: list[Entry] = [(f"f{number}", {}, b"") for number in range(60)]
        with pytest.raises(ImageRefusedError, match="more than 100 entries"):
            apply(half, half)

    def test_too_many_bytes(self, apply: Apply) -> None:
        with pytest.raises(ImageRefusedError, match="unpacks to more than"):
            apply([("zeros", {}, bytes(2 << 20))])

    def test_a_frame_that_asks_for_more_memory_than_any_reader_has(self, tmp_path: Path) -> None:
        (tmp_path / "place" / "root").mkdir(parents=True)
        (tmp_path / "place" / "secret").write_text("secret")
        parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
        packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        (tmp_path / "layer").write_bytes(packer.compress(bytes(1 << 20)) + packer.flush())
        with pytest.raises(ImageRefusedError, match="cannot be unpacked"):
            Unpacker(tmp_path / "place" / "root", LIMITS).apply(tmp_path / "layer", "sha256:" + "0" * 64)

    @pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
    def test_bytes_that_belong_to_no_file(self, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
        (tmp_path / "place" / "root").mkdir(parents=True)
        (tmp_path / "place" / "secret").write_text("secret")
        (tmp_path / "layer").write_bytes(pack(bytes(80 << 20)))
        with pytest.raises(ImageRefusedError, match="decompresses to more"):
            Unpacker(tmp_path / "place" / "root", LIMITS).apply(tmp_path / "layer", "sha256:" + "0" * 64)

    def test_a_header_that_fills_memory(self, apply: Apply) -> None:
        with pytest.raises(ImageRefusedError, match="extended header"):
            apply([("x" * 101, {"type": tarfile.GNUTYPE_LONGNAME}, bytes(2 << 20))])

    def test_a_name_that_is_too_long(self, apply: Apply) -> None:
        with pytest.raises(ImageRefusedError, match="too long"):
            apply([("x" * 300, {}, b"")])


class TestVerify:
    @pytest.mark.usefixtures("apply")
    def test_a_layer_that_decompresses_to_something_else(self, make_image: Callable[..., Any], tmp_path: Path) -> None:
        (tmp_path / "layer").write_bytes(gzip.compress(make_image([("a", {}, b"1")]).layers[0]))
        with pytest.raises(ImageTamperedError, match="after decompression"):
            Unpacker(tmp_path / "place" / "root", LIMITS).apply(tmp_path / "layer", "sha256:" + "0" * 64)

    @pytest.mark.parametrize("content", [b"\x1f\x8bjunk", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfdjunk", b"junk" * 400])
    def test_no_archive(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "place" / "root").mkdir(parents=True)
        (tmp_path / "place" / "secret").write_text("secret")
        (tmp_path / "layer").write_bytes(content)
        with pytest.raises(ImageRefusedError, match="unpacked"):
            Unpacker(tmp_path / "place" / "root", LIMITS).apply(tmp_path / "layer", "sha256:" + "0" * 64)
