"""Who is asking: a person, a site, or the registry's own service, by a token in the `Authorization` header.

The seam for single sign-on: whatever else proves an identity ends in a `Principal` too.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Annotated, Final

from fastapi import Depends, Header, Request
from sqlmodel import Session, select

from api.core.database import SessionDep, transaction, writes
from api.core.errors import NotPermittedError, NotSignedInError
from api.nouns.people.tables import User
from api.nouns.sites.tables import Site
from api.nouns.tokens.tables import Token
from api.schemas.people import Scope
from api.storage.columns import now

_SIGN_IN: Final = "Send a token: `Authorization: Bearer ...`; issue one with `assay token issue`."
_NOTE_USE_EVERY: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, and what their token is good for. Exactly one of user, site and service holds."""

    scopes: frozenset[Scope]
    token_id: int | None = None
    user: User | None = None
    site: Site | None = None
    service: bool = False

    @property
    def actor(self) -> str:
        """As it stands in the audit log."""
        if self.user is not None:
            return self.user.label
        return f"site {self.site.name}" if self.site is not None else "registry"


def hash_secret(secret: str) -> str:
    # A random secret of 256 bits needs no slow hash: there is nothing to guess.
    return sha256(secret.encode()).hexdigest()


def issue(
    session: Session,
    *,
    label: str,
    scopes: list[Scope],
    life: timedelta,
    user_id: int | None = None,
    site_id: int | None = None,
) -> tuple[Token, str]:
    """A new token and its secret, which is shown this once."""
    secret = "assay_" + secrets.token_urlsafe(32)
    token = Token(
        label=label,
        user_id=user_id,
        site_id=site_id,
        scopes=sorted({scope.value for scope in scopes}),
        secret_hash=hash_secret(secret),
        expires_at=now() + life,
    )
    session.add(token)
    session.flush()
    return token, secret


def sign_in(session: Session, secret: str) -> Principal:
    """The bearer of a token.

    Raises:
        NotSignedInError: unknown, expired, revoked, or of a person who is no longer active.
    """
    token = session.exec(select(Token).where(Token.secret_hash == hash_secret(secret))).first()
    if token is None:
        raise NotSignedInError("this token is not known here.", "Issue a new one with `assay token issue`.")
    return of_token(session, token)


def of_token(session: Session, token: Token) -> Principal:
    """The bearer of a token that is known.

    Raises:
        NotSignedInError: expired, revoked, an invitation, or of a person who is no longer active.
    """
    if Scope.REDEEM in token.scopes:
        raise NotSignedInError("this is an invitation, not a token.", "Redeem it once: `assay login --invitation`.")
    if token.revoked_at is not None:
        raise NotSignedInError(f"the token {token.label!r} was revoked.", "Issue a new one with `assay token issue`.")
    if token.expires_at <= now():
        raise NotSignedInError(
            f"the token {token.label!r} expired on {token.expires_at:%Y-%m-%d}.",
            "Issue a new one with `assay token issue`.",
        )
    user = None if token.user_id is None else session.get_one(User, token.user_id)
    site = None if token.site_id is None else session.get_one(Site, token.site_id)
    if user is not None and not user.active:
        raise NotSignedInError(f"{user.email!r} is no longer active.", "Ask a platform administrator.")
    return Principal(
        scopes=frozenset(Scope(scope) for scope in token.scopes),
        token_id=token.id,
        user=user,
        site=site,
        service=user is None and site is None,
    )


def _principal(
    request: Request, session: SessionDep, authorization: Annotated[str | None, Header(include_in_schema=False)] = None
) -> Iterator[Principal | None]:
    """None for somebody without a token; whether that is enough, the matrix says."""
    scheme, _, secret = (authorization or "").partition(" ")
    if not secret:
        yield None
        return
    if scheme.lower() != "bearer":
        raise NotSignedInError(f"{scheme!r} is not how one signs in here.", _SIGN_IN)
    principal = sign_in(session, secret.strip())
    if not writes(request):
        _note_reading(request, session, principal)
        yield principal
    else:
        yield principal
        _note_use(session, principal)  # last: two who end each other's tokens would wait for each other


def _note_reading(request: Request, session: Session, principal: Principal) -> None:
    """Note a token's use in a transaction of its own: the request's may only read."""
    if _is_noted(session.get_one(Token, principal.token_id)):
        return
    session.commit()  # gives its connection back: as many requests as the pool has would wait for a second one for ever
    with transaction(request.app.state.engine, write=True) as own:
        _note_use(own, principal)


def _note_use(session: Session, principal: Principal) -> None:
    """When a token was last used, to five minutes. Somebody who has locked it ends it: nobody waits to note that."""
    session.flush()
    token = session.get(Token, principal.token_id, with_for_update={"skip_locked": True}, populate_existing=True)
    if token is not None and not _is_noted(token):
        token.last_used_at = now()
        session.add(token)


def _is_noted(token: Token) -> bool:
    return token.last_used_at is not None and now() - token.last_used_at < _NOTE_USE_EVERY


OptionalPrincipal = Annotated[Principal | None, Depends(_principal, scope="function")]


def _required(principal: OptionalPrincipal) -> Principal:
    if principal is None:
        raise NotSignedInError("nobody is signed in.", _SIGN_IN)
    return principal


CurrentPrincipal = Annotated[Principal, Depends(_required, scope="function")]
"""Whoever is signed in: a person, a site or the service."""


def _user(principal: CurrentPrincipal) -> User:
    if principal.user is None:
        raise NotPermittedError("this is for people.", "Use a personal token.")
    return principal.user


def _site(principal: CurrentPrincipal) -> Site:
    if principal.site is None:
        raise NotPermittedError("this is for a site's agent.", "Use the site's token, from `assay site token`.")
    return principal.site


CurrentUser = Annotated[User, Depends(_user, scope="function")]
CurrentSite = Annotated[Site, Depends(_site, scope="function")]
