"""Writes that can be sent twice and happen once: what an agent sends carries a key of its own."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Header
from pydantic import StringConstraints
from sqlalchemy import JSON, UniqueConstraint
from sqlmodel import Field, Session, select

from api.core.database import RegistryTable
from api.core.errors import ConflictError
from api.storage.columns import UtcDateTime, now

IdempotencyKey = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._:-]{8,200}$"),
    Header(alias="Idempotency-Key", description="Chosen by the sender: the same key is the same write."),
]


class KeptAnswer(RegistryTable, table=True):
    """The answer to a write that happened."""

    __tablename__ = "kept_answer"
    __table_args__ = (UniqueConstraint("actor", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    actor: str
    key: str
    body_digest: str
    answer: dict[str, Any] = Field(sa_type=JSON)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


def recall(session: Session, *, actor: str, key: str, body_digest: str) -> dict[str, Any] | None:
    """The answer that this write got before, if it happened before.

    Raises:
        ConflictError: the key was used for something else.
    """
    kept = session.exec(select(KeptAnswer).where(KeptAnswer.actor == actor, KeptAnswer.key == key)).first()
    if kept is None:
        return None
    if kept.body_digest != body_digest:
        raise ConflictError(f"the idempotency key {key!r} was used for another body before.", "Use a new key for it.")
    return kept.answer


def keep(session: Session, *, actor: str, key: str, body_digest: str, answer: dict[str, Any]) -> None:
    """Remember an answer in the transaction of the write."""
    session.add(KeptAnswer(actor=actor, key=key, body_digest=body_digest, answer=answer))
