"""Where an image's bytes come from; whatever it is, each byte is checked against a digest on its way to disk."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final, Protocol
from uuid import uuid4

from agents.images.documents import Descriptor, ImageLimits
from agents.images.errors import ImageRefusedError, ImageTamperedError, ImageUnavailableError
from cubes.digests import digest_bytes

_CHUNK: Final = 1 << 20


class ImageSource(Protocol):
    """A registry, an archive or a folder of blobs."""

    def manifest(self, digest: str) -> bytes:
        """The manifest or index of this digest, verified.

        Raises:
            ImageError: it cannot be had, or is another.
        """
        ...

    def document(self, descriptor: Descriptor) -> bytes:
        """A small blob, verified."""
        ...

    def layer(self, descriptor: Descriptor, target: Path) -> None:
        """Write a blob to a new file, verified."""
        ...


class BlobFolder:
    """Blobs that were carried here, as an OCI image layout keeps them: `blobs/sha256/<hexadecimal digits>`."""

    def __init__(self, folder: Path, limits: ImageLimits | None = None) -> None:
        self._folder, self._limits = folder / "blobs" / "sha256", limits or ImageLimits()

    def path(self, digest: str) -> Path:
        return self._folder / digest.removeprefix("sha256:")

    def has(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def manifest(self, digest: str) -> bytes:
        return self._document(digest)

    def document(self, descriptor: Descriptor) -> bytes:
        return self._document(descriptor.digest)

    def layer(self, descriptor: Descriptor, target: Path) -> None:
        with self._open(descriptor.digest) as file:
            pieces = iter(lambda: file.read(_CHUNK), b"")
            write_verified(pieces, target, descriptor, f"the layer {descriptor.digest} carried here")

    def add(self, pieces: Iterable[bytes], descriptor: Descriptor) -> None:
        """Keep a blob, unless it is here."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.has(descriptor.digest):
            fresh = self._folder / f".{uuid4().hex}"
            write_verified(pieces, fresh, descriptor, f"the blob {descriptor.digest}")
            fresh.rename(self.path(descriptor.digest))

    def _document(self, digest: str) -> bytes:
        with self._open(digest) as file:
            data = file.read(self._limits.document_bytes + 1)
        return verified(data, digest, f"the blob {digest} carried here")

    def _open(self, digest: str) -> IO[bytes]:
        try:
            return self.path(digest).open("rb")
        except OSError:
            raise ImageUnavailableError(
                f"the blob {digest} was not carried here: import the bundle that holds it"
            ) from None


def verified(data: bytes, digest: str, what: str) -> bytes:
    """The data, if they are what the digest says.

    Raises:
        ImageTamperedError: they are not.
    """
    found = digest_bytes(data)
    if found != digest:
        raise ImageTamperedError(what, digest, found)
    return data


def write_verified(pieces: Iterable[bytes], target: Path, descriptor: Descriptor, what: str) -> None:
    """Write a blob to a new file, hashing as it comes; what is wrong is removed again.

    Raises:
        ImageTamperedError: another digest, or more or fewer bytes than its manifest says.
        ImageRefusedError: the file is there already.
    """
    try:
        output = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise ImageRefusedError(f"{str(target)!r} is there already: nothing was written") from None
    try:
        with os.fdopen(output, "wb") as file:
            _copy_verified(pieces, file, descriptor, what)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _copy_verified(pieces: Iterable[bytes], file: IO[bytes], descriptor: Descriptor, what: str) -> None:
    sha, size = hashlib.sha256(), 0
    for piece in pieces:
        size += len(piece)
        if size > descriptor.size:
            raise ImageTamperedError(what, f"{descriptor.size} bytes", "more")
        sha.update(piece)
        file.write(piece)
    if size != descriptor.size:
        raise ImageTamperedError(what, f"{descriptor.size} bytes", f"{size}")
    found = "sha256:" + sha.hexdigest()
    if found != descriptor.digest:
        raise ImageTamperedError(what, descriptor.digest, found)
