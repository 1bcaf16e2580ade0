"""A dataset's manifest: every file by path, size and sha256, with one root each for data, labels and metadata.

A digest over sorted file contents would not notice two label files that swapped their names; a manifest of paths does.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from agents.errors import DatasetChangedError, InvalidInputError
from cubes.digests import Digest, digest_file, digest_of

PARTS = ("data", "labels", "metadata")
MAX_FILES = 2_000_000


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
        return digest_of([[entry.path, entry.size, entry.sha256] for entry in entries])

    @property
    def root(self) -> str:
        return digest_of({part: self.root_of(part) for part in PARTS})


def build_manifest(folders: Mapping[str, Path]) -> Manifest:
    """Read every file below each part's folder.

    Raises:
        InvalidInputError: a link, a device or a name that is not UTF-8 is among them, or there are too many files.
    """
    return Manifest(parts={part: tuple(_entries(folder)) for part, folder in folders.items()})


def verify_manifest(name: str, manifest: Manifest, folders: Mapping[str, Path]) -> None:
    """Read everything again and compare.

    Raises:
        DatasetChangedError: with both roots and the files that differ.
    """
    found = build_manifest(folders)
    if found.root != manifest.root:
        raise DatasetChangedError(name, manifest.root, found.root, _differing(manifest, found))


def _entries(folder: Path) -> list[FileEntry]:
    if not folder.is_dir():
        return []
    found: list[FileEntry] = []
    for here, folders, files in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted([*files, *(entry for entry in folders if (Path(here) / entry).is_symlink())]):
            path = Path(here) / name
            found.append(_entry(folder, path))
            if len(found) > MAX_FILES:
                raise InvalidInputError(
                    f"{str(folder)!r} holds more than {MAX_FILES} files: pack cases into fewer files"
                )
    return sorted(found, key=lambda entry: entry.path)


def _entry(folder: Path, path: Path) -> FileEntry:
    relative = path.relative_to(folder).as_posix()
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise InvalidInputError(f"{relative!r} is not a regular file: datasets hold files and folders alone")
    try:
        relative.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInputError(f"the file name {relative!r} is not UTF-8: rename it") from None
    return FileEntry(path=relative, size=status.st_size, sha256=digest_file(path))


def _differing(before: Manifest, after: Manifest) -> list[str]:
    def flat(manifest: Manifest) -> set[tuple[str, str]]:
        return {(f"{part}/{entry.path}", entry.sha256) for part, entries in manifest.parts.items() for entry in entries}

    return sorted({path for path, _ in flat(before) ^ flat(after)})
