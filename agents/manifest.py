"""A dataset's manifest: every file by path, size and sha256, with one root each for data, labels and metadata.

A digest over sorted file contents would not notice two label files that swapped their names; a manifest of paths does.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from agents.errors import DatasetChangedError, InvalidInputError
from cubes.digests import Digest, digest_bytes, digest_of

PARTS = ("data", "labels", "metadata")
MAX_FILES = 2_000_000
_LARGE: Final = 1 << 20
_CHUNK: Final = 1 << 20
_READERS: Final = 4
"""Hashing lets other threads run; small files cost more to hand over than to read."""


class FileEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    """Relative, with `/`."""
    size: int = Field(ge=0)
    sha256: Digest


class Manifest(BaseModel):
    """The files of `data`, `labels` and `metadata`, each sorted by path."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parts: Mapping[str, tuple[FileEntry, ...]]

    def root_of(self, part: str) -> str | None:
        """The root of one part; None when the dataset has no such part."""
        entries = self.parts.get(part)
        if entries is None:
            return None
        # Canonical JSON, as cubes.digests.digest_of: for plain texts and numbers the fast encoder writes the same.
        rows = [[entry.path, entry.size, entry.sha256] for entry in entries]
        return digest_bytes(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))

    @property
    def root(self) -> str:
        return digest_of({part: self.root_of(part) for part in PARTS})


def build_manifest(folders: Mapping[str, Path]) -> Manifest:
    """Read every file below each part's folder.

    Raises:
        InvalidInputError: a link, a device or a name that is not UTF-8 is among them, one is being written, or there
            are too many.
    """
    return Manifest(parts={part: entries_of(folder, list(walk(folder))) for part, folder in folders.items()})


def verify_manifest(name: str, manifest: Manifest, folders: Mapping[str, Path]) -> None:
    """Read everything again and compare.

    Raises:
        DatasetChangedError: with both roots and the files that differ.
    """
    compare(name, manifest, build_manifest(folders))


def compare(name: str, registered: Manifest, found: Manifest) -> None:
    """Compare what was registered with what was found.

    Raises:
        DatasetChangedError: with both roots and the files that differ.
    """
    if found.parts != registered.parts:
        raise DatasetChangedError(name, registered.root, found.root, _differing(registered, found))


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below a folder: its path from there, with `/`, and its status. A folder that is missing has none.

    Raises:
        InvalidInputError: something that is no regular file, a name that is not UTF-8, or too many.
    """
    waiting, count = [""] if folder.is_dir() else [], 0
    while waiting:
        below = waiting.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                path = below + entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path + "/")
                else:
                    count += 1
                    status = entry.stat(follow_symlinks=False)
                    _check(path, status.st_mode)
                    yield path, status
        if count > MAX_FILES:
            raise InvalidInputError(f"{str(folder)!r} holds more than {MAX_FILES} files: pack cases into fewer files")


def entries_of(folder: Path, files: Sequence[tuple[str, os.stat_result]]) -> tuple[FileEntry, ...]:
    """The entries of these files, sorted by path; each file is read to its end, large ones side by side.

    Raises:
        InvalidInputError: a file changed while it was read.
    """
    large = [item for item in files if item[1].st_size >= _LARGE]
    small = [item for item in files if item[1].st_size < _LARGE]
    read = partial(_entry, str(folder))
    with ThreadPoolExecutor(_READERS) as pool:
        found = [*pool.map(read, large), *map(read, small)]
    return tuple(sorted(found, key=lambda entry: entry.path))


def _check(path: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise InvalidInputError(f"{path!r} is not a regular file: datasets hold files and folders alone")
    if not path.isascii():
        try:
            path.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidInputError(f"the file name {path!r} is not UTF-8: rename it") from None


def _entry(folder: str, file: tuple[str, os.stat_result]) -> FileEntry:
    path, status = file
    descriptor = os.open(f"{folder}/{path}", os.O_RDONLY | os.O_NOFOLLOW)
    try:
        sha = hashlib.sha256()
        while piece := os.read(descriptor, min(_CHUNK, status.st_size + 1)):
            sha.update(piece)
        unchanged = fingerprint(os.fstat(descriptor)) == fingerprint(status)
    finally:
        os.close(descriptor)
    if not unchanged:
        raise InvalidInputError(f"{path!r} was written to while it was read: wait until its writer is through")
    return FileEntry(path=path, size=status.st_size, sha256="sha256:" + sha.hexdigest())


def fingerprint(status: os.stat_result) -> str:
    """What changes about a file when its content does: size, times of content and status, and where it lies."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino} {status.st_dev}"


def _differing(before: Manifest, after: Manifest) -> list[str]:
    def flat(manifest: Manifest) -> set[tuple[str, str]]:
        return {(f"{part}/{entry.path}", entry.sha256) for part, entries in manifest.parts.items() for entry in entries}

    return sorted({path for path, _ in flat(before) ^ flat(after)})
