"""The demonstration's processes: they log, they are watched, they end with it."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.demo.federation import Federation, Process, command, free_port
from cli.errors import FailedError

_LIMIT_S = 60.0


def _until_ended(pid: int) -> bool:
    end = time.monotonic() + _LIMIT_S
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def _until(federation: Federation, word: str) -> None:
    end = time.monotonic() + _LIMIT_S
    log = federation.processes[0].log
    while word not in log.read_text(encoding="utf-8"):
        assert time.monotonic() < end, log.read_text(encoding="utf-8")
        time.sleep(0.02)


class TestStart:
    def test_a_process_runs_assay_and_logs(self, tmp_path: Path) -> None:
        with Federation(tmp_path) as federation:
            process = federation.start("version", "--version")
            assert process.running.wait(_LIMIT_S) == 0
            assert process.log.read_text(encoding="utf-8").startswith("assay ")

    def test_it_knows_nothing_of_the_callers_tokens(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASSAY_TOKEN", "the caller's")
        with Federation(tmp_path) as federation:
            process = federation.start("whoami", "whoami", ASSAY_REGISTRY_URL="http://127.0.0.1:9")
            assert process.running.wait(_LIMIT_S) != 0
            assert "token" in process.log.read_text(encoding="utf-8")


class TestRequireAlive:
    def test_one_that_ended_is_named_with_the_end_of_its_log(self, tmp_path: Path) -> None:
        with Federation(tmp_path) as federation:
            process = federation.start("north", "agent", "start", ASSAY_SITE_HOME=str(tmp_path / "nowhere"))
            process.running.wait(_LIMIT_S)
            with pytest.raises(FailedError, match=r"(?s)north ended with \d+;.*nowhere"):
                federation.require_alive()


class TestStop:
    def test_leaving_the_block_ends_all_of_them(self, tmp_path: Path) -> None:
        with Federation(tmp_path) as federation:
            sleeper = _sleeper(federation, ignores=False)
        assert _until_ended(sleeper)
        assert federation.processes == []

    def test_what_does_not_end_when_asked_is_killed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cli.demo.federation._STOP_S", 0.5)
        with Federation(tmp_path) as federation:
            sleeper = _sleeper(federation, ignores=True)
        assert _until_ended(sleeper)


def _sleeper(federation: Federation, *, ignores: bool) -> int:
    """One of the federation's processes that stays until it is ended; its identifier once it is ready."""
    how = "signal.SIG_IGN" if ignores else "signal.SIG_DFL"
    program = f"import signal, time; signal.signal(signal.SIGTERM, {how}); print('ready', flush=True); time.sleep(600)"
    log = federation.folder / "sleeper.log"
    with log.open("wb") as output:
        running = subprocess.Popen([sys.executable, "-c", program], stdout=output, start_new_session=True)
    federation.processes.insert(0, Process("sleeper", running, log))
    _until(federation, "ready")
    return running.pid


class TestCommand:
    def test_it_is_this_installation(self) -> None:
        assert command(["whoami"])[-1] == "whoami"
        assert "cli.main" in command(["whoami"])[2]


class TestFreePort:
    def test_it_can_be_listened_on(self) -> None:
        with socket.create_server(("127.0.0.1", free_port())):
            pass
