"""Deciding in somebody's place: a data owner lets another person of the site decide for a while."""

from datetime import datetime

from sqlmodel import Session, col, select

from agents.errors import InvalidInputError
from agents.store.people import require
from agents.store.tables import Decision, Delegation, Gate, Person, Role
from api.storage.columns import now


def delegate(
    session: Session, giver: Person, taker: Person, *, until: datetime, gate_name: str | None = None, reason: str = ""
) -> Delegation:
    """Let `taker` decide in `giver`'s place.

    Raises:
        NotPermittedError: the giver may not decide themselves. What was delegated is not delegated again.
        InvalidInputError: to oneself, or into the past.
    """
    require(giver, "decide")
    if giver.id == taker.id:
        raise InvalidInputError("nobody needs to delegate to themselves: name somebody else")
    if until <= now():
        raise InvalidInputError(f"{until:%Y-%m-%d %H:%M} UTC is over: name a day to come")
    row = Delegation(
        from_person=giver.id or 0, to_person=taker.id or 0, gate_name=gate_name, until=until, reason=reason
    )
    session.add(row)
    session.flush()
    return row


def end_delegations(session: Session, giver: Person) -> int:
    """Take back all that a person delegated; how many. What was decided by it and not yet acted upon no longer counts."""
    query = select(Delegation).where(Delegation.from_person == giver.id, col(Delegation.revoked_at).is_(None))
    rows = list(session.exec(query))
    for row in rows:
        row.revoked_at = now()
        session.add(row)
    return len(rows)


def list_delegations(session: Session) -> list[tuple[Delegation, Person, Person]]:
    """All that were ever made, the newest first, with who gave and who took."""
    rows = session.exec(select(Delegation).order_by(col(Delegation.id).desc()))
    return [(row, session.get_one(Person, row.from_person), session.get_one(Person, row.to_person)) for row in rows]


def decides_for(session: Session, gate: Gate, person: Person) -> Person | None:
    """Whose vote a person's decision at a gate would be: their own, that of whoever delegated to them, or nobody's."""
    if person.role == Role.DATA_OWNER:
        return person
    rows = _to(session, person)
    return _giver(session, [row for row in rows if row.gate_name in {None, gate.name}])


def decides_somewhere(session: Session, person: Person) -> bool:
    """Whether a person may decide at some gate now: by themselves, or since somebody delegated to them."""
    return person.role == Role.DATA_OWNER or _giver(session, _to(session, person)) is not None


def may_still_decide(session: Session, gate: Gate, decision: Decision) -> bool:
    """Whether the vote that a decision was is still one."""
    person, voter = session.get(Person, decision.person_id), session.get(Person, decision.counts_for)
    if person is None or voter is None or voter.role != Role.DATA_OWNER:
        return False
    if person.revoked_at is not None or voter.revoked_at is not None:
        return False
    return person.id == voter.id or any(
        row.from_person == voter.id and row.gate_name in {None, gate.name}
        for row in _to(session, person, at=decision.decided_at)
    )


def _giver(session: Session, rows: list[Delegation]) -> Person | None:
    """The first who may decide themselves, and is still there."""
    givers = [session.get_one(Person, row.from_person) for row in rows]
    return next((giver for giver in givers if giver.role == Role.DATA_OWNER and giver.revoked_at is None), None)


def _to(session: Session, person: Person, at: datetime | None = None) -> list[Delegation]:
    """What was delegated to a person and has not been taken back; valid now, or `at` the time of a decision."""
    query = select(Delegation).where(
        Delegation.to_person == person.id,
        col(Delegation.revoked_at).is_(None),
        col(Delegation.created_at) <= (at or now()),  # a later one makes nothing good again
        col(Delegation.until) > (at or now()),
    )
    return list(session.exec(query.order_by(col(Delegation.id))))
