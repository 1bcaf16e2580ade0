"""Which flow run the present request may wake: known to its own task alone, and to what it calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PERMIT: ContextVar[str | None] = ContextVar("permit", default=None)


@contextmanager
def permit(flow_run_id: str) -> Iterator[None]:
    """Let what this task asks of Prefect wake one flow run."""
    token = _PERMIT.set(flow_run_id)
    try:
        yield
    finally:
        _PERMIT.reset(token)


def permitted() -> str | None:
    return _PERMIT.get()
