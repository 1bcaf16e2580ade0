"""The outbox: what is to leave commits with the state it reports; what was handed over is kept as evidence."""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete
from sqlmodel import Session, col, func, select

from agents.errors import InvalidInputError, NotFoundError
from agents.store.clearance import require_approval
from agents.store.gates import decisions_of
from agents.store.tables import Decision, OutboxItem, OutboxState
from api.schemas.border import MAX_PAYLOAD_BYTES, PayloadKind, parse_payload
from api.schemas.common import Strict
from api.storage.columns import now
from cubes.digests import canonical, digest_bytes

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 300.0
_ANSWERS: Final = {
    OutboxState.SENT: "taken",
    OutboxState.REFUSED: "refused",
    OutboxState.QUEUED: "no answer yet",
}
"""What is known of a payload that left."""


def enqueue(
    session: Session, kind: PayloadKind, payload: Strict, *, subject: str, key: str, decision: Decision | None = None
) -> OutboxItem:
    """Put one payload into the outbox; the same key again is the same item.

    The payload is parsed once more from what will travel, so that nothing outside the closed list can be queued.

    Raises:
        InvalidInputError: too large.
        NotClearedError: a payload that needs a person's approval has none.
    """
    known = session.exec(select(OutboxItem).where(OutboxItem.idempotency_key == key)).first()
    if known is not None:
        return known
    body = canonical(payload.model_dump(mode="json"))
    if len(body) > MAX_PAYLOAD_BYTES:
        raise InvalidInputError(
            f"a {kind.value} payload of {len(body)} bytes exceeds {MAX_PAYLOAD_BYTES}: nothing was sent"
        )
    require_approval(kind, decision)
    parse_payload(kind, payload.model_dump(mode="json"))
    item = OutboxItem(
        kind=kind,
        subject=subject,
        body=body,
        size=len(body),
        sha256=digest_bytes(body),
        idempotency_key=key,
        decision_id=None if decision is None else decision.id,
    )
    session.add(item)
    session.flush()
    return item


def due(session: Session, *, limit: int = 500) -> list[OutboxItem]:
    """What may be tried now, oldest first. What waits holds back everything about the same subject: order is kept.

    Nothing waits longer than the longest wait, even where the clock was set back meanwhile.
    """
    moment = now()
    latest = moment + timedelta(seconds=_LONGEST_WAIT_S)
    queued = OutboxItem.state == OutboxState.QUEUED
    held = select(OutboxItem.subject).where(queued, col(OutboxItem.not_before).between(moment, latest))
    query = select(OutboxItem).where(queued, col(OutboxItem.subject).not_in(held))
    return list(session.exec(query.order_by(col(OutboxItem.id)).limit(limit)))


def mark_offered(session: Session, item_id: int) -> None:
    """Its bytes are about to be handed over: whatever comes of it, they may be known elsewhere. The first moment counts."""
    item = session.get_one(OutboxItem, item_id)
    if item.offered_at is None:
        item.offered_at = now()
        session.add(item)


def mark_sent(session: Session, item_id: int) -> None:
    item = session.get_one(OutboxItem, item_id)
    item.state, item.sent_at, item.attempts, item.last_error = OutboxState.SENT, now(), item.attempts + 1, ""
    session.add(item)


def mark_refused(session: Session, item_id: int, why: str) -> None:
    """The registry will never take this one: kept for a person to look at, not tried again."""
    item = session.get_one(OutboxItem, item_id)
    item.state, item.attempts, item.last_error = OutboxState.REFUSED, item.attempts + 1, why[:2_000]
    session.add(item)


def note_problem(session: Session, item_id: int, why: str) -> None:
    """The registry is away, or does not know us: nothing is wrong with the payload, which waits for nothing else."""
    item = session.get_one(OutboxItem, item_id)
    item.attempts, item.last_error = item.attempts + 1, why[:2_000]
    session.add(item)


