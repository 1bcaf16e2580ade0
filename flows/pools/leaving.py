"""A flow in a process of its own that is told to go because its pod is: its steps stay, and the next pod takes them over.

One that a person cancelled takes its steps with it. Prefect tells its process which it is before it sends the signal.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from prefect._internal.control_listener import get_intent  # undocumented; the version is pinned

from agents.site import Site

_GOES_ON: Final = frozenset({"relinquish", "reschedule"})


@contextmanager
def steps_outlive(site: Site) -> Iterator[None]:
    """Leave the site's steps when this process is told to go, for as long as the block lasts.

    Where flows run in the agent's process, in a thread of theirs, the agent itself says when it goes.
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def told_to_go(number: int, frame: FrameType | None) -> None:
        if get_intent() in _GOES_ON:
            site.leave_steps()
        before(number, frame)

    signal.signal(signal.SIGTERM, told_to_go)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
