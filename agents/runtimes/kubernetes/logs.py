"""A pod's log, copied while it is written, and no more of it than a step may write."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Final

from agents.runtimes.kubernetes.cluster import Cluster, ClusterAwayError, ClusterError
from agents.runtimes.kubernetes.template import STEP
from agents.runtimes.telling import Teller

_ROTATED: Final = 8 << 20
"""Nodes begin a new file at 10 MiB by default, and then no longer give the whole log at once."""
_AGAIN_S: Final = 0.5


class PodLog:
    """Copies one pod's log into a file.

    Args:
        cluster: where the pod is.
        target: written anew.
        limit: bytes; what goes beyond is not written, and `too_large` says so.
        teller: hears the beginning, live.
    """

    def __init__(self, cluster: Cluster, target: Path, limit: int, teller: Teller) -> None:
        self._cluster, self._target, self._limit, self._teller = cluster, target, limit, teller
        self._written = 0
        self._whole = False
        self.too_large = False
        self._open().close()

    async def follow(self, pod: str) -> None:
        """Copy until the log ends or is too large, through breaks of the connection."""
        while not self.too_large:
            try:
                await self._copy(self._cluster.stream(f"v1/pods/{pod}/log", container=STEP, follow="true"))
            except ClusterAwayError:
                await asyncio.sleep(_AGAIN_S)
            except ClusterError:
                return
            else:
                self._whole = True
                return

    async def finish(self, pod: str) -> None:
        """The pod is over: have its whole log, rather than what the live copy had by then."""
        if self._whole or self.too_large or self._written > _ROTATED:
            return
        before = self._written
        query = {"container": STEP, "limitBytes": str(self._limit + 1)}
        try:
            pieces = [piece async for piece in self._cluster.stream(f"v1/pods/{pod}/log", **query)]
        except ClusterError:
            return  # the pod is gone: what was copied live is what there is
        if sum(map(len, pieces)) >= before:
            await self._copy(_each(pieces))

    async def _copy(self, pieces: AsyncIterator[bytes]) -> None:
        with self._open() as file:
            self._written = 0
            async for piece in pieces:
                file.write(piece[: max(0, self._limit - self._written)])
                self._teller.feed(piece, offset=self._written)
                self._written += len(piece)
                if self._written > self._limit:
                    self.too_large = True
                    return

    def _open(self) -> IO[bytes]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        return os.fdopen(os.open(self._target, flags, 0o600), "wb", buffering=0)


async def _each(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
