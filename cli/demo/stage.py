"""The stage: plays commands as the people who type them, shows what they see, and keeps the story for the summary."""

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from rich.console import Console
from rich.text import Text

from cli.demo.cast import Actor
from cli.demo.federation import command as assay
from cli.demo.shell import clean_environment, type_in
from cli.errors import FailedError, TimedOutError

WIDTH: Final = 140
"""Columns of the story where no terminal says how many it has."""
_SET_IN: Final = " " * 8
_COLUMNS: Final = str(WIDTH - len(_SET_IN))
"""Of what a command prints, which is shown set in."""
_LONGEST_WAIT_S: Final = 1800.0
_LOOK_EVERY_S: Final = 0.5
_SHOWN_LINES: Final = 14


@dataclass(frozen=True, slots=True)
class Played:
    """One command and how it ended."""

    actor: str
    command: str
    code: int
    output: str


@dataclass(slots=True)
class Phase:
    title: str
    seconds: float = 0.0
    commands: list[Played] = field(default_factory=list)


class Stage:
    """Where the story is played.

    Commands run through the same entry point as from a shell, in this process, under the actor's environment: a Python
    start for each of them would be most of the demonstration's time.
    """

    def __init__(self, console: Console, *, by_hand: bool = False) -> None:
        self.console, self.by_hand = console, by_hand
        self.phases: list[Phase] = []
        self._quiet = False

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """A chapter: its heading, its commands, its time."""
        phase = Phase(title)
        self.phases.append(phase)
        self.console.print()
        self.console.print(Text(f" {len(self.phases)}  {title} ", style="bold reverse"))
        begun = time.monotonic()
        try:
            yield
        finally:
            phase.seconds = round(time.monotonic() - begun, 1)
            self.console.print(Text(f"    {phase.seconds} s", style="dim"))

    def tell(self, text: str) -> None:
        self.console.print(Text(f"    {text}", style="italic"))

    @contextmanager
    def aside(self, told: str) -> Iterator[None]:
        """Commands that are told of in a sentence; the summary has each."""
        self.tell(told)
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def gate(self, question: str) -> None:
        """A flow rests: somebody is asked."""
        self.console.print(Text(f"    GATE  {question}", style="bold yellow"))

    def hand_over(self, actor: Actor, *commands: Sequence[str]) -> None:
        """Tell the reader what to type, as whom."""
        self.console.print(Text(f"    You are {actor.name}. In another terminal:", style="bold magenta"))
        program = _assay() if actor.terminal is None else "assay"
        typed = [f"{program} {shlex.join(words)}" for words in commands]
        for line in (*actor.becoming(), *typed):
            self.console.print(Text(f"{_SET_IN}{line}"), soft_wrap=True)

    def play(self, actor: Actor, *words: str, show: bool = False, typed: str = "") -> str:
        """Let somebody type a command, and what it asks for.

        Raises:
            FailedError: it ended with another code than 0; with what it said.
        """
        command = shlex.join(("assay", *words))
        self._announce(actor, command)
        played = self._run(actor, words, command, typed)
        self._keep(played)
        if show:
            self.show(played.output)
        return played.output

    def play_for_data(self, actor: Actor, *words: str, typed: str = "") -> Any:
        """Let somebody type a command, and what it asks for, whose answer is needed, a secret perhaps: it is not shown.

        Raises:
            FailedError: it ended with another code than 0; with what it said.
        """
        command = shlex.join(("assay", *words))
        self._announce(actor, command)
        played = self._run(actor, (*words, "--json"), command, typed)
        self._keep(replace(played, output="" if played.code == 0 else played.output))
        return json.loads(played.output)

    def succeeds(self, actor: Actor, *words: str) -> bool:
        """Whether a command ends with 0; nothing is shown."""
        return self._run(actor, words, "").code == 0

    def ask(self, actor: Actor, *words: str) -> Any:
        """The same question as a program asks it: nothing is shown, the answer is data."""
        played = self._run(actor, (*words, "--json"), shlex.join(("assay", *words, "--json")))
        if played.code != 0:
            raise FailedError(f"{played.command!r} of {actor.name} ended with {played.code}: {played.output.strip()}")
        return json.loads(played.output)

    def play_together(self, parts: Sequence[tuple[Actor, Sequence[str]]]) -> None:
        """Let several people type a long command at the same time, each in a process of their own.

        Raises:
            FailedError: one of them ended with another code than 0.
        """
        for actor, words in parts:
            self._announce(actor, shlex.join(("assay", *words)))
        with ExitStack() as stack:
            running = [(actor, words, stack.enter_context(_Typing(actor, words))) for actor, words in parts]
            self.wait("working", lambda: all(typing.has_ended for _, _, typing in running))
            for actor, words, typing in running:
                code, output = typing.outcome()
                self._keep(Played(actor.name, shlex.join(("assay", *words)), code, output))
                self.show(output)

    def wait(
        self,
        what: str,
        look: Callable[[], Any],
        *,
        progress: Callable[[], str] | None = None,
        limit_s: float = _LONGEST_WAIT_S,
    ) -> Any:
        """Wait for something that others have to do, and show how far it is.

        Raises:
            TimedOutError: it did not happen in time.
        """
        end = time.monotonic() + limit_s
        with self.console.status(Text(f"    {what}", style="dim")) as status:
            while not (found := look()):
                if time.monotonic() > end:
                    raise TimedOutError(f"{what}: did not happen in {limit_s:.0f} s")
                if progress is not None:
                    status.update(Text(f"    {what} {progress()}", style="dim"))
                time.sleep(_LOOK_EVERY_S)
        return found

    def show(self, output: str) -> None:
        """What a command printed, set in."""
        lines = output.rstrip().splitlines()
        for line in lines[:_SHOWN_LINES]:
            self.console.print(Text(f"{_SET_IN}{line}"), no_wrap=True, overflow="ellipsis")
        if len(lines) > _SHOWN_LINES:
            self.console.print(Text(f"{_SET_IN}... {len(lines) - _SHOWN_LINES} more lines", style="dim"))

    def _announce(self, actor: Actor, command: str) -> None:
        if self._quiet:
            return
        line = Text(f"    {actor.name}", style="cyan")
        line.append(f"  $ {command.replace(str(Path.cwd()) + '/', '')}", style="bold")
        self.console.print(line, no_wrap=True, overflow="ellipsis")

    def _keep(self, played: Played) -> None:
        self.phases[-1].commands.append(played)
        if played.code != 0:
            raise FailedError(f"{played.command!r} of {played.actor} ended with {played.code}: {played.output.strip()}")

    def _run(self, actor: Actor, words: Sequence[str], command: str, typed: str = "") -> Played:
        wanted = {"COLUMNS": _COLUMNS, **actor.environment}
        type_there = type_in if actor.terminal is None else actor.terminal.type_in
        ended = type_there(words, wanted, typed)
        return Played(actor.name, command, ended.code, ended.output + (ended.errors if ended.code else ""))


class _Typing:
    """A command in a process of its own; leaving the block ends it."""

    def __init__(self, actor: Actor, words: Sequence[str]) -> None:
        # Files and no pipes: nobody reads while it works, and a full pipe would stop it.
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            assay(words),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            env={**clean_environment(), **actor.environment, "COLUMNS": _COLUMNS},
        )

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def outcome(self) -> tuple[int, str]:
        """The exit code, and what it said: where it failed, on stderr."""
        file = self._err if self._process.returncode else self._out
        file.seek(0)
        return self._process.returncode, file.read().decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)
        self._out.close()
        self._err.close()


def _assay() -> str:
    """How the reader calls this very installation."""
    return str(Path(sys.executable).with_name("assay"))
