"""One at a time: two runs that want the same outcome make it once, in whichever process or pod they are."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from agents.locks import took
from agents.site import current_site

_LOOK_S: Final = 0.2
_BUSY: WeakKeyDictionary[asyncio.AbstractEventLoop, defaultdict[Path, asyncio.Lock]] = WeakKeyDictionary()


def _nothing() -> None:
    """Nobody minds."""


@asynccontextmanager
async def alone(folder: Path, *, waits: Callable[[], None] = _nothing) -> AsyncIterator[None]:
    """Be the only one who makes what lies in a folder of the site; whoever comes second finds what the first has made.

    Args:
        folder: its path; it need not exist.
        waits: called when somebody else is at it.
    """
    here = _BUSY.setdefault(asyncio.get_running_loop(), defaultdict(asyncio.Lock))[folder]
    if here.locked():
        waits()
    async with here:
        # The file stays: a lock on a removed one protects nothing.
        path = current_site().home.folder("locks") / f"{folder.parent.name}-{folder.name}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not took(descriptor):
                waits()
                # A thread that waits in the kernel would go on waiting, and then hold it, after its task was cancelled.
                while not took(descriptor):  # noqa: ASYNC110 - another process's file has no event to wait for
                    await asyncio.sleep(_LOOK_S)
            yield
        finally:
            os.close(descriptor)
