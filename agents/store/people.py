"""The people of a site: who may look, start work, decide. Known here, whether or not the registry is reachable."""

import hashlib
import secrets
from datetime import timedelta
from typing import Final

from sqlmodel import Session, col, select

from agents.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError, NotSignedInError
from agents.store.tables import Person, Role
from api.schemas.common import address
from api.storage import passwords, subjects
from api.storage.columns import now

_PREFIX: Final = "assay_site_"
_RIGHTS = {
    "look": frozenset(Role),
    "start": frozenset({Role.DATA_OWNER, Role.OPERATOR}),
    "decide": frozenset({Role.DATA_OWNER}),
}


def add_person(
    session: Session, *, email: str, name: str, role: Role, days: int = 90, benchmarks: list[int] | None = None
) -> tuple[Person, str]:
    """A new person and their personal token, shown this once; the store keeps its hash.

    `benchmarks` are those whose flow runs a viewer sees; None: of all.

    Raises:
        ConflictError: somebody has that address already.
    """
    if _by_address(session, email) is not None:
        raise ConflictError(f"{email!r} is known at this site already: renew the token with `assay agent people renew`")
    secret = _secret()
    person = Person(
        email=address(email),
        name=name,
        role=role,
        token_hash=_hash(secret),
        expires_at=now() + timedelta(days=days),
        benchmarks=benchmarks,
    )
    session.add(person)
    session.flush()
    return person, secret


def renew_token(session: Session, email: str, *, days: int = 90) -> str:
    """A new token for a person; the old one ends now.

    Raises:
        NotFoundError: nobody has that address.
    """
    person = find_person(session, email)
    secret = _secret()
    person.token_hash, person.expires_at, person.revoked_at = _hash(secret), now() + timedelta(days=days), None
    session.add(person)
    return secret


def revoke(session: Session, email: str) -> None:
    """End a person's token.

    Raises:
        NotFoundError: nobody has that address.
    """
    person = find_person(session, email)
    person.revoked_at = now()
    session.add(person)


def find_person(session: Session, email: str) -> Person:
    person = _by_address(session, email)
    if person is None:
        raise NotFoundError(f"nobody at this site has the address {email!r}: see `assay agent people`")
    return person


def list_people(session: Session) -> list[Person]:
    return list(session.exec(select(Person).order_by(col(Person.email))))


def sign_in(session: Session, secret: str) -> Person:
    """The person whose token this is.

    Raises:
        NotSignedInError: unknown, expired or revoked.
    """
    person = session.exec(select(Person).where(Person.token_hash == _hash(secret))).first()
    if person is None:
        raise NotSignedInError("this token is not known at this site: ask an administrator of the site for one")
    if person.revoked_at is not None:
        raise NotSignedInError(
            f"the token of {person.email!r} was revoked: ask an administrator of the site for a new one"
        )
    if person.expires_at <= now():
        raise NotSignedInError(f"the token of {person.email!r} expired on {person.expires_at:%Y-%m-%d}: renew it")
    return person


def set_password(session: Session, email: str, password: str) -> None:
    """Let a person sign in to the pages with a password.

    Raises:
        NotFoundError: nobody has that address.
        InvalidInputError: too short: length is what makes a password hard to guess.
    """
    if not passwords.is_usable(password):
        raise InvalidInputError(passwords.WISH)
    person = find_person(session, email)
    person.password_hash = passwords.hash_password(password)
    session.add(person)


def by_password(session: Session, email: str, password: str) -> Person:
    """The person whose address and password these are; their personal token does in its place.

    Raises:
        NotSignedInError: not both right; how long it takes does not say which.
    """
    person = _by_address(session, email)
    if password.startswith(_PREFIX):
        found = sign_in(session, password)
        right = person is not None and found.id == person.id
    else:
        kept = None if person is None or person.revoked_at is not None else person.password_hash
        right = passwords.fits(password, kept)
    if person is None or not right:
        raise NotSignedInError("nobody is known by this address and password")
    return person


def by_subject(session: Session, issuer: str, subject: str, email: str) -> Person:
    """The person whom an identity provider has signed in; the first time by their address, from then on by its own number.

    Raises:
        NotSignedInError: nobody of this site.
    """
    person = subjects.by_subject(session, Person, issuer=issuer, subject=subject, email=email)
    if person is None:
        raise NotSignedInError(f"{email!r} is not known at this site: ask an administrator of the site")
    if person.revoked_at is not None:
        raise NotSignedInError(f"the access of {person.email!r} was revoked: ask an administrator of the site")
    return person


def require(person: Person, right: str) -> None:
    """Let a person pass only with the right `look`, `start` or `decide`.

    Raises:
        NotPermittedError: the role does not have it.
    """
    if person.role not in _RIGHTS[right]:
        allowed = " or ".join(sorted(role.value for role in _RIGHTS[right]))
        raise NotPermittedError(f"{person.email!r} is {person.role.value!r}; to {right} takes {allowed}")


def _secret() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def _hash(secret: str) -> str:
    # A random secret of 256 bits needs no slow hash: there is nothing to guess.
    return hashlib.sha256(secret.encode()).hexdigest()


def _by_address(session: Session, email: str) -> Person | None:
    return session.exec(select(Person).where(Person.email == address(email))).first()
