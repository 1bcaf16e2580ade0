"""Finding flow runs that are due, and those that are to end: by the server's events, and by a poll that misses nothing."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import anyio
import structlog
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.events.schemas.events import Event
from prefect.states import Cancelled, Scheduled

from flows.warm.executor import Executor

_POLL_LIMIT_S: Final = 10.0
"""Without it the client's own back-off would hold one poll for minutes after the server was away."""
_RECONNECT_S: Final = 1.0
_PAGE: Final = 200


class Watch:
    """Tells an executor what there is to do, until cancelled.

    Args:
        client: the server's.
        executor: who does it.
        poll_s: seconds between two polls; events make the time between them short.
    """

    def __init__(self, client: PrefectClient, executor: Executor, *, poll_s: float) -> None:
        self._client, self._executor, self._poll_s = client, executor, poll_s
        self._kick = asyncio.Event()
        self._lost: dict[UUID, float] = {}
        self._log = structlog.get_logger().bind(watch="flow runs")

    def kick(self) -> None:
        """Poll now."""
        self._kick.set()

    async def recover(self) -> int:
        """Set going again what a dead predecessor left: whoever holds the lock is the only one who may.

        Never by force, which would keep the pause keys and skip the server's rules: gates ask again in any case.

        Returns:
            How many.
        """
        left = [run for run in await self._runs("PENDING", "RUNNING") if run.id not in self._executor.live]
        for run in left:
            await self._client.set_flow_run_state(run.id, retry("the agent was started again"))
        return len(left)

    async def poll(self) -> None:
        """Poll for ever."""
        while True:
            self._kick.clear()
            try:
                with anyio.fail_after(_POLL_LIMIT_S):
                    await self._look()
            except Exception as error:  # noqa: BLE001 - the server may be away: the next round asks again
                self._log.warning("poll failed", error=type(error).__name__)
            with anyio.move_on_after(self._poll_s):
                await self._kick.wait()

    async def events(self) -> None:
        """Listen for ever."""
        wanted = EventFilter(event=EventNameFilter(prefix=["prefect.flow-run."]))
        while True:
            try:
                async with get_events_subscriber(filter=wanted, reconnection_attempts=0) as subscriber:
                    self.kick()  # what was sent before we were connected, nobody repeats
                    async for event in subscriber:
                        self._hear(event)
            except Exception as error:  # noqa: BLE001 - the server may be away: polls go on meanwhile
                self._log.info("events broke off", error=type(error).__name__)
            await asyncio.sleep(_RECONNECT_S)

    def _hear(self, event: Event) -> None:
        run_id = UUID(event.resource.id.rsplit(".", 1)[1])
        kind = event.resource.get("prefect.state-type")
        if kind == "SCHEDULED":
            self._executor.offer(run_id)
        elif kind == "CANCELLING":
            self._executor.stop(run_id, _cancelled())

    async def _look(self) -> None:
        for run in await self._client.get_scheduled_flow_runs_for_deployments(
            self._executor.deployments, scheduled_before=datetime.now(UTC)
        ):
            self._executor.offer(run.id)
        begun = await self._runs("CANCELLING", "PENDING", "RUNNING")
        cancelling = {run.id for run in begun if run.state_type == StateType.CANCELLING}
        for run_id in cancelling:
            if not self._executor.stop(run_id, _cancelled()):
                await self._client.set_flow_run_state(run_id, Cancelled(message="it was not running"))
        await self._restart_lost({run.id for run in begun} - cancelling)

    async def _restart_lost(self, running: set[UUID]) -> None:
        """Runs that the server believes to be running, and nobody runs: their end could not be told when it was away.

        Only after two poll intervals, however often somebody kicked in between: one that has just been claimed, or has
        just ended, is not lost.
        """
        moment = time.monotonic()
        found = running - self._executor.live
        self._lost = {run_id: self._lost.get(run_id, moment) for run_id in found}
        for run_id in [run_id for run_id, since in self._lost.items() if moment - since >= 2 * self._poll_s]:
            self._log.warning("a flow run was lost: it starts again", flow_run=str(run_id))
            await self._client.set_flow_run_state(run_id, retry("nobody was running it"))
            del self._lost[run_id]

    async def _runs(self, *types: str) -> list[FlowRun]:
        deployments = [str(deployment) for deployment in self._executor.deployments]
        wanted = FlowRunFilter.model_validate(
            {"deployment_id": {"any_": deployments}, "state": {"type": {"any_": list(types)}}}
        )
        found: list[FlowRun] = []
        while True:
            page = await self._client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE, offset=len(found))
            found += page
            if len(page) < _PAGE:
                return found


def retry(why: str) -> State[Any]:
    """The state of a run that is to be run again, from the top."""
    return Scheduled(name="AwaitingRetry", message=why)


def _cancelled() -> State[Any]:
    return Cancelled(message="cancelled by a person")
