"""Executing flow runs as tasks of this event loop: claim one, run it to its end, or end it from outside."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import structlog
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Abort, ObjectNotFound, Pause
from prefect.flow_engine import run_flow_async  # undocumented, as `propose_state`: tests hold both to what we rely on
from prefect.states import Pending
from prefect.utilities.engine import propose_state

from flows.deployments import AnyFlow
from flows.warm.slot import CURRENT, Slot, stoppable

_LOOKS: Final = 4
_BETWEEN_LOOKS_S: Final = 0.05


class Executor:
    """The live runs of this process.

    Args:
        client: shared by all runs of the loop.
        flows: deployment identifier to flow.
        name: who claims; shown to people.
        limit: how many runs at once; the others stay scheduled.
    """

    def __init__(
        self,
        client: PrefectClient,
        flows: Mapping[UUID, AnyFlow],
        *,
        name: str,
        limit: int,
    ) -> None:
        self._client, self._name, self._limit = client, name, limit
        self.when_room: Callable[[], None] = lambda: None
        """Called when there is room again after the limit was reached."""
        self._flows = {deployment: stoppable(flow) for deployment, flow in flows.items()}
        self._live: dict[UUID, tuple[Slot, asyncio.Task[None]]] = {}
        self._again: set[UUID] = set()
        self._stopping = False
        self._log = structlog.get_logger().bind(runner=name)

    @property
    def deployments(self) -> list[UUID]:
        return list(self._flows)

    @property
    def live(self) -> frozenset[UUID]:
        return frozenset(self._live)

    def offer(self, run_id: UUID) -> None:
        """A run that may be due: it is looked at, and claimed if it is ours."""
        if run_id in self._live:
            # It may have come to rest and been woken before its task has quite ended: look once more then.
            self._again.add(run_id)
            return
        if self._stopping or len(self._live) >= self._limit:
            return
        slot = Slot()
        task = asyncio.get_running_loop().create_task(self._execute(run_id, slot), name=f"flow run {run_id}")
        self._live[run_id] = (slot, task)
        task.add_done_callback(lambda _: self._ended(run_id))

    def stop(self, run_id: UUID, end: State[Any]) -> bool:
        """End a live run's body and leave the run in that state; False when it is not live here."""
        live = self._live.get(run_id)
        if live is not None:
            live[0].stop(end)
        return live is not None

    async def drain(self, end: Callable[[], State[Any]], timeout_s: float) -> None:
        """Take nothing new, end what is live, and wait for it."""
        self._stopping = True
        for slot, _task in list(self._live.values()):
            slot.stop(end())
        if self._live:
            await asyncio.wait([task for _slot, task in self._live.values()], timeout=timeout_s)

    def _ended(self, run_id: UUID) -> None:
        was_full = len(self._live) >= self._limit
        self._live.pop(run_id, None)
        if run_id in self._again:
            self._again.discard(run_id)
            self.offer(run_id)
        if was_full:
            self.when_room()

    async def _execute(self, run_id: UUID, slot: Slot) -> None:
        CURRENT.set(slot)
        try:
            run = await self._claim(run_id)
            if run is not None and run.deployment_id is not None:
                beside = asyncio.create_task(self._sign(run_id))
                try:
                    await self._run(run, self._flows[run.deployment_id])
                finally:
                    await beside
        except (Abort, Pause, ObjectNotFound):
            pass  # somebody else has claimed it; it rests at a gate; it was deleted
        except Exception as error:  # noqa: BLE001 - one run's trouble is not the others'; the server knows its state, or is away
            self._log.warning("a flow run broke off", flow_run=str(run_id), error=type(error).__name__)

    async def _claim(self, run_id: UUID) -> FlowRun | None:
        """The run, if it was due, and is ours now.

        The server lets one of several claimants through. Nothing else protects: an engine that is started without a
        claim on a run that is running simply runs it a second time.
        """
        run = await self._due(run_id)
        if run is None:
            return None
        run.state = await propose_state(self._client, Pending(message=f"claimed by {self._name}"), flow_run_id=run_id)
        return run if run.state.is_pending() else None

    async def _sign(self, run_id: UUID) -> None:
        """Tell people who runs it: beside the run, which waits for nothing that only people read."""
        try:
            await self._client.update_flow_run(run_id, infrastructure_pid=self._name)
        except Exception as error:  # noqa: BLE001 - nobody misses it but whoever looks at the run
            self._log.info("a run was not signed", flow_run=str(run_id), error=type(error).__name__)

    async def _due(self, run_id: UUID) -> FlowRun | None:
        for _ in range(_LOOKS):  # an event can be a moment ahead of what the server answers
            run = await self._client.read_flow_run(run_id)
            if run.deployment_id not in self._flows:
                return None
            if run.state is not None and run.state.is_scheduled():
                when = run.next_scheduled_start_time
                return run if when is None or when <= datetime.now(UTC) else None
            await asyncio.sleep(_BETWEEN_LOOKS_S)
        return None

    async def _run(self, run: FlowRun, flow: AnyFlow) -> None:
        # A copy without its deployment, for the engine's first look alone (it reads the run again): otherwise it starts a
        # thread with a websocket per run, and blocks this loop until that is connected. The price: the button Suspend
        # of Prefect's pages does not reach a running flow.
        first_look = run.model_copy(update={"deployment_id": None})
        await run_flow_async(flow, flow_run=first_look, parameters=run.parameters, return_type="state")
