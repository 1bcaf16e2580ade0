"""Packing: a folder as one file whose digest depends on its content alone, and unpacking what strangers packed."""

import gzip
import os
import shutil
import stat
import tarfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final
from uuid import uuid4

from cubes.digests import digest_file
from cubes.errors import PackError

_SKIPPED: Final = frozenset({"__pycache__", ".git", ".DS_Store"})
_CHUNK: Final = 1 << 20


MAX_HEADER_BYTES: Final = 1 << 20
_EXTENDED: Final = frozenset(
    {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
)


class BoundedTarInfo(tarfile.TarInfo):
    """Entries whose extended headers are small: `tarfile` reads a header as a whole, however large it says it is."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"an extended header of {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]  # private, the same since Python 3.0


@dataclass(frozen=True, slots=True)
class Packed:
    digest: str
    size: int
    files: int


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """How much an archive may become."""

    files: int = 100_000
    bytes: int = 20 << 30
    path_length: int = 1_000


def pack_folder(folder: Path, target: Path) -> Packed:
    """Write a folder as an uncompressed tar that is the same on every machine, for every user.

    Names are sorted, times and owners are zero, modes are 0644 or 0755; caches of Python and version control are left
    out.

    Raises:
        PackError: the folder is missing or empty, or holds a link, a device or a name that is not UTF-8.
    """
    if not folder.is_dir():
        raise PackError(f"{str(folder)!r} is not a folder")
    names = sorted(_walk(folder), key=lambda path: path.encode("utf-8"))
    if not names:
        raise PackError(f"{str(folder)!r} is empty: there is nothing to pack")
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            _add(tar, folder, name)
    return Packed(digest_file(target), target.stat().st_size, len(names))


def unpack(archive: Path, target: Path, limits: UnpackLimits, *, contents: Collection[str] | None = None) -> None:
    """Unpack a `.tar` or `.tar.gz` into a new folder; when anything is wrong, nothing is left.

    Regular files and folders alone; every name relative and clean, none twice; files are made anew below a folder that
    nobody else knows.

    Args:
        archive: the packed file.
        target: the folder; must not exist.
        limits: how much it may become.
        contents: write the content of these files alone and leave the others empty; the archive must then be a `.tar`,
            in which the rest is skipped without being read.

    Raises:
        PackError: says which entry, and why.
    """
    if target.exists():
        raise PackError(f"{str(target)!r} exists already: nothing was unpacked")
    fresh = target.with_name(f".{target.name}.{uuid4().hex}")
    fresh.mkdir(mode=0o700, parents=True)
    try:
        with _opened(archive, contents) as tar:
            _unpack_all(tar, fresh, limits, contents)
        fresh.rename(target)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, OSError) as error:
        raise PackError(f"{archive.name!r} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _walk(folder: Path) -> Iterator[str]:
    for here, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(here) / name
            if path.is_symlink():
                raise PackError(f"{str(path)!r} is a link: copy what it points to")
        folders[:] = [name for name in folders if name not in _SKIPPED]
        for name in files:
            if name not in _SKIPPED and not name.endswith(".pyc"):
                yield _clean(Path(here, name).relative_to(folder).as_posix())


def _clean(name: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise PackError(f"the name {name!r} is not UTF-8: rename the file") from None
    if any(ord(letter) < 32 for letter in name):  # noqa: PLR2004 - the first printable character
        raise PackError(f"the name {name!r} holds a control character: rename the file")
    return name


def _add(tar: tarfile.TarFile, folder: Path, name: str) -> None:
    path = folder / name
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise PackError(f"{str(path)!r} is not a regular file: a pack holds files and folders alone")
    info = tarfile.TarInfo(name)
    info.size = status.st_size
    info.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    with path.open("rb") as file:
        tar.addfile(info, file)


@contextmanager
def _opened(archive: Path, contents: Collection[str] | None) -> Iterator[tarfile.TarFile]:
    if contents is not None:
        with tarfile.open(archive, mode="r:", tarinfo=BoundedTarInfo) as tar:
            yield tar
        return
    with _plain(archive) as stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=BoundedTarInfo) as tar:
        yield tar


@contextmanager
def _plain(archive: Path) -> Iterator[IO[bytes]]:
    with archive.open("rb") as raw:
        magic = raw.read(2)
        raw.seek(0)
        if magic == b"\x1f\x8b":
            with gzip.open(raw, "rb") as plain:
                yield plain  # type: ignore[misc]  # GzipFile reads bytes like any binary file
        else:
            yield raw


def _unpack_all(tar: tarfile.TarFile, target: Path, limits: UnpackLimits, contents: Collection[str] | None) -> None:
    count = total = 0
    for member in tar:
        count, total = count + 1, total + member.size
        if count > limits.files:
            raise PackError(f"the archive holds more than {limits.files} entries")
        if total > limits.bytes:
            raise PackError(f"the archive unpacks to more than {limits.bytes} bytes")
        path = target / _safe_name(member, limits)
        if member.isdir():
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        elif member.isreg():
            _write(tar, member, path, whole=contents is None or path.relative_to(target).as_posix() in contents)
        else:
            raise PackError(f"{member.name!r} is neither a file nor a folder: links and devices are not unpacked")


def _safe_name(member: tarfile.TarInfo, limits: UnpackLimits) -> PurePosixPath:
    name = _clean(member.name.removeprefix("./"))
    parts = PurePosixPath(name or ".")
    if parts.is_absolute() or ".." in parts.parts or len(name) > limits.path_length:
        raise PackError(f"{member.name!r} is not a clean relative name")
    return parts


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, *, whole: bool) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    source = tar.extractfile(member)
    if source is None:
        raise PackError(f"{member.name!r} has no content")
    mode = 0o755 if member.mode & stat.S_IXUSR else 0o644
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except FileExistsError:
        raise PackError(f"{member.name!r} appears twice in the archive") from None
    with os.fdopen(descriptor, "wb") as file:
        if whole:
            shutil.copyfileobj(source, file, _CHUNK)
