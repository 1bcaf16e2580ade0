"""Progress where somebody watches, nothing where nobody does, nothing left behind."""

import io
import os
import sys
from pathlib import Path

import pytest

from cli.errors import TimedOutError
from cli.progress import scratch, transfer, wait_until, working


class TestScratch:
    def test_is_private_and_gone_afterwards(self) -> None:
        with scratch() as space:
            (space / "large.tar").write_bytes(b"x")
            assert space.stat().st_mode & 0o077 == 0
        assert not space.exists()

    def test_is_gone_after_an_interruption_too(self) -> None:
        seen: list[Path] = []
        with pytest.raises(KeyboardInterrupt), scratch() as space:
            seen.append(space)
            (space / "large.tar").write_bytes(b"x")
            raise KeyboardInterrupt
        assert not seen[0].exists()


class TestShow:
    def test_a_pipe_sees_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        with transfer("sending", 100) as sent, working("packing") as line:
            sent(50)
            line("still packing")
        ended = capsys.readouterr()
        assert not ended.out
        assert not ended.err

    def test_a_terminal_sees_it_on_stderr(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        screen = Terminal()
        monkeypatch.setattr(sys, "stderr", screen)
        monkeypatch.setitem(os.environ, "TERM", "xterm")
        with transfer("sending weights", 100) as sent:
            sent(50)
        assert "sending weights" in screen.getvalue()


class TestWaitUntil:
    def test_looks_until_there_is_something(self) -> None:
        looks: list[int] = []

        def look() -> tuple[str | None, str]:
            looks.append(1)
            return ("done" if len(looks) == 3 else None), f"{len(looks)} of 3"

        assert wait_until(look, "work", 60) == "done"

    def test_gives_up_with_the_last_line(self) -> None:
        with pytest.raises(TimedOutError, match=r"work: not finished after 0 s \(1 of 3\)"):
            wait_until(lambda: (None, "1 of 3"), "work", 0)
