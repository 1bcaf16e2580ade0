"""What Prefect still has to say, said while its server is there.

Its client keeps logs and events in queues of its own threads, and empties them when the interpreter ends: without a server
that would take minutes, one retry after the other.
"""

from typing import Final

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

_LIMIT_S: Final = 5.0


def send_what_is_left() -> None:
    """Empty Prefect's queues and end their threads, within seconds. Call it outside any event loop."""
    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=_LIMIT_S, at_exit=False)
