"""What the registry answered to payloads that were carried to it: brought back with the next work."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session, select

from agents.border import note_arrival
from agents.store import outbox
from agents.store.clearance import clear
from agents.store.tables import OutboxItem, OutboxState
from api.schemas.border import PayloadKind
from cubes.digests import Digest


class Receipt(BaseModel):
    """The registry took a payload, or never will."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    sha256: Digest
    answer: dict[str, Any] | None
    refused: str = ""


def apply_receipts(session: Session, receipts: Iterable[Receipt]) -> int:
    """Note what became of payloads that this site let go; returns how many were new.

    A receipt for other bytes than were let go changes nothing.
    """
    noted = 0
    for receipt in receipts:
        item = session.exec(select(OutboxItem).where(OutboxItem.idempotency_key == receipt.key)).first()
        if item is None or item.sha256 != receipt.sha256 or item.state == OutboxState.SENT:
            continue
        if receipt.answer is None:
            outbox.mark_refused(session, item.id or 0, receipt.refused)
        else:
            # Consent to tell of a preparation may be taken back once it has left; nothing follows from its arrival.
            if item.kind != PayloadKind.PREPARATION:
                note_arrival(session, clear(session, item), receipt.answer)
            outbox.mark_sent(session, item.id or 0)
        noted += 1
    return noted
