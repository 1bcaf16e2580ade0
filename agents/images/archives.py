"""Image archives: what `docker save` writes, and OCI image layouts, as one tar. Read in place, verified like a registry."""

import gzip
import os
import posixpath
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from agents.images.documents import DOCKER, Descriptor, ImageConfig, ImageLimits, Index, read
from agents.images.errors import ImageRefusedError, ImageTamperedError, ImageUnavailableError
from agents.images.source import verified, write_verified
from cubes.digests import canonical, digest_bytes
from cubes.packing import BoundedTarInfo

_CHUNK: Final = 1 << 20
_MAX_MEMBERS: Final = 10_000


class _Saved(BaseModel):
    """One image of `docker save`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    config: str = Field(alias="Config")
    layers: tuple[str, ...] = Field(alias="Layers")


class _SavedImages(BaseModel):
    images: tuple[_Saved, ...] = Field(min_length=1, max_length=100)


class ArchiveSource:
    """One image in an archive; use it as a context manager.

    Raises:
        ImageRefusedError: no archive of an image, or one of several images.
    """

    def __init__(self, path: Path, limits: ImageLimits | None = None) -> None:
        self._path, self._limits = path, limits or ImageLimits()
        self._file = _plain(path, self._limits)
        try:
            self._tar = tarfile.open(fileobj=self._file, mode="r:", tarinfo=BoundedTarInfo)  # noqa: SIM115 - closed with this object
            self._members = dict(self._named())
            self._documents: dict[str, bytes] = {}
            self._blobs: dict[str, str] = {}
            self.digest = self._oci() if "oci-layout" in self._members else self._docker()
            """What names the image: of its manifest; for `docker save` of the manifest that its parts make."""
        except (tarfile.TarError, OSError) as error:
            self._file.close()
            raise ImageRefusedError(
                f"{path.name!r} is no archive of an image ({error}): write one with docker save"
            ) from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tar.close()
        self._file.close()

    def manifest(self, digest: str) -> bytes:
        if digest in self._documents:
            return self._documents[digest]
        return verified(self._small(self._name_of(digest)), digest, f"the manifest in {self._path.name!r}")

    def document(self, descriptor: Descriptor) -> bytes:
        return verified(
            self._small(self._name_of(descriptor.digest)), descriptor.digest, f"a blob in {self._path.name!r}"
        )

    def layer(self, descriptor: Descriptor, target: Path) -> None:
        with self._opened(self._name_of(descriptor.digest)) as stream:
            write_verified(
                iter(lambda: stream.read(_CHUNK), b""), target, descriptor, f"a layer in {self._path.name!r}"
            )

    def _named(self) -> Iterator[tuple[str, tarfile.TarInfo]]:
        for number, member in enumerate(self._tar):
            if number > _MAX_MEMBERS:
                raise ImageRefusedError(
                    f"{self._path.name!r} holds more than {_MAX_MEMBERS} entries: no image has as many"
                )
            yield posixpath.normpath(member.name), member

    def _oci(self) -> str:
        index = read(Index, self._small("index.json"), f"the index of {self._path.name!r}")
        if len(index.manifests) != 1:
            raise ImageRefusedError(f"{self._path.name!r} holds {len(index.manifests)} images: save one alone")
        return index.manifests[0].digest

    def _docker(self) -> str:
        """`docker save` names files, not digests: the manifest that a registry would hold is made from them."""
        saved = read(_SavedImages, b'{"images":' + self._small("manifest.json") + b"}", f"{self._path.name!r}")
        if len(saved.images) != 1:
            raise ImageRefusedError(f"{self._path.name!r} holds {len(saved.images)} images: save one alone")
        image = saved.images[0]
        raw = self._small(image.config)
        digest = digest_bytes(raw)
        named = posixpath.basename(image.config).removesuffix(".json")
        if digest.removeprefix("sha256:") != named:
            raise ImageTamperedError(f"the configuration in {self._path.name!r}", f"sha256:{named}", digest)
        config = read(ImageConfig, raw, f"the configuration in {self._path.name!r}")
        if len(config.rootfs.diff_ids) != len(image.layers):
            raise ImageRefusedError(
                f"{self._path.name!r} has not as many layers as its configuration says: save it again"
            )
        self._blobs = {digest: image.config, **dict(zip(config.rootfs.diff_ids, image.layers, strict=True))}
        manifest = canonical(
            {
                "schemaVersion": 2,
                "mediaType": DOCKER + "distribution.manifest.v2+json",
                "config": self._descriptor("container.image.v1+json", digest),
                "layers": [self._descriptor("image.rootfs.diff.tar", diff) for diff in config.rootfs.diff_ids],
            }
        )
        self._documents[digest_bytes(manifest)] = manifest
        return digest_bytes(manifest)

    def _descriptor(self, kind: str, digest: str) -> dict[str, Any]:
        return {"mediaType": DOCKER + kind, "digest": digest, "size": self._member(self._blobs[digest]).size}

    def _name_of(self, digest: str) -> str:
        return self._blobs.get(digest) or f"blobs/sha256/{digest.removeprefix('sha256:')}"

    def _member(self, name: str) -> tarfile.TarInfo:
        member = self._members.get(posixpath.normpath(name))
        if member is not None and member.issym():  # a layer that is there twice
            beside = posixpath.join(posixpath.dirname(posixpath.normpath(name)), member.linkname)
            member = self._members.get(posixpath.normpath(beside))
        if member is None or not member.isreg():
            raise ImageUnavailableError(f"{self._path.name!r} holds no {name!r}: save the image again")
        return member

    def _small(self, name: str) -> bytes:
        if self._member(name).size > self._limits.document_bytes:
            raise ImageRefusedError(
                f"{name!r} in {self._path.name!r} is larger than {self._limits.document_bytes} bytes"
            )
        with self._opened(name) as stream:
            return stream.read()

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        stream = self._tar.extractfile(self._member(name))
        if stream is None:
            raise ImageUnavailableError(f"{name!r} in {self._path.name!r} has no content: save the image again")
        with stream:
            yield stream


def _plain(path: Path, limits: ImageLimits) -> IO[bytes]:
    """The archive, decompressed into a file without a name where it is compressed: layers are read out of order."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise ImageUnavailableError(f"the archive {str(path)!r} cannot be read: {error.strerror}") from None
    magic = raw.read(2)
    raw.seek(0)
    if magic != b"\x1f\x8b":
        return raw
    plain = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed by whoever opened the archive
    try:
        with raw, gzip.open(raw, "rb") as stream:
            _copy(stream, plain, limits.unpacked_bytes)  # type: ignore[arg-type]  # GzipFile reads bytes
    except (EOFError, OSError, zlib.error) as error:
        plain.close()
        raise ImageRefusedError(f"the archive {path.name!r} cannot be decompressed: {error}") from None
    except BaseException:
        plain.close()
        raise
    plain.seek(0, os.SEEK_SET)
    return plain


def _copy(source: IO[bytes], target: IO[bytes], left: int) -> None:
    while piece := source.read(_CHUNK):
        left -= len(piece)
        if left < 0:
            raise ImageRefusedError("the archive decompresses to more than this site unpacks")
        target.write(piece)
