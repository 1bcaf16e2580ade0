"""Runners for a test's own flows, and the same flows in a process that can be killed."""

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.deployments import AnyFlow
from flows.warm import WarmRunner

RunWarm = Callable[..., WarmRunner]


@pytest.fixture
def run_warm(prefect_url: str, tmp_path: Path) -> Iterator[RunWarm]:
    """Run flows warm until the test ends, as deployments `<flow>/test`."""
    runners: list[WarmRunner] = []

    def run(*flows: AnyFlow, **options: Any) -> WarmRunner:
        settings: dict[str, Any] = {
            "deployment": "test",
            "api_url": prefect_url,
            "lock": tmp_path / f"lock-{len(runners)}",
        } | options
        runner = WarmRunner(flows, **settings)
        runner.start()
        runners.append(runner)
        return runner

    yield run
    for runner in runners:
        runner.stop()


@pytest.fixture
def in_process(prefect_url: str, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """A program that defines FLOWS, run with a runner in a process of its own that ends on SIGTERM.

    It writes to `tmp_path / "log"` through `note(text)`.
    """
    processes: list[subprocess.Popen[bytes]] = []
    head = f"""
        import asyncio, os, signal, threading
        from pathlib import Path
        from flows.settings import configure
        configure(home=Path({str(tmp_path / "prefect")!r}))
        from prefect import flow
        from prefect.runtime import flow_run as this_run
        from flows.warm import WarmRunner

        def note(text):
            with open({str(tmp_path / "log")!r}, "a") as file:
                file.write(text + "\\n")
    """
    tail = f"""
        runner = WarmRunner(
            FLOWS, deployment="test", api_url={prefect_url!r}, lock=Path({str(tmp_path / "process.lock")!r})
        )
        done = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: done.set())
        runner.start()
        note("ready")
        done.wait()
        runner.stop()
        note("stopped")
    """

    def run(program: str) -> subprocess.Popen[bytes]:
        script = tmp_path / f"program-{len(processes)}.py"
        script.write_text("".join(textwrap.dedent(part) for part in (head, program, tail)))
        process = subprocess.Popen([sys.executable, str(script)], cwd=Path.cwd())
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()
