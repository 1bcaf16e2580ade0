"""Verifying a dataset again and again without reading it again and again.

After everything was read once, a file whose size, times, inode and device are still the same is taken to be the same;
whatever differs is read. What this rests on is ctime: anybody who may write a file can set its mtime back, nobody
without the rights of root can set its ctime. Root can (by the clock, or on the disk itself), and the record of what was
seen is a file of the site's own user. So the quick look is a convenience for the time between two full ones, which
believe no record and read every byte: at registration, on demand, and when the last one is a day old.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.errors import DatasetChangedError
from agents.home import write_private
from agents.manifest import PARTS, FileEntry, Manifest, build_manifest, compare, entries_of, fingerprint, walk

MANIFEST: Final = "manifest.json"
_FORMAT: Final = 1
_SETTLED_NS: Final = 2_000_000_000
"""A file that changed less than this before it was read could change again within the same tick of its file system."""

_UNSETTLED: Final = "unsettled"

Seen = Mapping[str, str]
"""Part and path of each file to its fingerprint."""


@dataclass(frozen=True, slots=True)
class Verified:
    """How a dataset was verified."""

    full: bool
    files: int
    read: int
    """How many of them were read to their end."""


def dataset_parts(folder: Path) -> dict[str, Path]:
    """Part name to folder of a prepared dataset. A preparator without labels of its own keeps them with the data."""
    found = {part: folder / part for part in PARTS if (folder / part).is_dir()}
    return {"labels": found["data"], **found} if "data" in found else found


def verify_dataset(
    name: str, folder: Path, registered_root: str, record: Path, *, full: bool, full_every_s: float
) -> Verified:
    """Make sure that a prepared dataset is the one that was registered.

    Args:
        name: of the dataset, for people.
        folder: `data`, `labels`, perhaps `metadata`, and `manifest.json`.
        registered_root: the root that was registered.
        record: a file of the site's own that remembers what was seen; made anew when it is of no use.
        full: believe nothing and read everything.
        full_every_s: read everything when that was last done longer ago.

    Raises:
        DatasetChangedError: it is another; with both roots and the files that differ.
        InvalidInputError: something that is no regular file lies there.
    """
    parts = dataset_parts(folder)
    seen = _scan(folder, parts)
    known = None if full else _load(record, registered_root, full_every_s)
    if known is None:
        started = time.time()
        compare(name, _registered(name, folder, registered_root), build_manifest(parts))
        _save(record, registered_root, started, seen)
        return Verified(full=True, files=len(seen) - 1, read=len(seen) - 1)
    full_at, before = known
    differing = {key for key, print_ in seen.items() if print_ == _UNSETTLED or before.get(key) != print_}
    if differing or len(seen) != len(before):
        # A manifest that is as it was when its root was last computed needs no computing.
        checked = None if MANIFEST in differing else registered_root
        manifest = _registered(name, folder, registered_root, checked)
        found = {part: _reread(part, path, manifest, seen, differing) for part, path in parts.items()}
        compare(name, manifest, Manifest(parts=found))
        _save(record, registered_root, full_at, seen)
    return Verified(full=False, files=len(seen) - 1, read=len(differing - {MANIFEST}))


def _reread(part: str, folder: Path, manifest: Manifest, seen: Seen, differing: set[str]) -> tuple[FileEntry, ...]:
    """The entries of a part as they are now: those of files that are as they were seen come from the manifest."""
    old = {entry.path: entry for entry in manifest.parts.get(part, ())}
    files = {key.partition("/")[2]: key for key in seen if key.startswith(part + "/")}
    wanted = [(path, os.lstat(folder / path)) for path, key in files.items() if key in differing or path not in old]
    read = {entry.path: entry for entry in entries_of(folder, wanted)}
    return tuple(read.get(path) or old[path] for path in sorted(files))


def _registered(name: str, folder: Path, root: str, known_root: str | None = None) -> Manifest:
    """The manifest, if it is the one whose root was registered."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        raise DatasetChangedError(name, root, "no manifest that can be read", [MANIFEST]) from None
    if (known_root or manifest.root) != root:
        raise DatasetChangedError(name, root, manifest.root, [MANIFEST])
    return manifest


def _scan(folder: Path, parts: Mapping[str, Path]) -> Seen:
    """What is there now. What changed a moment ago could do so again unseen: it fits nothing, so that it is read."""
    settled = time.time_ns() - _SETTLED_NS
    files = [(f"{part}/{path}", status) for part, root in parts.items() for path, status in walk(root)]
    if (folder / MANIFEST).is_file():
        files.append((MANIFEST, (folder / MANIFEST).lstat()))
    return {
        path: fingerprint(status) if max(status.st_mtime_ns, status.st_ctime_ns) < settled else _UNSETTLED
        for path, status in files
    }


def _load(record: Path, root: str, full_every_s: float) -> tuple[float, Seen] | None:
    """When everything was last read, and what was seen; None when that is of no use."""
    try:
        head, _, body = record.read_bytes().partition(b"\n")
        said = json.loads(head)
        age = time.time() - float(said["full_at"])
        if said["format"] != _FORMAT or said["root"] != root or not 0 <= age < full_every_s:
            return None
        fields = body.decode("utf-8").split("\0")
        return said["full_at"], dict(zip(fields[::2], fields[1::2], strict=False))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _save(record: Path, root: str, full_at: float, seen: Seen) -> None:
    head = json.dumps({"format": _FORMAT, "root": root, "full_at": full_at})
    body = "".join(f"{path}\0{print_}\0" for path, print_ in seen.items())
    write_private(record, f"{head}\n{body}")
