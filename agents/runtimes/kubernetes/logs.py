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
_LONGEST_S: Final = 10.0
"""Each time it is asked for, a log comes from its beginning."""
_WHOLE_S: Final = 20.0
"""A node may take a connection and never answer; its pod waits to be ended."""


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
        self.too_large = False
        self._open().close()

    async def follow(self, pod: str) -> None:
        """Copy until the log is too large, or whoever called has seen the step's end; through breaks of the connection."""
        pause = _AGAIN_S
        while not self.too_large:
            try:
                await self._copy(self._cluster.stream(f"v1/pods/{pod}/log", container=STEP, follow="true"))
            except ClusterAwayError:
                pass
            except ClusterError:
                return
            # An answer that ends in order is no end either: a node's reader may end sooner than the program.
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_S)

    async def finish(self, pod: str) -> None:
        """The pod is over: have its whole log, rather than what the live copy had by then."""
        if self.too_large or self._written > _ROTATED:
            return
        before = self._written
        query = {"container": STEP, "limitBytes": str(self._limit + 1)}
        try:
            async with asyncio.timeout(_WHOLE_S):
                pieces = [piece async for piece in self._cluster.stream(f"v1/pods/{pod}/log", **query)]
        except (ClusterError, TimeoutError):
            return  # the pod is gone: what was copied live is what there is
        if sum(map(len, pieces)) >= before:
            await self._copy(_each(pieces))

    async def _copy(self, pieces: AsyncIterator[bytes]) -> None:
        file: IO[bytes] | None = None
        try:
            async for piece in pieces:
                if file is None:  # nothing that was copied goes before there is something in its place
                    file, self._written = self._open(), 0
                file.write(piece[: max(0, self._limit - self._written)])
                self._teller.feed(piece, offset=self._written)
                self._written += len(piece)
                if self._written > self._limit:
                    self.too_large = True
                    return
        finally:
            if file is not None:
                file.close()

    def _open(self) -> IO[bytes]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        return os.fdopen(os.open(self._target, flags, 0o600), "wb", buffering=0)


async def _each(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
