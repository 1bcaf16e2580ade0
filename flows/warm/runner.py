"""The warm runner: one thread that finds flow runs, claims them, and executes them in this process.

Its event loop is not the main thread's: there Prefect's engine would replace our SIGTERM handler while a run lives, and
a run that stalls the loop would stall a web server with it.
"""

import asyncio
import builtins
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from contextvars import Context, copy_context
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import structlog
from prefect.context import AsyncClientContext  # undocumented: one API client for all runs of a loop
from prefect.logging.loggers import print_as_log  # undocumented
from prefect.settings import temporary_settings

from agents.errors import AgentError
from agents.locks import FileLock
from flows.deployments import AnyFlow, register
from flows.pools import Pool, offer
from flows.settings import CLIENT_MAX_RETRIES, HEARTBEAT_S
from flows.warm.executor import Executor
from flows.warm.farewell import send_what_is_left
from flows.warm.watch import Watch, retry

_DRAIN_S: Final = 20.0
_RUNNING: Final[dict["WarmRunner", tuple[str, dict[str, str]]]] = {}
"""Those of this process: the server of each, and what is sent to it along with each request."""


class RunnerError(AgentError):
    """The runner did not come up."""


class WarmRunner:
    """Runs the flows of one home, until `stop()`.

    Args:
        flows: async flows, whose steps are idempotent.
        deployment: the name under which they can be asked for: `<flow>/<deployment>`.
        api_url: the Prefect server's, ending in `/api`.
        lock: a file; whoever holds it is the only runner of these deployments.
        limit: how many runs at once.
        poll_s: seconds between two polls.
        headers: sent with each request, websockets too: who we are, where a sign-in layer stands in front.
        pool: where the flows are offered besides, for workers to run them.
    """

    def __init__(
        self,
        flows: Iterable[AnyFlow],
        *,
        deployment: str,
        api_url: str,
        lock: Path,
        limit: int = 16,
        poll_s: float = 5.0,
        headers: Mapping[str, str] | None = None,
        pool: Pool | None = None,
    ) -> None:
        self._pool = pool
        self._flows, self._deployment, self._api_url = list(flows), deployment, api_url
        self._limit, self._poll_s, self._headers = limit, poll_s, dict(headers or {})
        self._lock = FileLock(lock, f"the flows of {str(lock.parent)!r} are run already")
        self._name = f"{deployment}-{os.getpid()}"
        self._thread = threading.Thread(target=self._run, name=f"flows-{deployment}", daemon=True)
        self._ready, self._failed = threading.Event(), ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._executor: Executor | None = None
        self._context = Context()
        self._done = asyncio.Event()
        self._log = structlog.get_logger().bind(runner=self._name)

    def start(self, timeout_s: float = 60.0) -> None:
        """Take the lock, register the deployments, set going what was left, and begin to look for runs.

        Raises:
            HomeError: another process runs this home's flows.
            RunnerError: the server does not answer, or this process runs the flows of another one.
        """
        self._refuse_two_servers()
        self._lock.take()
        _RUNNING[self] = (self._api_url, self._headers)
        _quiet_suspensions()
        # Prefect swaps `print` for each run that logs prints, and puts back what it found under the feet of the others:
        # with its own function there from the start, all of them find the same.
        builtins.print = print_as_log
        self._thread.start()
        if not self._ready.wait(timeout_s) or self._failed:
            self.stop(0)
            raise RunnerError(
                f"the flows of {self._deployment!r} cannot be run at {self._api_url!r}: {self._failed or 'no answer'}"
            )

    def nudge(self, flow_run_id: str) -> None:
        """A run was made or woken just now: no need to wait until an event tells."""
        executor, loop = self._executor, self._loop
        if executor is not None and loop is not None:
            # In the runner's own context: Prefect's settings, its server's address among them, hold there alone.
            loop.call_soon_threadsafe(executor.offer, UUID(flow_run_id), context=self._context.copy())

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Take nothing new, end what runs (it goes on after the next start), and end. Safe in a signal handler.

        What runs in `to_thread` cannot be ended: after the time limit it is left behind.
        """
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._done.set)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        send_what_is_left()
        self._lock.release()
        _RUNNING.pop(self, None)

    def _refuse_two_servers(self) -> None:
        """Prefect's client sends the logs and events of a whole process to the server that it met first.

        Those of a second server's runs would be lost: their tasks would seem never to end.
        """
        for url, headers in _RUNNING.values():
            if (url, headers) != (self._api_url, self._headers):
                raise RunnerError(
                    f"this process runs the flows of {url!r}: those of {self._api_url!r} need a process of their own"
                )
        if not _RUNNING:
            send_what_is_left()  # of a server before this one, whose runs said something after their runner's end

    def _run(self) -> None:
        updates = {
            "api.url": self._api_url,
            "client.custom_headers": self._headers,
            "server.ephemeral.enabled": False,
            "client.max_retries": CLIENT_MAX_RETRIES,
            "flows.heartbeat_frequency": HEARTBEAT_S,
        }
        try:
            with temporary_settings(updates=updates):
                asyncio.run(self._main())
        except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to: start() tells, or the log does
            self._failed = f"{type(error).__name__}: {error}"
            self._log.error("the runner ended", error=self._failed)
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with AsyncClientContext.get_or_create() as context:
            self._context = copy_context()
            client = context.client
            flows = await register(client, self._flows, self._deployment)
            if self._pool is not None:
                await offer(client, self._flows, self._pool)
            executor = Executor(client, flows, name=self._name, limit=self._limit)
            watch = Watch(client, executor, poll_s=self._poll_s)
            executor.when_room = watch.kick
            again = await watch.recover()
            self._log.info("ready", deployments=len(flows), set_going_again=again)
            self._executor = executor
            self._ready.set()
            await self._until_done(watch.poll, watch.events, self._guard_lock)
            await executor.drain(lambda: retry("the agent was stopped"), _DRAIN_S)

    async def _until_done(self, *loops: Callable[[], Coroutine[Any, Any, None]]) -> None:
        tasks = [asyncio.create_task(loop()) for loop in loops]
        await self._done.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guard_lock(self) -> None:
        """Without the lock another process may recover our runs while we run them: stop at once."""
        while self._lock.is_held():  # noqa: ASYNC110 - a file has no event to wait for
            await asyncio.sleep(1)
        self._log.error("the runner's lock was taken away: stopping")
        self._done.set()


class _NoSuspensions(logging.Filter):
    """Prefect logs each suspension as an error: for us it is the ordinary way to wait."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "Finished in state Suspended" not in record.getMessage()


def _quiet_suspensions() -> None:
    logger = logging.getLogger("prefect.flow_runs")
    if not any(isinstance(known, _NoSuspensions) for known in logger.filters):
        logger.addFilter(_NoSuspensions())
