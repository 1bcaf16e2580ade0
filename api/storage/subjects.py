"""People whom an identity provider has signed in: found by one rule, at a site and at the registry alike."""

from typing import Protocol, TypeVar

from sqlmodel import Session, col, select

from api.schemas.common import address


class Account(Protocol):
    """Somebody's row: of a site's store, or of the registry's database."""

    email: str
    oidc_subject: str | None
    """Issuer and subject at the provider, from the first time that they came from there."""


_AccountT = TypeVar("_AccountT", bound=Account)


def by_subject(session: Session, table: type[_AccountT], *, issuer: str, subject: str, email: str) -> _AccountT | None:
    """Whoever the provider means: the first time found by their address, from then on by its own number alone.

    None for an address that is not known, or that belongs to another of the provider's people already.
    """
    bound = f"{issuer}|{subject}"
    found = session.exec(select(table).where(col(table.oidc_subject) == bound)).first()
    if found is None:
        found = session.exec(select(table).where(col(table.email) == address(email))).first()
        if found is None or found.oidc_subject is not None:
            return None
        found.oidc_subject = bound
        session.add(found)
    return found
