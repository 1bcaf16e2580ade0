r"""The file itself: a manifest, its signature, and blobs one after the other. Every byte of it is checked.

ASSAY-BUNDLE-1\n
<length of the manifest, twenty digits>\n
<manifest, canonical JSON>
<Ed25519 signature over all of the above, 64 bytes>
<blobs in the manifest's order, nothing between them, nothing after them>
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any, Final, Literal
from uuid import uuid4

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from agents.bundles.errors import BundleDamagedError, BundleForgedError, BundleRefusedError
from agents.bundles.keys import SigningKey
from agents.images.documents import Descriptor
from agents.images.errors import ImageError
from agents.images.source import write_verified
from cubes.digests import Digest, canonical, digest_bytes
from cubes.public_keys import fingerprint, public_key

MAGIC: Final = b"ASSAY-BUNDLE-1\n"
MAX_MANIFEST_BYTES: Final = 64 << 20
_DIGITS: Final = 20
_SIGNATURE_BYTES: Final = 64
_CHUNK: Final = 1 << 20
Role = Literal["cube", "image", "signatures", "payload"]


class Part(BaseModel):
    """One blob of a bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    digest: Digest
    size: int = Field(ge=0)
    note: Annotated[str, StringConstraints(max_length=500)] = ""
    """What it is about: an image's reference, a payload's kind and key."""


class BundleManifest(BaseModel):
    """What is in a bundle, from whom and for whom."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["work", "results"]
    site: str
    written_at: datetime
    content: dict[str, Any]
    """What the kind needs besides blobs."""
    parts: tuple[Part, ...] = Field(max_length=200_000)


def write_bundle(
    target: Path, manifest: BundleManifest, blobs: Callable[[Part], Iterator[bytes]], key: SigningKey
) -> str:
    """Write a bundle, all of it or nothing.

    Args:
        target: a new file.
        manifest: what is in it.
        blobs: the bytes of a part.
        key: of whoever writes it.

    Returns:
        Its digest: of the manifest, which names all the rest.

    Raises:
        BundleDamagedError: a blob is not what the manifest says.
        BundleRefusedError: the file is there already.
    """
    head = _head(canonical(manifest.model_dump(mode="json")))
    try:
        target.open("xb").close()  # nothing is ever replaced
    except FileExistsError:
        raise BundleRefusedError(f"{str(target)!r} is there already: name another file") from None
    fresh = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        with fresh.open("xb") as file:
            file.write(head + key.sign(head))
            for part in manifest.parts:
                _append(file, part, blobs(part))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
        raise
    return digest_bytes(head)


def read_bundle(path: Path, keys: Sequence[str], folder: Path) -> tuple[BundleManifest, str]:
    """Verify a bundle, every byte of it, and leave its blobs in a new folder by their hexadecimal digests.

    Args:
        path: the file.
        keys: public keys, one of which must have signed it.
        folder: made anew; empty again when anything is wrong.

    Returns:
        The manifest, and the bundle's digest.

    Raises:
        BundleDamagedError: cut, changed, or no bundle.
        BundleForgedError: signed by no such key.
    """
    folder.mkdir(mode=0o700, parents=True)
    try:
        with path.open("rb") as file:
            head, manifest = _signed_head(file, path.name, keys)
            for part in manifest.parts:
                _extract(file, part, folder)
            _refuse_more(file, path.name)
    except OSError as error:
        _clear(folder)
        raise BundleDamagedError(f"{path.name!r} cannot be read: {error.strerror}") from error
    except BaseException:
        _clear(folder)
        raise
    return manifest, digest_bytes(head)


def _head(manifest: bytes) -> bytes:
    return MAGIC + str(len(manifest)).zfill(_DIGITS).encode() + b"\n" + manifest


def _signed_head(file: IO[bytes], name: str, keys: Sequence[str]) -> tuple[bytes, BundleManifest]:
    start = file.read(len(MAGIC) + _DIGITS + 1)
    digits = start[len(MAGIC) : -1]
    if not start.startswith(MAGIC) or not digits.isdigit() or int(digits) > MAX_MANIFEST_BYTES:
        raise BundleDamagedError(f"{name!r} is no bundle, or damaged: copy it again")
    raw = file.read(int(digits))
    head = _head(raw)
    # The manifest is read only when somebody who is trusted has signed it.
    if start != head[: len(start)] or not _is_signed(head, file.read(_SIGNATURE_BYTES), keys):
        known = ", ".join(fingerprint(pem)[7:19] for pem in keys) or "none"
        raise BundleForgedError(
            f"{name!r} is damaged, or signed by no key that is trusted here ({known}): copy it again, or name the key of"
            " whoever wrote it"
        )
    try:
        return head, BundleManifest.model_validate_json(raw)
    except ValidationError as error:
        raise BundleDamagedError(f"{name!r} is of another version ({error.error_count()} problems)") from None


def _is_signed(head: bytes, signature: bytes, keys: Sequence[str]) -> bool:
    for pem in keys:
        key = public_key(pem)
        if isinstance(key, ed25519.Ed25519PublicKey):
            try:
                key.verify(signature, head)
            except InvalidSignature:
                continue
            return True
    return False


def _append(file: IO[bytes], part: Part, pieces: Iterator[bytes]) -> None:
    sha, size = hashlib.sha256(), 0
    for piece in pieces:
        sha.update(piece)
        size += len(piece)
        file.write(piece)
    if (f"sha256:{sha.hexdigest()}", size) != (part.digest, part.size):
        raise BundleDamagedError(f"the blob {part.digest} ({part.note}) changed while it was written: try again")


def _extract(file: IO[bytes], part: Part, folder: Path) -> None:
    def pieces() -> Iterator[bytes]:
        left = part.size
        while left and (piece := file.read(min(left, _CHUNK))):
            left -= len(piece)
            yield piece

    target = folder / part.digest.removeprefix("sha256:")
    if target.exists():
        raise BundleDamagedError(f"the blob {part.digest} is in the bundle twice")
    descriptor = Descriptor(mediaType="", digest=part.digest, size=part.size)
    try:
        write_verified(pieces(), target, descriptor, f"the blob {part.digest} ({part.note or part.role})")
    except ImageError as error:
        raise BundleDamagedError(f"the bundle is damaged: {error}") from None


def _refuse_more(file: IO[bytes], name: str) -> None:
    if file.read(1):
        raise BundleDamagedError(f"{name!r} has bytes after its end: copy it again")


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
