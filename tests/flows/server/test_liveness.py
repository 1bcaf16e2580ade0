"""What a cluster asks a whole agent: from its first second, and when a part that nobody starts anew has died."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cli.demo.federation import free_port
from cli.processes.health import LIVE, READY
from flows.server.postgres import EmbeddedPostgres
from tests.flows.server.processes import Life, Program
from tests.hospital import hospital

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(900)]


class Agent:
    """An agent that is to be started, as a cluster sees it."""

    def __init__(self, program: Program, port: int) -> None:
        self.program, self._address = program, f"http://127.0.0.1:{port}"

    def asked(self, question: str) -> tuple[int, dict[str, Any]]:
        """Status and checks; 0 when nobody answers."""
        try:
            answer = httpx2.get(self._address + question, trust_env=False, timeout=60)
        except httpx2.HTTPError:
            return 0, {}
        return answer.status_code, answer.json()

    def part(self, words: str) -> Life:
        """The one process of its own whose command line has these words."""
        [found] = [life for life in self.program.family() if words in life.words]
        return found


@pytest.fixture
def agent(probe: str, tmp_path: Path, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    port = free_port()
    with hospital(
        tmp_path / "h", probe, monkeypatch, with_prefect=True, health_port=port, prefect_separate=True
    ) as here:
        here.offer()
        home = here.site.home.path
        words = ("agent", "start", "--home", str(home))
        yield Agent(Program(words, tmp_path / "log", partial(until, limit_s=300)), port)
        EmbeddedPostgres(home / "postgres").stop()  # it outlives a process that is killed


@pytest.mark.parametrize(("words", "named"), [("postgres -D ", "PostgreSQL"), ("-m flows.server", "Prefect's process")])
def test_it_lives_before_it_is_ready_and_not_without_its_parts(agent: Agent, words: str, named: str) -> None:
    with agent.program.killed(lambda: agent.asked(LIVE)[0] == 200):
        assert agent.asked(READY) == (503, {"started": False})
        agent.program.until(lambda: agent.asked(READY)[0] == 200, "it to be ready")
        assert agent.asked(LIVE)[1][named]
        os.kill(agent.part(words).pid, signal.SIGKILL)
        agent.program.until(lambda: agent.asked(LIVE)[0] == 503, "it to be told")
        assert not agent.asked(LIVE)[1][named]
