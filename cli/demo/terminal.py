"""A terminal in a pod: commands are typed there, where the site's folder is, and nowhere else."""

import json
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from cli.demo.kubectl import kubectl
from cli.demo.shell import Ended
from cli.errors import FailedError

_SHELL: Final = ("python", "-m", "cli.demo.shell")
_END_S: Final = 10.0
_ANSWER_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Place:
    """A container of a Deployment."""

    namespace: str
    deployment: str
    container: str

    def command(self, *words: str, interactive: str = "") -> list[str]:
        """What runs `words` there."""
        flags = [interactive] if interactive else []
        return ["kubectl", *self._exec(words, *flags)]

    def ask(self, *words: str) -> str:
        """What `words` print there.

        Raises:
            FailedError: they end with another code than 0, or there is no pod.
        """
        return kubectl(*self._exec(words))

    def _exec(self, words: Sequence[str], *flags: str) -> list[str]:
        target = (f"deployment/{self.deployment}", "-c", self.container)
        return ["-n", self.namespace, "exec", *flags, *target, "--", *words]


class Terminal:
    """One connection, kept: `kubectl exec` for each command would be a connection and a Python start each time.

    Args:
        place: where.
        log: for what the connection itself has to say.
        command: what is run instead of `kubectl exec`, to serve commands elsewhere.
    """

    def __init__(self, place: Place, log: Path, command: Sequence[str] | None = None) -> None:
        self.place, self._log = place, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command or place.command(*_SHELL, interactive="-i"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is for the demonstration, which then ends what it has started
            )

    def type_in(self, words: Sequence[str], environment: Mapping[str, str], typed: str = "") -> Ended:
        """Run a command there.

        Raises:
            FailedError: the connection has ended, with the end of its log; or nobody answers.
        """
        asked = json.dumps({"words": list(words), "environment": dict(environment), "typed": typed})
        try:
            _pipe(self._process.stdin).write(asked + "\n")
            _pipe(self._process.stdin).flush()
            if not select.select([_pipe(self._process.stdout)], [], [], _ANSWER_S)[0]:
                raise FailedError(
                    f"nobody answered in {self.place.namespace!r} for {_ANSWER_S:.0f} s: assay {words[0]}"
                )
            answer = _pipe(self._process.stdout).readline()
        except (BrokenPipeError, ValueError):
            answer = ""
        if not answer:
            last = self._log.read_text(encoding="utf-8", errors="replace").strip()[-500:]
            raise FailedError(f"the terminal in {self.place.namespace!r} has ended: {last or 'its pod has gone'}")
        return Ended(**json.loads(answer))

    def close(self) -> None:
        """Hang up."""
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                _pipe(pipe).close()
            except BrokenPipeError:
                continue  # it has hung up first
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise FailedError("a terminal without pipes")
    return pipe
