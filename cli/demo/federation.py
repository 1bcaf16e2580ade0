"""The federation on this machine: where it lies, which processes run, and how they end."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cli.demo.shell import clean_environment
from cli.errors import FailedError

_STOP_S: Final = 40.0


@dataclass(slots=True)
class Process:
    """One of the federation's processes and where it logs."""

    name: str
    running: subprocess.Popen[bytes]
    log: Path

    def require_alive(self) -> None:
        """See that it runs.

        Raises:
            FailedError: it has ended; with the end of its log.
        """
        if self.running.poll() is not None:
            last = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise FailedError(f"{self.name} ended with {self.running.returncode}; {str(self.log)!r} ends with:\n{last}")


@dataclass(slots=True)
class Federation:
    """Processes below one folder. Leaving the block ends all of them, also after Ctrl-C or an error."""

    folder: Path
    processes: list[Process] = field(default_factory=list)

    def start(self, name: str, *words: str, **environment: str) -> Process:
        """Start `assay ...` as a process of its own."""
        return self.run(name, command(words), **environment)

    def run(self, name: str, program: Sequence[str], **environment: str) -> Process:
        """Start a program that belongs to the federation."""
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            running = subprocess.Popen(
                program,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**clean_environment(), **environment},
                # Ctrl-C is for the demonstration, which then ends its processes in order.
                start_new_session=True,
            )
        process = Process(name, running, log)
        self.processes.append(process)
        return process

    def require_alive(self) -> None:
        for process in self.processes:
            process.require_alive()

    def stop(self) -> None:
        """Ask all to end, side by side; what does not in time is killed."""
        for process in self.processes:
            if process.running.poll() is None:
                process.running.terminate()
        end = time.monotonic() + _STOP_S
        for process in self.processes:
            try:
                process.running.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.running.pid, signal.SIGKILL)
                process.running.wait()
        self.processes.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def command(words: Sequence[str]) -> list[str]:
    """`assay ...` by this interpreter, whatever the search path says."""
    return [sys.executable, "-c", "from cli.main import main; main()", *words]


def free_port() -> int:
    """A port that nobody listens on at this moment.

    Below those that the system gives to connections by itself: minutes may pass until somebody listens on it.
    """
    while True:
        port = random.randint(20_000, 32_000)  # noqa: S311 - no secret
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
