"""Whether an agent runs here: what counts is its lock, not a number that it left."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from agents.errors import ConflictError, HomeError, NotFoundError
from agents.home import Home
from agents.locks import only_agent
from agents.running import agent_process, stop_agent

_HOLD = """
import signal, sys, time
from pathlib import Path
from agents.home import Home
from agents.locks import only_agent
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with only_agent(Home(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.fixture(params=["willing"])
def agent(home: Home, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the agent's lock of a site."""
    command = [sys.executable, "-c", _HOLD, str(home.path), request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


class TestLook:
    def test_no_agent_ever_ran(self, home: Home) -> None:
        assert agent_process(home) is None

    def test_one_that_runs(self, home: Home, agent: subprocess.Popen[str]) -> None:
        assert agent_process(home) == agent.pid

    def test_one_that_was_killed(self, home: Home, agent: subprocess.Popen[str]) -> None:
        agent.kill()
        agent.wait()
        assert home.agent_lock.read_text(encoding="ascii").strip() == str(agent.pid)
        assert agent_process(home) is None

    def test_a_number_that_another_process_has_now(self, home: Home) -> None:
        home.agent_lock.write_text(f"{os.getpid()}\n", encoding="ascii")
        assert agent_process(home) is None

    @pytest.mark.parametrize("content", ["", "nonsense", "-1"])
    def test_what_is_no_number(self, home: Home, content: str) -> None:
        home.agent_lock.write_text(content, encoding="ascii")
        assert agent_process(home) is None

    def test_looking_does_not_keep_an_agent_from_starting(self, home: Home) -> None:
        home.agent_lock.write_text(f"{os.getpid()}\n", encoding="ascii")
        agent_process(home)
        with only_agent(home):
            assert agent_process(home) == os.getpid()

    def test_nor_does_somebody_who_looks_at_that_very_moment(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        looking = os.open(home.agent_lock, os.O_RDWR | os.O_CREAT)
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr(time, "sleep", lambda _: os.close(looking))
        with only_agent(home):
            assert agent_process(home) == os.getpid()

    def test_a_second_agent_is_refused(self, home: Home, agent: subprocess.Popen[str]) -> None:
        with pytest.raises(HomeError, match=f"runs already \\(process {agent.pid}\\)"), only_agent(home):
            pass


class TestStop:
    def test_asks_and_waits(self, home: Home, agent: subprocess.Popen[str]) -> None:
        assert stop_agent(home, timeout_s=60) == agent.pid
        assert agent.wait(60) < 0

    def test_there_is_none(self, home: Home) -> None:
        with pytest.raises(NotFoundError, match="no agent runs"):
            stop_agent(home, timeout_s=1)

    @pytest.mark.parametrize("agent", ["deaf"], indirect=True)
    def test_one_that_does_not_listen(self, home: Home, agent: subprocess.Popen[str]) -> None:
        with pytest.raises(ConflictError, match=str(agent.pid)):
            stop_agent(home, timeout_s=0.2)
