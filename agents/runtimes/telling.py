"""A step's log, line by line, for people who watch: only its beginning, so that nothing floods what shows it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agents.runtimes.outcomes import printable

MOST_BYTES: Final = 64 * 1024
_LONGEST: Final = 2_000


@dataclass(frozen=True, slots=True)
class Listener:
    """Who watches a step."""

    log: Callable[[str], None] | None = None
    """Hears the first lines of its log: words of a stranger, and perhaps about a patient."""
    note: Callable[[str], None] | None = None
    """Hears why it waits, in the words of whatever runs it."""


NOBODY: Final = Listener()


class Teller:
    """Passes on lines until they are too many; never raises for what a step writes.

    Args:
        tell: who is told; nobody when left out.
        note: who is told what is not from the log.
        most_bytes: after so much one last line says where the rest is.
    """

    def __init__(
        self,
        tell: Callable[[str], None] | None,
        note: Callable[[str], None] | None = None,
        *,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._tell, self._note, self._left = tell, note, most_bytes
        self._rest = b""
        self._seen = 0

    def say(self, line: str) -> None:
        """Something about the step that is not from its log."""
        if self._note is not None:
            self._note(printable(line))

    def feed(self, piece: bytes, *, offset: int | None = None) -> None:
        """Bytes of the log. With an `offset`, what was fed before is not told again."""
        if offset is not None:
            piece = piece[max(0, self._seen - offset) :]
        self._seen += len(piece)
        *lines, self._rest = (self._rest + piece[: _LONGEST + self._left if self._left > 0 else 0]).split(b"\n")
        self._rest = self._rest[:_LONGEST]
        for line in lines:
            self._pass_on(line)

    def end(self) -> None:
        """The log is over: tell a last line that has no end."""
        if self._rest:
            self._pass_on(self._rest)
            self._rest = b""

    def _pass_on(self, line: bytes) -> None:
        if self._left <= 0 or self._tell is None:
            return
        self._left -= len(line) + 1
        self._tell(printable(line[:_LONGEST].decode(errors="replace")))
        if self._left <= 0:
            self._tell("(the rest is in the step's log file at this site)")
