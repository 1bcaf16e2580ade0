"""The site's images, unpacked once each and named by digest; looked over again before each use."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from agents.home import write_private
from agents.images.archives import ArchiveSource
from agents.images.documents import (
    Descriptor,
    ImageConfig,
    ImageLimits,
    Index,
    Manifest,
    ProcessConfig,
    architecture,
    is_index,
    read,
)
from agents.images.errors import ImageRefusedError, ImageUnavailableError
from agents.images.layers import Unpacker
from agents.images.source import BlobFolder, ImageSource
from agents.locks import locked
from cubes.digests import Digest, digest_of
from cubes.image_reference import ImageReference

_NAME: Final = frozenset("0123456789abcdef")
Sources = Callable[[ImageReference], AbstractContextManager[ImageSource]]


class ImageRecord(BaseModel):
    """What was verified, link by link: what was registered, the manifest for this machine, its parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: Digest
    """What the contract names: of a manifest, or of an index of several."""
    manifest: Digest
    config: Digest
    """Engines call it the image's identifier."""
    layers: tuple[Digest, ...]
    process: ProcessConfig
    pulled_at: datetime


@dataclass(frozen=True, slots=True)
class UnpackedImage:
    """An image ready to be a root directory; nobody writes to it."""

    root: Path
    record: ImageRecord


@dataclass(frozen=True, slots=True)
class StoredImage:
    """What an image takes on disk."""

    record: ImageRecord
    size: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """An image's documents, each verified by the digest that the one before names."""

    digest: str
    manifest_digest: str
    manifest: Manifest
    config: ImageConfig


