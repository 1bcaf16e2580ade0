"""The last look at a payload before it leaves: on the closed list, as it was queued, and allowed by a person as it is.

The store is a file of the site's own; somebody may have written to it with other tools than ours. So nothing is believed
because it lies in the outbox: what a decision must cover is held against what that decision's gate showed.
"""

import json
from typing import Any, Final

from pydantic import ValidationError
from sqlmodel import Session

from agents.errors import NotClearedError
from agents.store.consents import consents
from agents.store.gates import decision_of
from agents.store.tables import Decision, Gate, OutboxItem
from api.schemas.benchmarks import Verdict
from api.schemas.border import (
    MAX_PAYLOAD_BYTES,
    NEEDS_DECISION,
    ApprovedResult,
    DatasetRegistration,
    PayloadKind,
    PreparationProgress,
    ProbeOutcome,
    SiteDecision,
    parse_payload,
)
from api.schemas.common import Strict
from cubes.digests import canonical, digest_bytes, digest_of


def clear(session: Session, item: OutboxItem) -> Strict:
    """The payload of an item that may leave.

    Raises:
        NotClearedError: it may not; the message says why.
    """
    if len(item.body) > MAX_PAYLOAD_BYTES:
        raise _no(item, f"it has {len(item.body)} bytes, more than {MAX_PAYLOAD_BYTES}")
    if digest_bytes(item.body) != item.sha256:
        raise _no(item, "its bytes are not those that were queued")
    try:
        payload = parse_payload(item.kind, json.loads(item.body))
    except (ValueError, ValidationError) as error:
        raise _no(item, f"it is not on the list of what may leave ({error})") from error
    if item.kind in NEEDS_DECISION:
        _allowed(session, item, payload)
    if isinstance(payload, PreparationProgress) and not consents(session, payload.name):
        raise _no(item, f"no data owner agrees that the registry hears how far {payload.name!r} is")
    return payload


def require_approval(kind: PayloadKind, decision: Decision | None) -> None:
    """Whether a payload of this kind may be queued with this decision.

    Raises:
        NotClearedError: it needs an approval and has none.
    """
    if kind in NEEDS_DECISION and (decision is None or decision.verdict != Verdict.APPROVE):
        raise NotClearedError(f"a {kind.value} payload leaves only with a person's decision to let it go")


def shown_probe(probe: ProbeOutcome) -> dict[str, Any]:
    """A probe as people are shown it before a result leaves: all of it, its checks by whether they held."""
    return {
        "runtime": probe.runtime,
        "isolation": probe.isolation.value,
        "only_host": probe.only_host,
        "held": sorted(name for name, held in probe.checks.items() if held),
        "failed": sorted(name for name, held in probe.checks.items() if not held),
        "probed_at": probe.probed_at.isoformat(),
    }


def _allowed(session: Session, item: OutboxItem, payload: Strict) -> None:
    decision = None if item.decision_id is None else session.get(Decision, item.decision_id)
    gate = None if decision is None else session.get(Gate, decision.gate_id)
    settled = None if gate is None else decision_of(session, gate.id)
    if decision is None or gate is None or settled is None or settled.verdict != Verdict.APPROVE:
        raise _no(item, "no person decided to let it go, or not enough of them")
    if gate.name != NEEDS_DECISION[item.kind] or not settled.digest == gate.digest == digest_of(gate.shown):
        raise _no(item, "its decision is about something else")
    if not isinstance(payload, DatasetRegistration | ApprovedResult) or decision.id != settled.id:
        raise _no(item, "its decision is not the one that settled it")
    if not _is_said(payload.decision, gate, settled):
        raise _no(item, "the decision that it tells of is not the one that was made")
    if isinstance(payload, DatasetRegistration):
        covered = canonical(_registration(payload)) == canonical(_shown_registration(gate.shown))
    else:
        covered = _is_among(payload, gate, settled)
    if not covered:
        raise _no(item, "it is not what the person was shown, or they left it out")


def _is_said(said: SiteDecision, gate: Gate, settled: Decision) -> bool:
    """Whether a payload tells of a decision exactly as it was made."""
    told = (said.gate, said.verdict, said.person, said.decided_at, said.digest, said.reason)
    made = (
        gate.name,
        settled.verdict,
        settled.person.strip(),  # as a line travels
        settled.decided_at,
        settled.digest,
        settled.reason.strip(),
    )
    return told == made


def _registration(payload: DatasetRegistration) -> dict[str, Any]:
    return {
        "benchmark": payload.benchmark_id,
        "dataset": [payload.name, payload.title, payload.cases],
        "preparator": payload.preparator_digest,
        "roots": [payload.root, payload.data_root, payload.labels_root, payload.metadata_root],
        "statistics": payload.statistics,
    }


def _shown_registration(shown: dict[str, Any]) -> dict[str, Any]:
    dataset, roots = shown["dataset"], shown["roots"]
    return {
        "benchmark": shown["benchmark"]["id"],
        "dataset": [dataset["name"], dataset["title"].strip(), dataset["cases"]],
        "preparator": shown["preparator"]["pack_digest"],
        "roots": [roots[name] for name in ("dataset", "data", "labels", "metadata")],
        "statistics": shown["statistics"],
    }


_SHOWN_OF_RESULT: Final = (
    "model_id", "model_digest", "dataset_id", "dataset_root", "metrics_digest", "execution", "score", "cases", "metrics",
)  # fmt: skip


def _is_among(payload: ApprovedResult, gate: Gate, decision: Decision) -> bool:
    """Whether exactly this result was shown, with its addressee and how it was made, and not left out."""
    wanted = canonical(
        {
            **{name: getattr(payload, name) for name in _SHOWN_OF_RESULT},
            "benchmark": payload.benchmark_id,
            "started_at": payload.started_at.isoformat(),
            "finished_at": payload.finished_at.isoformat(),
            "probe": shown_probe(payload.probe),
        }
    )
    return any(
        canonical(
            {name: item.get(name) for name in (*_SHOWN_OF_RESULT, "started_at", "finished_at", "probe")}
            | {"benchmark": item.get("benchmark", {}).get("id")}
        )
        == wanted
        for item in gate.shown.get("items", [])
        if item["item"] not in decision.withheld
    )


def _no(item: OutboxItem, why: str) -> NotClearedError:
    return NotClearedError(f"the {item.kind.value} payload {item.idempotency_key!r} does not leave: {why}")
