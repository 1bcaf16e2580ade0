"""Whether the registry may hear how far a preparation is: a data owner says so, and may take it back."""

from sqlmodel import Session, col, select

from agents.store.datasets import find_dataset
from agents.store.people import require
from agents.store.tables import Person, ProgressConsent, Role


def say(session: Session, dataset: str, person: Person, *, given: bool) -> ProgressConsent:
    """Note what a data owner says.

    Raises:
        NotPermittedError: the person is no data owner.
        NotFoundError: no such dataset.
    """
    require(person, "decide")
    row = ProgressConsent(
        dataset=find_dataset(session, dataset).name,
        given=given,
        person_id=person.id or 0,
        person=person.label,
    )
    session.add(row)
    session.flush()
    return row


def newest(session: Session, dataset: str) -> ProgressConsent | None:
    query = select(ProgressConsent).where(ProgressConsent.dataset == dataset).order_by(col(ProgressConsent.id).desc())
    return session.exec(query.limit(1)).first()


def consents(session: Session, dataset: str) -> bool:
    """Whether the newest word is a yes, of somebody who is a data owner still."""
    said = newest(session, dataset)
    if said is None or not said.given:
        return False
    person = session.get(Person, said.person_id)
    return person is not None and person.role == Role.DATA_OWNER and person.revoked_at is None
