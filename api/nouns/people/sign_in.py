"""How people prove who they are where no token can be sent: by a password, or through an identity provider."""

from hashlib import sha256
from typing import Final

from sqlmodel import Session, select

from api.access.acting import Act
from api.core.errors import InvalidInputError, NotPermittedError, NotSignedInError
from api.nouns.people.tables import User
from api.nouns.tokens.rules import OF_PERSON
from api.schemas.common import address
from api.storage import passwords, subjects

_ASK: Final = "Ask a platform administrator."


def set_password(act: Act, password: str) -> User:
    """A person's own password; sessions that an earlier one opened end.

    Raises:
        NotPermittedError: with a token that is good for less than a password would be.
        InvalidInputError: too short.
    """
    user = act.user
    if missing := OF_PERSON - act.principal.scopes:
        listed = ", ".join(sorted(scope.value for scope in missing))
        raise NotPermittedError(
            f"this token is not good for {listed}, and a password would be.", "Use one that is good for everything."
        )
    if not passwords.is_usable(password):
        raise InvalidInputError(f"{passwords.WISH}.", "Choose another one.")
    user.password_hash = passwords.hash_password(password)
    act.session.add(user)
    act.note("user.password_set", f"user:{user.id}", email=user.email)
    return user


def by_password(session: Session, email: str, password: str) -> User:
    """The person whose address and password these are.

    Raises:
        NotSignedInError: not both right; how long it takes does not say which.
    """
    user = session.exec(select(User).where(User.email == address(email))).first()
    right = passwords.fits(password, None if user is None or not user.active else user.password_hash)
    if user is None or not right:
        raise NotSignedInError("nobody is known by this address and password.", _ASK)
    return user


def by_subject(session: Session, issuer: str, subject: str, email: str) -> User:
    """The person whom an identity provider has signed in; the first time by their address, from then on by its own number.

    Raises:
        NotSignedInError: nobody who is known here.
    """
    user = subjects.by_subject(session, User, issuer=issuer, subject=subject, email=email)
    if user is None:
        raise NotSignedInError(f"{email!r} has no account at this registry.", _ASK)
    if not user.active:
        raise NotSignedInError(f"{user.email!r} is no longer active.", _ASK)
    return user


def fingerprint(user: User) -> str:
    """Changes with the password: a session that a password opened ends with it."""
    return sha256((user.password_hash or "").encode()).hexdigest()[:16]