class ImageStore:
    """Unpacked images below one folder.

    Args:
        folder: where they lie; blobs that were carried here lie beside them.
        sources: the registry of a reference.
        limits: how large an image may be and become.
    """

    def __init__(self, folder: Path, sources: Sources, limits: ImageLimits | None = None) -> None:
        self._folder, self._sources = folder, sources
        self.limits = limits or ImageLimits()
        self.carried = BlobFolder(folder)
        """Blobs that came in a bundle; asked before any registry."""

    def get(self, reference: ImageReference) -> UnpackedImage:
        """The image of a reference with a digest; pulled unless an untouched copy is here.

        Raises:
            ImageError: it cannot be had, or something in it is not what its digest says.
        """
        if reference.digest is None:
            raise ImageRefusedError(f"the image {str(reference)!r} is named by a tag: only a digest says what runs")
        digest = reference.digest
        with self._kept(digest) as place:
            if not _is_whole(place, digest):
                with self.source(reference) as source:
                    self._unpack(source, digest, str(reference), place)
        return _image(place)

    def get_archive(self, path: Path) -> UnpackedImage:
        """The image in an archive that is known by its own digest already.

        Raises:
            ImageError: it is no archive of an image, or its parts are not what it says of them.
        """
        with ArchiveSource(path, self.limits) as source, self._kept(source.digest) as place:
            if not _is_whole(place, source.digest):
                self._unpack(source, source.digest, path.name, place)
        return _image(place)

    def list(self) -> tuple[StoredImage, ...]:
        """What is here, the oldest first."""
        places = [path.parent for path in self._folder.glob("*/image.json") if set(path.parent.name) <= _NAME]
        found = [StoredImage(_record(place), _size(place)) for place in places]
        return tuple(sorted(found, key=lambda image: image.record.pulled_at))

    def record(self, digest: str) -> ImageRecord | None:
        """What was verified when the image of a digest was unpacked; None where it is not here."""
        try:
            return _record(self._folder / digest.removeprefix("sha256:"))
        except FileNotFoundError:
            return None

    def is_whole(self, digest: str) -> bool:
        """Whether the image of a digest is here, and nothing in it was touched since it was unpacked."""
        return _is_whole(self._folder / digest.removeprefix("sha256:"), digest)

    def changed(self) -> tuple[Path, ...]:
        """Places where something was changed, added or removed since the image was unpacked."""
        places = [path.parent for path in sorted(self._folder.glob("*/image.json")) if set(path.parent.name) <= _NAME]
        return tuple(place for place in places if not _is_whole(place, f"sha256:{place.name}"))

    def remove(self, digest: str) -> None:
        """Remove one; no step may be running in it.

        Raises:
            ImageUnavailableError: there is none of that digest.
        """
        place = self._folder / digest.removeprefix("sha256:")
        if not set(place.name) <= _NAME or not place.is_dir():
            raise ImageUnavailableError(f"no image {digest!r} is here: list those that are")
        with locked(place.with_suffix(".lock")):
            discard(place)

    @contextmanager
    def source(self, reference: ImageReference) -> Iterator[ImageSource]:
        """Where the parts of an image come from: what was carried here, or its registry."""
        if reference.digest is not None and self.carried.has(reference.digest):
            yield self.carried
        else:
            with self._sources(reference) as source:
                yield source

    @contextmanager
    def _kept(self, digest: str) -> Iterator[Path]:
        """The place of a digest, for this process alone while it looks and unpacks."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self._folder / digest.removeprefix("sha256:")
        with locked(place.with_suffix(".lock")):
            yield place

    def _unpack(self, source: ImageSource, digest: str, name: str, place: Path) -> None:
        for left in (place, *self._folder.glob(f".{place.name}.*")):  # changed, or of a crash; we hold the lock
            discard(left)
        resolved = resolve_image(source, digest, name, self.limits)
        fresh = place.with_name(f".{place.name}.{uuid4().hex}")
        try:
            (fresh / "root").mkdir(mode=0o755, parents=True)
            unpacker = Unpacker(fresh / "root", self.limits)
            layer = fresh / "layer"
            for descriptor, diff_id in zip(resolved.manifest.layers, resolved.config.rootfs.diff_ids, strict=True):
                source.layer(descriptor, layer)
                unpacker.apply(layer, diff_id)
                layer.unlink()
            write_private(fresh / "image.json", _record_of(resolved).model_dump_json(by_alias=True))
            write_private(fresh / "state", _state(fresh / "root"))
            fresh.rename(place)
        finally:
            discard(fresh)


def resolve_image(source: ImageSource, digest: str, name: str, limits: ImageLimits) -> Resolved:
    """From a digest to this machine's manifest and configuration, within limits.

    Raises:
        ImageError: one of them cannot be had, is not what its digest says, or is not for this machine.
    """
    raw, manifest_digest = source.manifest(digest), digest
    if is_index(raw):
        manifest_digest = read(Index, raw, f"the index of {name!r}").here(name).digest
        raw = source.manifest(manifest_digest)
    manifest = read(Manifest, raw, f"the manifest of {name!r}")
    config = read(ImageConfig, source.document(manifest.config), f"the configuration of {name!r}")
    _check(manifest, config, name, limits)
    return Resolved(digest, manifest_digest, manifest, config)


def _check(manifest: Manifest, config: ImageConfig, name: str, limits: ImageLimits) -> None:
    if (config.os or "linux", config.architecture or architecture()) != ("linux", architecture()):
        raise ImageRefusedError(
            f"the image {name!r} is for {config.os}/{config.architecture}, not linux/{architecture()}"
        )
    if len(manifest.layers) != len(config.rootfs.diff_ids) or len(manifest.layers) > limits.layers:
        raise ImageRefusedError(
            f"the image {name!r} has {len(manifest.layers)} layers, and {len(config.rootfs.diff_ids)} in its"
            f" configuration; {limits.layers} are taken"
        )
    for layer in manifest.layers:
        _check_size(layer, limits.layer_bytes, name)
    total = sum(layer.size for layer in manifest.layers)
    if total > limits.image_bytes:
        raise ImageRefusedError(f"the image {name!r} is {total} bytes large; this site takes {limits.image_bytes}")


def _check_size(layer: Descriptor, most: int, name: str) -> None:
    if layer.size > most:
        raise ImageRefusedError(f"a layer of {name!r} is {layer.size} bytes large; this site takes {most}")


def _record_of(resolved: Resolved) -> ImageRecord:
    return ImageRecord(
        digest=resolved.digest,
        manifest=resolved.manifest_digest,
        config=resolved.manifest.config.digest,
        layers=tuple(layer.digest for layer in resolved.manifest.layers),
        process=resolved.config.config,
        pulled_at=datetime.now(UTC),
    )


def _image(place: Path) -> UnpackedImage:
    return UnpackedImage(place / "root", _record(place))


def _record(place: Path) -> ImageRecord:
    return ImageRecord.model_validate_json((place / "image.json").read_text(encoding="utf-8"))


def _is_whole(place: Path, digest: str) -> bool:
    """Whether an unpacked image is what it was. Contents are not read again: their change times tell."""
    try:
        return _record(place).digest == digest and (place / "state").read_text(encoding="ascii") == _state(
            place / "root"
        )
    except (OSError, ValueError, ValidationError):
        return False


def _state(root: Path) -> str:
    """A digest over every entry's name, kind, size and times; the kernel alone sets the time of change."""
    found: list[list[str | int]] = []
    for here, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(here, name)  # noqa: PTH118 - a hundred thousand of them
            status = os.lstat(path)
            kind = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            found.append(
                [
                    os.fsencode(path[len(str(root)) :]).hex(),
                    status.st_mode,
                    kind,
                    str(status.st_mtime_ns),
                    str(status.st_ctime_ns),
                ]
            )
    return digest_of(sorted(found))


def _size(place: Path) -> int:
    return sum(os.lstat(os.path.join(here, name)).st_size for here, _, names in os.walk(place) for name in names)  # noqa: PTH118


def discard(place: Path) -> None:
    """Remove a folder although an image closed some of its own."""
    if place.is_symlink() or not place.is_dir():
        place.unlink(missing_ok=True)
        return
    for here, _, _ in os.walk(place):
        Path(here).chmod(0o700)
    shutil.rmtree(place)