def try_again(session: Session, item_id: int) -> OutboxItem:
    """A person looked at a refused payload and wants it tried once more.

    Raises:
        NotFoundError: nothing refused has that number.
    """
    item = session.get(OutboxItem, item_id)
    if item is None or item.state != OutboxState.REFUSED:
        raise NotFoundError(f"the outbox holds no refused payload {item_id!r}: see `assay agent outbox`")
    item.state, item.not_before = OutboxState.QUEUED, now()
    session.add(item)
    return item


def mark_later(session: Session, item_id: int, why: str) -> None:
    """Not now: wait twice as long as last time, five minutes at most."""
    item = session.get_one(OutboxItem, item_id)
    wait = min(_FIRST_WAIT_S * 2 ** min(item.attempts, 16), _LONGEST_WAIT_S)
    item.attempts, item.last_error, item.not_before = item.attempts + 1, why[:2_000], now() + timedelta(seconds=wait)
    session.add(item)


def departures(session: Session, kind: PayloadKind | None = None) -> list[dict[str, Any]]:
    """Everything (of a kind) that left this site, oldest first: what, how large, its sha256, when, and who allowed it.

    What the registry refused reached it all the same, and what it did not answer may have.
    """
    left = col(OutboxItem.offered_at).is_not(None) | col(OutboxItem.sent_at).is_not(None)
    query = select(OutboxItem, Decision).join(Decision, isouter=True).where(left)
    if kind is not None:
        query = query.where(OutboxItem.kind == kind)
    return [
        {
            "id": item.id,
            "kind": item.kind.value,
            "subject": item.subject,
            "bytes": item.size,
            "sha256": item.sha256,
            "left_at": _iso(item.left_at),
            "sent_at": _iso(item.sent_at),
            "state": _ANSWERS[item.state],
            "decisions": [_evidence(each) for each in _counted(session, decision)],
        }
        for item, decision in session.exec(query.order_by(col(OutboxItem.id)))
    ]


def what_left(session: Session, item_id: int) -> bytes:
    """A payload that left, byte for byte: its sha256 is the one in `departures`.

    Raises:
        NotFoundError: nothing that left has that number.
    """
    item = session.get(OutboxItem, item_id)
    if item is None or item.left_at is None:
        raise NotFoundError(f"nothing that left has the number {item_id!r}: see `assay departures`")
    return item.body


def refused(session: Session) -> list[OutboxItem]:
    """What a person must look at, oldest first."""
    query = select(OutboxItem).where(OutboxItem.state == OutboxState.REFUSED)
    return list(session.exec(query.order_by(col(OutboxItem.id))))


def forget_heartbeats(session: Session, before: datetime) -> int:
    """Delete heartbeats of before a moment that no longer wait; everything else that left is kept for ever."""
    old = delete(OutboxItem).where(
        col(OutboxItem.kind) == PayloadKind.HEARTBEAT,
        col(OutboxItem.state) != OutboxState.QUEUED,
        col(OutboxItem.created_at) < before,
    )
    return int(session.exec(old).rowcount)


def unsent(session: Session) -> list[OutboxItem]:
    """What the registry has not taken: still queued, or refused; oldest first."""
    query = select(OutboxItem).where(col(OutboxItem.state) != OutboxState.SENT)
    return list(session.exec(query.order_by(col(OutboxItem.id))))


def waiting(session: Session) -> dict[str, int]:
    """How many payloads are in which state."""
    rows = session.exec(select(OutboxItem.state, func.count()).group_by(OutboxItem.state))
    return {OutboxState(state).value: count for state, count in rows}


def _counted(session: Session, settled: Decision | None) -> list[Decision]:
    """All the decisions that let something go, where several people had to: the last of them settled it."""
    if settled is None:
        return []
    return [each for each in decisions_of(session, settled.gate_id) if (each.id or 0) <= (settled.id or 0)]


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _evidence(decision: Decision) -> dict[str, Any]:
    return {
        "id": decision.id,
        "gate": decision.gate_id,
        "person": decision.person,
        "verdict": decision.verdict.value,
        "digest": decision.digest,
        "reason": decision.reason,
        "decided_at": decision.decided_at.isoformat(),
    }
