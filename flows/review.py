"""Registry flow `review`: rest at one of the registry's gates until people have decided, then let the registry conclude.

The registry makes gates, keeps decisions and moves what was decided about; this flow is how they are seen and waited for.
It moves nothing by itself: `conclude` checks everything again in the registry's own transaction, and fails closed.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any

from prefect import flow
from prefect.runtime import flow_run as this_run

from agents.errors import HomeError
from api.client import RegistryClient
from api.schemas.benchmarks import FlowRunUpdate, GatePublic, GateState
from flows.describe import plain
from flows.gates import Decision, GateRejected, hold

URL_VARIABLE = "ASSAY_REGISTRY_URL"
TOKEN_VARIABLE = "ASSAY_SERVICE_TOKEN"  # noqa: S105 - the name of a variable
LIVE = frozenset({GateState.OPEN, GateState.DECIDED})

_CONNECTED: list[RegistryClient] = []


def connect(client: RegistryClient) -> None:
    """Name the registry that this process's reviews are about, with its service token."""
    _CONNECTED[:] = [client]


def registry() -> RegistryClient:
    """The registry that was named, or the one that the environment names where each flow has a pod of its own.

    Raises:
        HomeError: neither.
    """
    if not _CONNECTED:
        url, token = os.environ.get(URL_VARIABLE), os.environ.get(TOKEN_VARIABLE)
        if not url or not token:
            raise HomeError(f"{URL_VARIABLE} and {TOKEN_VARIABLE} are not set: they name the registry to review for")
        connect(RegistryClient(url, token))
    return _CONNECTED[0]


class RegistryGateBook:
    """One gate of the registry, as flows see gates."""

    def __init__(self, client: RegistryClient, gate_id: int) -> None:
        self._client, self._gate_id = client, gate_id

    def now(self) -> GatePublic:
        """The gate with what it shows now; when that is something else than before, earlier decisions are void."""
        return self._client.gates.refresh(self._gate_id)

    def open_gate(self, *, flow_run_id: str, **_told: Any) -> str:
        """The registry has opened it; it learns which flow run waits there."""
        self._client.gates.set_flow_run(self._gate_id, FlowRunUpdate(flow_run_id=flow_run_id))
        return str(self._gate_id)

    def decision(self, _gate_id: str) -> Decision | None:
        gate = self._client.gates.get(self._gate_id)
        if gate.state != GateState.DECIDED or gate.verdict is None:
            return None
        counted = [
            decision
            for decision in self._client.gates.decisions(self._gate_id)
            if decision.digest == gate.digest and decision.verdict == gate.verdict
        ]
        if not counted:
            return None
        last = counted[-1]
        return Decision(
            gate_id=str(gate.id),
            verdict=gate.verdict.value,
            person=last.user_name,
            decided_at=last.created_at,
            digest=gate.digest,
            reason=last.reason,
        )

    def suspended(self, _gate_id: str) -> None:
        """The registry's dispatcher asks Prefect whether the run rests."""


@flow(name="review", persist_result=False)
async def review_flow(gate_id: int) -> None:
    """Wait at a gate of the registry; when enough people have decided, let it be concluded."""
    book = RegistryGateBook(registry(), gate_id)
    gate = await asyncio.to_thread(book.now)
    if gate.state not in LIVE:
        return
    try:
        await hold(
            book,
            name=gate.kind.value,
            title=gate.title,
            subject=str(gate.subject_id),
            show=lambda: book.now().shown,
            describe=lambda shown: describe(gate, shown),
        )
    except GateRejected:
        # Not a failure: the registry has the rejection, and moves the subject accordingly.
        await asyncio.to_thread(registry().gates.conclude, gate_id)
        return
    await asyncio.to_thread(registry().gates.conclude, gate_id)


def describe(gate: GatePublic, shown: Mapping[str, Any]) -> str:
    """What a gate of the registry shows, in Markdown: one row a fact."""
    asked = f"Flow run {this_run.get_id()}; it takes {gate.quorum} approval(s). Digest `{gate.digest}`."
    rows = [f"| {plain(name)} | {plain(_short(value))} |" for name, value in shown.items()]
    return "\n".join([asked, "", "| what | shown |", "|---|---|", *rows])


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    limit = 2_000
    return text if len(text) <= limit else text[:limit] + " ... (`assay gate show` shows everything)"
