"""The audit log: append-only, each entry bound to the one before by a keyed digest.

The key lies beside the database, not in it: whoever can write the database alone cannot make a new history. Every site
keeps the heads it has seen, so that whoever has the key as well cannot make one unnoticed.
"""

import hmac
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import JSON, text
from sqlmodel import Field, Session, col, select

from api.core.database import RegistryTable
from api.core.errors import NotFoundError
from api.schemas.records import AuditEntry, AuditHead, AuditVerification
from api.storage.columns import UtcDateTime, now
from cubes.digests import canonical, tag_non_finite

_GENESIS: Final = "0" * 64
_LOCK: Final = 0x61_73_73_61_79  # any number: PostgreSQL's writers of the log wait for each other at it
_BATCH: Final = 1_000


class AuditRow(RegistryTable, table=True):
    """One entry. Triggers refuse to change or delete it."""

    __tablename__ = "audit"
    __table_args__ = ({"info": {"append_only": True}},)

    sequence: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    at: datetime = Field(sa_type=UtcDateTime)
    actor: str
    action: str = Field(index=True)
    subject: str = Field(index=True)
    detail: dict[str, Any] = Field(sa_type=JSON)
    digest: str


class AuditLog:
    """The log under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def append(
        self, session: Session, *, actor: str, action: str, subject: str, detail: Mapping[str, Any] | None = None
    ) -> AuditRow:
        """Add an entry in the caller's transaction: it stands exactly when what it tells of stands."""
        session.flush()
        if session.get_bind().dialect.name == "postgresql":
            session.connection().execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        last = _last(session)
        row = AuditRow(
            sequence=1 if last is None else last.sequence + 1,
            at=now(),
            actor=actor,
            action=action,
            subject=subject,
            detail=tag_non_finite(dict(detail or {})),
            digest="",
        )
        row.digest = self._digest(_GENESIS if last is None else last.digest, row)
        session.add(row)
        session.flush()
        return row

    def head(self, session: Session, *, at: int | None = None) -> AuditHead:
        """Where the chain has come to, or where it was with an entry.

        Raises:
            NotFoundError: it has no such entry.
        """
        last = _last(session, at)
        if at is not None and (last is None or last.sequence != at):
            raise NotFoundError(f"the audit log has no entry {at}.", "Compare with `assay audit head`.")
        return (
            AuditHead(sequence=0, head=_GENESIS)
            if last is None
            else AuditHead(sequence=last.sequence, head=last.digest)
        )

    def verify(self, session: Session) -> AuditVerification:
        """Compute the whole chain again, in batches."""
        sequence, head = 0, _GENESIS
        while rows := _after(session, sequence):
            for row in rows:
                expected = self._digest(head, row)
                if row.sequence != sequence + 1 or not hmac.compare_digest(expected, row.digest):
                    return AuditVerification(entries=sequence, intact=False, first_broken=sequence + 1, head=head)
                sequence, head = row.sequence, row.digest
        return AuditVerification(entries=sequence, intact=True, first_broken=None, head=head)

    def _digest(self, before: str, row: AuditRow) -> str:
        entry = {
            "before": before,
            "sequence": row.sequence,
            "at": row.at.isoformat(),
            "actor": row.actor,
            "action": row.action,
            "subject": row.subject,
            "detail": row.detail,
        }
        return hmac.new(self._key, canonical(entry), sha256).hexdigest()


def public(row: AuditRow) -> AuditEntry:
    return AuditEntry.model_validate(row.model_dump())


def _last(session: Session, at: int | None = None) -> AuditRow | None:
    """The last entry, or the last until one."""
    query = select(AuditRow).order_by(col(AuditRow.sequence).desc()).limit(1)
    return session.exec(query if at is None else query.where(col(AuditRow.sequence) <= at)).first()


def _after(session: Session, sequence: int) -> list[AuditRow]:
    query = select(AuditRow).where(AuditRow.sequence > sequence).order_by(col(AuditRow.sequence)).limit(_BATCH)
    return list(session.exec(query))
