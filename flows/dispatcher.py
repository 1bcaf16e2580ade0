"""Sees to it that a review waits at each open gate of the registry, and wakes it when people have decided."""

import time
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog

from agents.prefect_api import MISSING, PrefectApi, PrefectError
from agents.ticker import Ticker
from api.client import Refused, RegistryClient, RegistryError
from api.schemas.benchmarks import FlowRunUpdate, GatePublic, GateState, Verdict
from api.schemas.sign_in import benchmark_tag, gate_tag

_REVIEW: Final = "review"
_ENDED: Final = frozenset({"CANCELLED", "COMPLETED", "CRASHED", "FAILED", MISSING})
_SETTLED: Final = frozenset({GateState.CONCLUDED, GateState.CANCELLED})
_LOOK_AT_RESTING_S: Final = 5.0
_TICK_S: Final = 1.0
"""For what nobody tells of: whoever knows that something was written kicks the ticker."""


class ReviewDispatcher:
    """Between the registry, which knows gates and decisions, and its Prefect server, which lets flows wait.

    Args:
        client: with the registry's own service token.
        prefect: the registry's Prefect server.
        nudge: told the identifier of each flow run that was made or woken; a runner in this process starts it at once.
        every_s: seconds between two rounds; whoever knows of a change kicks the ticker in between.
    """

    def __init__(
        self,
        client: RegistryClient,
        prefect: PrefectApi,
        nudge: Callable[[str], None] = lambda _flow_run: None,
        *,
        every_s: float = _TICK_S,
    ) -> None:
        self._client, self._prefect, self._nudge = client, prefect, nudge
        self._next_look = 0.0
        self._log = structlog.get_logger().bind(loop="reviews")
        self.ticker = Ticker("reviews", every_s, self.tick)

    def tick(self) -> None:
        """One round: one gate that makes trouble does not keep the others.

        Raises:
            RegistryError, PrefectError: the first trouble, after every gate had its turn.
        """
        trouble: Exception | None = None
        live = list(self._client.gates.all(live=True))
        for gate in live:
            try:
                self._see_to(gate)
            except (RegistryError, PrefectError) as error:
                trouble = trouble or error
        try:
            self._end_resting({gate.id for gate in live})
        except (RegistryError, PrefectError) as error:
            trouble = trouble or error
        if trouble is not None:
            raise trouble

    def _end_resting(self, live: Collection[int]) -> None:
        """End reviews that still rest at a gate where nobody is asked any more: withdrawn, say, while Prefect was away."""
        if time.monotonic() < self._next_look:
            return
        for flow_run, parameters in self._prefect.resting([_REVIEW]):
            if parameters.get("gate_id") not in live and self._is_settled(parameters, flow_run):
                self._prefect.cancel(flow_run)
                self._log.info("a review is not wanted any more", gate=parameters["gate_id"])
        self._next_look = time.monotonic() + _LOOK_AT_RESTING_S

    def _is_settled(self, parameters: Mapping[str, Any], flow_run: str) -> bool:
        try:
            gate = self._client.gates.get(parameters["gate_id"])
        except Refused as refused:
            if refused.status == HTTPStatus.NOT_FOUND:
                return False  # another registry's, where several share a Prefect server
            raise
        return gate.state in _SETTLED and gate.flow_run_id == flow_run

    def _see_to(self, gate: GatePublic) -> None:
        if gate.flow_run_id is None:
            self._start(gate, f"gate-{gate.id}")
            return
        if gate.state == GateState.DECIDED:
            kind, _name = self._prefect.state(gate.flow_run_id)
            if kind == "PAUSED" and self._prefect.resume(gate.flow_run_id, self._answer(gate)):
                self._nudge(gate.flow_run_id)
            elif kind in _ENDED:
                # Somebody cancelled it in Prefect's pages, or it crashed: the gate still wants to be concluded.
                self._start(gate, f"gate-{gate.id}-after-{gate.flow_run_id}")

    def _start(self, gate: GatePublic, key: str) -> None:
        flow_run = self._prefect.create_flow_run(
            f"{_REVIEW}/registry",
            {"gate_id": gate.id},
            idempotency_key=key,
            name=f"{gate.kind.value}: {gate.title}"[:200],
            tags=[gate.kind.value, benchmark_tag(gate.benchmark_id), gate_tag(gate.id)],
        )
        self._client.gates.set_flow_run(gate.id, FlowRunUpdate(flow_run_id=flow_run))
        self._nudge(flow_run)
        self._log.info("a review waits", gate=gate.id, kind=gate.kind.value)

    def _answer(self, gate: GatePublic) -> dict[str, Any]:
        """The recorded decision as an answer to the form in Prefect; the flow believes the record alone."""
        given = [made for made in self._client.gates.decisions(gate.id) if made.digest == gate.digest]
        reason = given[-1].reason if given else "decided"
        verdict = gate.verdict or Verdict.REJECT
        return {"verdict": verdict.value, "reason": reason, "digest": gate.digest}
