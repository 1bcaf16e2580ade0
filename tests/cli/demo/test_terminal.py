"""A terminal elsewhere: what is typed runs there, and a connection that has gone is said to have gone."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo.terminal import Place, Terminal
from cli.errors import FailedError

PLACE = Place("assay-north", "assay-agent", "agent")
SERVE = [sys.executable, "-m", "cli.demo.shell"]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """The same program as in a pod, in a process beside this one."""
    made = Terminal(PLACE, tmp_path / "logs" / "north.log", SERVE)
    yield made
    made.close()


class TestPlace:
    def test_it_is_what_a_person_types(self) -> None:
        command = " ".join(PLACE.command("sh", interactive="-it"))
        assert command == "kubectl -n assay-north exec -it deployment/assay-agent -c agent -- sh"


class TestTypeIn:
    def test_several_commands_one_after_the_other(self, terminal: Terminal) -> None:
        assert terminal.type_in(["--version"], {}).output.startswith("assay ")
        refused = terminal.type_in(["job", "list"], {"ASSAY_SITE_HOME": "/nowhere", "ASSAY_SITE_TOKEN": "none"})
        assert refused.code == 11
        assert "/nowhere" in refused.errors
        assert terminal.type_in(["--version"], {}).code == 0

    def test_it_knows_what_it_is_told_and_nothing_of_the_caller(
        self, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ASSAY_SITE_HOME", "/mine")
        assert "no site is named" in terminal.type_in(["job", "list"], {}).errors

    def test_a_connection_that_has_ended_says_what_it_said_last(self, tmp_path: Path) -> None:
        program = "import sys; sys.exit('error: pod has gone')"
        terminal = Terminal(PLACE, tmp_path / "north.log", [sys.executable, "-c", program])
        with pytest.raises(FailedError, match=r"'assay-north' has ended: error: pod has gone"):
            terminal.type_in(["--version"], {})
        terminal.close()

    def test_one_that_says_nothing_is_not_waited_for_without_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cli.demo.terminal._ANSWER_S", 0.2)
        program = "import sys; sys.stdin.readlines()"
        terminal = Terminal(PLACE, tmp_path / "north.log", [sys.executable, "-c", program])
        try:
            with pytest.raises(FailedError, match=r"nobody answered in 'assay-north'.*assay job"):
                terminal.type_in(["job", "list"], {})
        finally:
            terminal.close()


class TestClose:
    def test_what_does_not_hang_up_is_killed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cli.demo.terminal._END_S", 0.3)
        program = "import time; time.sleep(600)"
        terminal = Terminal(PLACE, tmp_path / "north.log", [sys.executable, "-c", program])
        terminal.close()
        assert terminal._process.returncode == -9
