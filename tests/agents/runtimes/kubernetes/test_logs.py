"""A step's log on the site's disk, whatever its node does: nothing that was copied is lost, and the limit holds."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from agents.runtimes.kubernetes import logs
from agents.runtimes.kubernetes.cluster import Cluster, ClusterAwayError
from agents.runtimes.kubernetes.logs import PodLog
from agents.runtimes.telling import Teller

pytestmark = pytest.mark.anyio
CUT, SILENT = "the connection breaks", "nothing comes, and no end"
Answer = list[bytes | str]


class Node:
    """What a node answers each time it is asked for the log; the last answer again and again."""

    def __init__(self, *answers: Answer) -> None:
        self._answers: Iterator[Answer] = iter(answers)
        self._last: Answer = []
        self.asked = 0

    async def stream(self, _path: str, **_query: Any) -> AsyncIterator[bytes]:
        self.asked += 1
        self._last = next(self._answers, self._last)
        for piece in self._last:
            if piece == CUT:
                raise ClusterAwayError("i/o timeout")
            if piece == SILENT:
                await asyncio.sleep(600)
            yield cast("bytes", piece)


def _log(node: Node, target: Path, *, limit: int = 1000) -> PodLog:
    return PodLog(cast("Cluster", node), target, limit, Teller(None, None))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_AGAIN_S", 0.001)
    monkeypatch.setattr(logs, "_WHOLE_S", 0.2)


async def _followed(log: PodLog, node: Node, times: int) -> None:
    """Follow until the node was asked so often."""
    following = asyncio.create_task(log.follow("pod"))
    while node.asked < times and not following.done():  # noqa: ASYNC110 - the node has nobody to tell
        await asyncio.sleep(0.001)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_what_was_copied_stays_when_the_node_is_lost(tmp_path: Path) -> None:
    node = Node([b"epoch 1\n", CUT], [CUT])
    log = _log(node, tmp_path / "log")
    await _followed(log, node, 4)
    await log.finish("pod")
    assert (tmp_path / "log").read_bytes() == b"epoch 1\n"


async def test_an_answer_that_ends_is_not_the_end_of_the_program(tmp_path: Path) -> None:
    """A kubelet that starts anew ends it in the ordinary way."""
    node = Node([b"line 1\n"], [b"line 1\n", b"line 2\n", SILENT])
    log = _log(node, tmp_path / "log")
    await _followed(log, node, 2)
    await asyncio.sleep(0.05)
    assert (tmp_path / "log").read_bytes() == b"line 1\nline 2\n"


async def test_the_limit_holds_after_such_an_answer(tmp_path: Path) -> None:
    node = Node([b"line 1\n"], [b"x" * 2000])
    log = _log(node, tmp_path / "log")
    await asyncio.wait_for(log.follow("pod"), 60)
    assert (log.too_large, (tmp_path / "log").stat().st_size) == (True, 1000)


async def test_a_node_that_never_answers_keeps_nobody(tmp_path: Path) -> None:
    """Its pod is past its deadline, and waits to be ended."""
    node = Node([b"so far\n", CUT], [SILENT])
    log = _log(node, tmp_path / "log")
    await _followed(log, node, 2)
    await asyncio.wait_for(log.finish("pod"), 60)
    assert (tmp_path / "log").read_bytes() == b"so far\n"
