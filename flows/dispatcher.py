"""Sees to it that a review waits at each open gate of the registry, and wakes it when people have decided."""

from collections.abc import Callable
from typing import Any, Final

import structlog

from agents.prefect_api import MISSING, PrefectApi, PrefectError
from agents.ticker import Ticker
from api.client import RegistryClient, RegistryError
from api.schemas.benchmarks import FlowRunUpdate, GatePublic, GateState, Verdict
from api.schemas.sign_in import benchmark_tag, gate_tag

_ENDED: Final = frozenset({"CANCELLED", "COMPLETED", "CRASHED", "FAILED", MISSING})
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
        self._log = structlog.get_logger().bind(loop="reviews")
        self.ticker = Ticker("reviews", every_s, self.tick)

    def tick(self) -> None:
        """One round: one gate that makes trouble does not keep the others.

        Raises:
            RegistryError, PrefectError: the first trouble, after every gate had its turn.
        """
        trouble: Exception | None = None
        for gate in list(self._client.gates.all(live=True)):
            try:
                self._see_to(gate)
            except (RegistryError, PrefectError) as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble

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
            "review/registry",
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
