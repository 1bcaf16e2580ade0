"""Heads of the registry's audit chain as this site saw them: whoever rewrites history contradicts one of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlmodel import Session, col, select

from agents.store.tables import KeptHead
from api.schemas.records import AuditEntry, AuditHead


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A head that the registry shows now and one that this site kept, which cannot both be of one history."""

    kept: KeptHead
    found: AuditHead

    def __str__(self) -> str:
        return (
            f"on {self.kept.seen_at:%Y-%m-%d %H:%M} the registry's audit log had {self.kept.sequence} entries and head"
            f" {self.kept.head!r}; now it has {self.found.sequence} and {self.found.head!r}: ask who changed it"
        )


def keep_head(session: Session, head: AuditHead) -> Contradiction | None:
    """Keep a head, unless it is the newest kept already.

    Returns:
        How it contradicts what was kept before; said once, since the contradicting head is kept too.
    """
    newest = session.exec(select(KeptHead).order_by(col(KeptHead.id).desc()).limit(1)).first()
    if newest is not None and (newest.sequence, newest.head) == (head.sequence, head.head):
        return None
    other = session.exec(
        select(KeptHead).where(KeptHead.sequence == head.sequence, KeptHead.head != head.head).limit(1)
    ).first()
    session.add(KeptHead(sequence=head.sequence, head=head.head))
    if newest is not None and newest.sequence > head.sequence:
        return Contradiction(newest, head)
    return None if other is None else Contradiction(other, head)


def list_heads(session: Session) -> list[KeptHead]:
    """All kept heads, oldest first."""
    return list(session.exec(select(KeptHead).order_by(col(KeptHead.id))))


def contradictions(heads: Iterable[KeptHead], entries: Iterable[AuditEntry]) -> list[KeptHead]:
    """The kept heads that the registry's present entries do not have: a digest that differs, or an entry that is gone."""
    found = {entry.sequence: entry.digest for entry in entries}
    return [head for head in heads if head.sequence > 0 and found.get(head.sequence) != head.head]
