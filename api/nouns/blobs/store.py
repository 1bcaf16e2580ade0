"""The folder of blobs: a file appears under its digest when it is whole and right, or not at all."""

import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Final
from uuid import uuid4

from starlette.concurrency import run_in_threadpool

from api.core.errors import InvalidInputError
from cubes.digests import Digest

_PIECE: Final = 1 << 20
_LEFT_OVER_S: Final = 86_400
"""Older than any upload that still runs."""


class BlobStore:
    """One folder, in which other registries' processes may write too."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._incoming = folder, folder / "incoming"
        self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, digest: Digest) -> Path:
        name = digest.removeprefix("sha256:")
        return self._folder / name[:2] / name

    async def receive(self, digest: Digest, pieces: AsyncIterator[bytes]) -> int:
        """Write a blob while it comes; its size.

        Raises:
            InvalidInputError: the bytes have another digest; nothing is kept.
        """
        fresh = self._incoming / uuid4().hex
        try:
            with fresh.open("xb") as file:
                found, size = await _write(file, pieces)
            if found != digest:
                raise InvalidInputError(
                    f"what was sent is {found}, not {digest}.", "Compute the digest again and send the file whole."
                )
            await run_in_threadpool(self._place, fresh, digest)
            return size
        finally:
            fresh.unlink(missing_ok=True)

    def discard_left_overs(self) -> None:
        """Remove what interrupted uploads left."""
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):  # another process's upload came to its end
                if time.time() - path.stat().st_mtime > _LEFT_OVER_S:
                    path.unlink()

    def _place(self, fresh: Path, digest: Digest) -> None:
        target = self.path(digest)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        fresh.chmod(0o400)
        fresh.replace(target)
        for folder in (target.parent, self._folder):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


async def _write(file: IO[bytes], pieces: AsyncIterator[bytes]) -> tuple[Digest, int]:
    """Write all pieces, a mebibyte at a time and beside the event loop; digest and size."""
    sha, waiting = hashlib.sha256(), bytearray()

    def put() -> None:
        sha.update(waiting)
        file.write(waiting)
        waiting.clear()

    async for piece in pieces:
        waiting += piece
        if len(waiting) >= _PIECE:
            await run_in_threadpool(put)
    await run_in_threadpool(put)
    await run_in_threadpool(_sync, file)
    return "sha256:" + sha.hexdigest(), file.tell()


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
