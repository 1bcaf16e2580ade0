"""Layers of an image, unpacked one over the other as any user.

Every file belongs to the caller afterwards. Setuid bits are dropped, device nodes refused; whiteouts delete what lies
below. Times are kept, since Python trusts its compiled files by them.
"""

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import zstandard

from agents.images.documents import ImageLimits
from agents.images.errors import ImageRefusedError, ImageTamperedError
from agents.images.tree import Tree
from cubes.packing import BoundedTarInfo

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_CHUNK: Final = 1 << 20
_WINDOW: Final = 1 << 27
"""Memory that a zstd frame may ask for: what `zstd --long` makes, and what other tools read without being told."""


class Unpacker:
    """Applies layers to one root, within limits that hold for all of them together."""

    def __init__(self, root: Path, limits: ImageLimits) -> None:
        self._tree, self._limits = Tree(root), limits
        self._entries = self._bytes = 0

    def apply(self, layer: Path, diff_id: str) -> None:
        """Unpack one layer.

        Args:
            layer: a tar, perhaps compressed with gzip or zstd.
            diff_id: the digest that its uncompressed bytes must have.

        Raises:
            ImageTamperedError: they have another.
            ImageRefusedError: no tar, an entry that is not unpacked, or more than the limits allow.
        """
        made: set[Path] = set()
        try:
            with _uncompressed(layer) as plain:
                hashed = _Hashed(plain, self._limits.unpacked_bytes)
                with tarfile.open(fileobj=hashed, mode="r|", tarinfo=BoundedTarInfo) as tar:  # type: ignore[call-overload]  # reads like a file
                    for member in tar:
                        self._one(tar, member, made)
                hashed.drain()
        except (
            tarfile.TarError,
            EOFError,
            gzip.BadGzipFile,
            zlib.error,
            zstandard.ZstdError,
            UnicodeError,
            OSError,
        ) as error:
            raise ImageRefusedError(f"the layer {diff_id} cannot be unpacked: {error}") from error
        if hashed.digest != diff_id:
            raise ImageTamperedError("a layer after decompression", diff_id, hashed.digest)

    def _one(self, tar: tarfile.TarFile, member: tarfile.TarInfo, made: set[Path]) -> None:
        self._entries, self._bytes = self._entries + 1, self._bytes + (member.size if member.isreg() else 0)
        if self._entries > self._limits.entries:
            raise ImageRefusedError(f"the image holds more than {self._limits.entries} entries")
        if self._bytes > self._limits.unpacked_bytes:
            raise ImageRefusedError(f"the image unpacks to more than {self._limits.unpacked_bytes} bytes")
        if not member.name.strip("/.") and member.isdir():
            return  # the root itself
        path = self._tree.entry(member.name)
        if path.name.startswith(_WHITEOUT):
            self._white_out(path, made)
            return
        self._make(tar, member, path)
        made.add(path)

    def _white_out(self, path: Path, made: set[Path]) -> None:
        """Hide what lower layers have; what this layer brought itself stays, whichever comes first."""
        if path.name == _OPAQUE:
            _clear_below(self._tree, path.parent, made)
            return
        name = path.name.removeprefix(_WHITEOUT)
        if name.startswith(_WHITEOUT):
            return  # bookkeeping of an old storage driver
        if name in {"", ".", ".."}:
            raise ImageRefusedError(f"the whiteout {path.name!r} names nothing")
        if path.with_name(name) not in made:
            self._tree.clear(path.with_name(name))

    def _make(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        if member.isdir():
            if path.is_symlink() or not path.is_dir():
                self._tree.clear(path)
                path.mkdir()
            path.chmod(member.mode & 0o777 | 0o700)
            return
        self._tree.clear(path)
        if member.isreg():
            _write(tar, member, path)
        elif member.issym():
            path.symlink_to(member.linkname)
        elif member.islnk():
            self._hard_link(member, path)
        elif member.isfifo():
            os.mkfifo(path, member.mode & 0o777)
        else:
            raise ImageRefusedError(
                f"{member.name!r} is a device: the runtime gives a step the devices that it may have"
            )

    def _hard_link(self, member: tarfile.TarInfo, path: Path) -> None:
        target = self._tree.entry(member.linkname)
        if not (target.is_symlink() or target.is_file()):
            raise ImageRefusedError(
                f"{member.name!r} is a hard link to {member.linkname!r}, which is no file of the image"
            )
        os.link(target, path, follow_symlinks=False)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise ImageRefusedError(f"{member.name!r} has no content")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)
        os.fchmod(file.fileno(), member.mode & 0o777 | 0o400)
    os.utime(path, (max(0, member.mtime), max(0, member.mtime)))


def _clear_below(tree: Tree, folder: Path, made: set[Path]) -> None:
    for path in list(folder.iterdir()):
        if path.is_dir() and not path.is_symlink() and any(path == kept or path in kept.parents for kept in made):
            _clear_below(tree, path, made)
        elif path not in made:
            tree.clear(path)


@contextmanager
def _uncompressed(layer: Path) -> Iterator[IO[bytes]]:
    with layer.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        if magic == _ZSTD:
            plain = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(raw, read_across_frames=True)
            with plain:
                yield plain
        elif magic[:2] == _GZIP:
            with gzip.open(raw, "rb") as unzipped:
                yield unzipped  # type: ignore[misc]  # GzipFile reads bytes like any binary file
        else:
            yield raw


class _Hashed:
    """What is read through it is hashed; more than the limit is not read."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        # Headers and padding come on top of the files' bytes.
        self._stream, self._left = stream, limit + (limit >> 3) + (64 << 20)
        self._sha = hashlib.sha256()

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise ImageRefusedError("a layer decompresses to more than this site unpacks")
        self._sha.update(piece)
        return piece

    def drain(self) -> None:
        while self.read(_CHUNK):
            pass

    @property
    def digest(self) -> str:
        return "sha256:" + self._sha.hexdigest()
