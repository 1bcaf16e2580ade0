"""Progress on stderr where somebody watches; nothing at all where nobody does. What was begun is cleared away."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from cli.errors import TimedOutError

Found = TypeVar("Found")
_LOOK_EVERY_S: Final = 0.25


@contextmanager
def transfer(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar over bytes; call what is given with how many more went by."""
    with _bar(bytes_=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda amount: bar.advance(task, amount)


@contextmanager
def working(label: str) -> Iterator[Callable[[str], None]]:
    """A turning sign beside a line that may change; call what is given with the new line."""
    with _bar(bytes_=False) as bar:
        task = bar.add_task(label, total=None)
        yield lambda line: bar.update(task, description=line)


@contextmanager
def scratch() -> Iterator[Path]:
    """A private folder that is gone afterwards, also after Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        yield Path(folder)


def wait_until(look: Callable[[], tuple[Found | None, str]], label: str, timeout_s: float) -> Found:
    """Look again and again until there is something.

    Args:
        look: what was found, if anything yet, and the line that people see meanwhile.
        label: what is waited for.
        timeout_s: for how long.

    Raises:
        TimedOutError: it took longer.
    """
    until = time.monotonic() + timeout_s
    with working(label) as show:
        while True:
            found, line = look()
            if found is not None:
                return found
            show(f"{label}: {line}" if line else label)
            if time.monotonic() >= until:
                raise TimedOutError(f"{label}: not finished after {timeout_s:g} s ({line or 'nothing to report'})")
            time.sleep(min(_LOOK_EVERY_S, max(0.0, until - time.monotonic())))


@contextmanager
def _bar(*, bytes_: bool) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), DownloadColumn()) if bytes_ else (SpinnerColumn(), TimeElapsedColumn())
    console = Console(file=sys.stderr, markup=False)
    with Progress(
        TextColumn("{task.description}", markup=False),
        *columns,
        console=console,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        yield bar
