"""A flow run inside this process, and how it is ended from outside."""

import functools
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import anyio
from prefect.client.schemas.objects import State
from prefect.filesystems import LocalFileSystem
from prefect.settings import get_current_settings

from flows.deployments import AnyFlow

Body = Callable[..., Awaitable[Any]]


class Slot:
    """One live run. `stop` ends its body; the run is left in the state that was asked for first."""

    def __init__(self) -> None:
        self.end: State[Any] | None = None
        self._scope: anyio.CancelScope | None = None

    def stop(self, end: State[Any]) -> None:
        self.end = self.end or end
        if self._scope is not None:
            self._scope.cancel()

    async def run(self, body: Body, *args: Any, **kwargs: Any) -> Any:
        """The body's result, or the state to end in when it was stopped."""
        with anyio.CancelScope() as self._scope:
            if self.end is not None:
                self._scope.cancel()
            return await body(*args, **kwargs)
        return self.end


CURRENT: ContextVar[Slot] = ContextVar("slot")
"""Set in the task of each run, and so seen by its body alone."""


def stoppable(flow: AnyFlow) -> AnyFlow:
    """The flow with a body that its slot can end.

    A stopped body *returns* the end state, and the engine proposes it in the ordinary way. Cancelling the task instead
    would make the engine force the state Crashed, past every rule of the server.
    """
    original: Body = flow.fn

    @functools.wraps(original)
    async def body(*args: Any, **kwargs: Any) -> Any:
        return await CURRENT.get().run(original, *args, **kwargs)

    copy = flow.with_options()
    copy.fn = body
    if copy.result_storage is None:
        # Results stay in memory; but without a place that is named, Prefect asks its server for one at each run.
        copy.result_storage = LocalFileSystem(basepath=str(get_current_settings().results.local_storage_path))
    return copy
