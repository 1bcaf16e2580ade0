"""Blobs: files by their digest. Both ways stream, hash every byte, and keep nothing that is not what it should be."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final
from uuid import uuid4

from api.client.errors import Unreachable, WrongContent, too_large
from api.client.transport import Transport
from cubes.digests import Digest, digest_file

_CHUNK: Final = 1 << 20
_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)
"""Before a broken download goes on where it stopped; all over again once more has come."""


class Blobs:
    """The registry's blobs."""

    def __init__(self, transport: Transport, max_bytes: int) -> None:
        self._transport, self._max_bytes = transport, max_bytes

    def upload(self, path: Path, *, progress: Callable[[int], None] | None = None) -> Digest:
        """Send a file; sending what is there already changes nothing.

        Args:
            path: the file.
            progress: called with the size of each piece that went out.

        Raises:
            RegistryError: refused (413 when it is too large there), or unreachable.
            OSError: the file cannot be read.
        """
        digest, size = digest_file(path), path.stat().st_size
        if size > self._max_bytes:
            raise too_large(path, self._max_bytes)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        with (
            path.open("rb") as file,
            self._transport.stream(
                "PUT", f"/v1/blobs/{digest}", content=_pieces(file, progress), headers=headers
            ) as answer,
        ):
            answer.read()
        return digest

    def download(self, digest: Digest, target: Path) -> None:
        """Fetch a blob into a file that appears only when it is whole and right; a broken connection goes on.

        Raises:
            WrongContent: other bytes than the digest says, or more than this client takes.
            RegistryError: refused or unreachable.
            OSError: the file cannot be written.
        """
        fresh = target.with_name(f".{target.name}.{uuid4().hex}")
        try:
            with fresh.open("xb") as file:
                found = self._fetch(digest, file)
                os.fsync(file.fileno())
            if found != digest:
                raise WrongContent(f"wanted {digest}, got {found}: what is there is not what was asked for")
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)

    def _fetch(self, digest: Digest, file: IO[bytes]) -> Digest:
        """All of it, over as many connections as it takes while each gets further than the one before."""
        sha, pauses, before = hashlib.sha256(), iter(_PAUSES_S), 0
        while True:
            try:
                return self._append(digest, file, sha)
            except Unreachable:
                if file.tell() > before:
                    pauses, before = iter(_PAUSES_S), file.tell()
                pause = next(pauses, None)
                if pause is None or not before:
                    raise
                time.sleep(pause)

    def _append(self, digest: Digest, file: IO[bytes], sha: "hashlib._Hash") -> Digest:
        """Read on from where the file ends; the digest of the whole."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={file.tell()}-"} if file.tell() else {})
        with self._transport.stream("GET", f"/v1/blobs/{digest}", headers=headers) as answer:
            if file.tell() and answer.status_code != HTTPStatus.PARTIAL_CONTENT:
                raise WrongContent(f"the registry does not go on with {digest} where it stopped: fetch it again")
            for piece in answer.iter_bytes():  # as they come: what a broken connection has brought is kept
                if file.tell() + len(piece) > self._max_bytes:
                    raise too_large(digest, self._max_bytes)
                sha.update(piece)
                file.write(piece)
        return "sha256:" + sha.hexdigest()


def _pieces(file: IO[bytes], progress: Callable[[int], None] | None) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        yield piece
        if progress is not None:
            progress(len(piece))
