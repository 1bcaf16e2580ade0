"""One at a time at one outcome: within a process, and between processes as flow pods are."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.home import SiteSettings, create_home
from agents.site import HOME_VARIABLE, current_site
from flows.alone import alone

pytestmark = pytest.mark.anyio
_OTHER = """
import asyncio, sys
from pathlib import Path
from flows.alone import alone

async def hold():
    async with alone(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()

asyncio.run(hold())
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = create_home(tmp_path / "home", SiteSettings(site="north", registry_url="http://127.0.0.1:9"), "secret")
    monkeypatch.setenv(HOME_VARIABLE, str(home.path))
    yield home.folder("prepared") / "0123456789ab"
    current_site().close()


@pytest.fixture
def other(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is at it, until it hears a line."""
    words = [sys.executable, "-c", _OTHER, str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


async def test_two_of_one_process(folder: Path) -> None:
    said: list[str] = []

    async def one(name: str) -> None:
        async with alone(folder, waits=lambda: said.append(f"{name} waits")):
            said.append(f"{name} begins")
            await asyncio.sleep(0.01)
            said.append(f"{name} ends")

    await asyncio.gather(one("a"), one("b"))
    assert said == ["a begins", "b waits", "a ends", "b begins", "b ends"]


async def test_another_process(folder: Path, other: subprocess.Popen[str]) -> None:
    waits, entered = asyncio.Event(), asyncio.Event()

    async def second() -> None:
        async with alone(folder, waits=waits.set):
            entered.set()

    task = asyncio.create_task(second())
    await asyncio.wait_for(waits.wait(), 60)
    assert not entered.is_set()
    other.communicate("go\n", timeout=60)
    await asyncio.wait_for(task, 60)
    assert entered.is_set()


async def test_who_no_longer_waits_does_not_get_it(folder: Path, other: subprocess.Popen[str]) -> None:
    waits = asyncio.Event()

    async def second() -> None:
        async with alone(folder, waits=waits.set):
            pass

    task = asyncio.create_task(second())
    await asyncio.wait_for(waits.wait(), 60)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    other.communicate("go\n", timeout=60)
    async with asyncio.timeout(60), alone(folder):
        pass


async def test_what_is_beside_is_nobody_s_business(folder: Path, other: subprocess.Popen[str]) -> None:
    assert other.poll() is None
    async with asyncio.timeout(60), alone(folder.with_name("ba9876543210")):
        pass
