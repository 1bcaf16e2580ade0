"""A federation in a cluster ends: everything is taken away, and the first error is the one that is told."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from cli.demo.cluster import Cluster
from cli.demo.deployed import InCluster
from cli.demo.images import ImageBuilder
from cli.demo.terminal import Place, Terminal
from cli.errors import FailedError, TimedOutError

STAYS = "not everything has gone: kubectl delete namespace -l assay/demo=1"


class _Stubborn(Cluster):
    """Namespaces that do not go."""

    def remove(self) -> None:
        raise FailedError(STAYS)


@pytest.fixture
def seen() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def ground(tmp_path: Path, seen: io.StringIO) -> InCluster:
    return InCluster(_Stubborn(), ImageBuilder("127.0.0.1:1", "python"), tmp_path, Console(file=seen, width=200))


class TestEnd:
    def test_what_stays_is_an_error(self, ground: InCluster) -> None:
        with pytest.raises(FailedError, match="not everything has gone"), ground:
            pass

    def test_what_went_wrong_before_is_told_as_it_was(self, ground: InCluster, seen: io.StringIO) -> None:
        with pytest.raises(TimedOutError, match="the moon"), ground:
            raise TimedOutError("the moon did not rise")
        assert STAYS in seen.getvalue()

    def test_terminals_are_hung_up(self, ground: InCluster, tmp_path: Path) -> None:
        place = Place("assay-demo-north", "assay-agent", "agent")
        terminal = Terminal(place, tmp_path / "log", [sys.executable, "-c", "import sys; sys.stdin.read()"])
        ground._terminals.append(terminal)
        with pytest.raises(FailedError), ground:
            pass
        assert terminal._process.poll() is not None

    def test_images_come_before_everything_else(self, ground: InCluster) -> None:
        with pytest.raises(RuntimeError, match="prepare"):
            ground.cube("metrics")
