"""Tokens: issued to a bearer, never good for more than whoever issues them, revoked and never deleted."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from sqlmodel import Session, col, select

from api.access.acting import Act, key
from api.access.identity import Principal, issue
from api.access.matrix import Role
from api.access.relations import relates
from api.core.errors import InvalidInputError, NotPermittedError
from api.core.rows import find
from api.nouns.people.tables import User
from api.nouns.sites.tables import Site
from api.nouns.tokens.tables import Token
from api.schemas.people import Scope, TokenCreate
from api.storage.columns import now

OF_PERSON: Final = frozenset({Scope.READ, Scope.WRITE, Scope.DECIDE})
OF_SITE: Final = frozenset({Scope.READ, Scope.SITE})
OF_SERVICE: Final = frozenset({Scope.READ, Scope.WRITE, Scope.SERVICE})


@relates("token_id")
def _token(session: Session, principal: Principal, token_id: int) -> set[Role]:
    token, user = find(session, Token, token_id), principal.user
    if user is None:
        return set()
    if token.site_id is not None:
        return {Role.OWNER} if session.get_one(Site, token.site_id).organization_id == user.organization_id else set()
    return {Role.OWNER} if token.user_id == user.id else set()


def issue_own(act: Act, new: TokenCreate) -> tuple[Token, str]:
    """A token for oneself.

    Raises:
        NotPermittedError: it would be good for more than the token that asks.
        InvalidInputError: a scope that people cannot have.
    """
    mine = act.principal.scopes & OF_PERSON
    scopes = _scopes(new, mine, OF_PERSON)
    if wider := scopes - mine:
        raise NotPermittedError(
            f"this token is not good for {_listed(wider)} and cannot issue one that is.",
            f"Ask for {_listed(mine)} at most, or use a token that is good for more.",
        )
    return _issue(act, new, scopes, subject=f"user:{act.user_id}", user_id=act.user_id)


def issue_for_site(act: Act, site_id: int, new: TokenCreate) -> tuple[Token, str]:
    """A token for a site's agent.

    Raises:
        InvalidInputError: a scope that sites cannot have.
    """
    site = find(act.session, Site, site_id)
    return _issue(act, new, _scopes(new, OF_SITE, OF_SITE), subject=f"site:{site.id}", site_id=key(site.id))


def issue_to(act: Act, user: User, new: TokenCreate) -> tuple[Token, str]:
    """A token for a person whom something else than a token has proved.

    Raises:
        InvalidInputError: a scope that people cannot have.
    """
    return _issue(act, new, _scopes(new, OF_PERSON, OF_PERSON), subject=f"user:{user.id}", user_id=key(user.id))


def revoke(act: Act, token_id: int) -> Token:
    """End a token now; one that has ended stays as it is."""
    token = find(act.session, Token, token_id)
    if token.revoked_at is None:
        token.revoked_at = now()
        act.session.add(token)
        act.note("token.revoked", f"token:{token.id}", label=token.label)
    return token


def revoke_all(session: Session, *, user_id: int) -> int:
    """End all tokens and invitations of a person; how many."""
    return end(session, valid_of(session, user_id))


def end(session: Session, tokens: Sequence[Token]) -> int:
    """End tokens; how many."""
    for token in tokens:
        token.revoked_at = now()
        session.add(token)
    return len(tokens)


def valid_of(session: Session, user_id: int) -> Sequence[Token]:
    """A person's tokens and invitations that are neither revoked nor expired."""
    wanted = (Token.user_id == user_id, col(Token.revoked_at).is_(None), col(Token.expires_at) > now())
    return session.exec(select(Token).where(*wanted).order_by(col(Token.id))).all()


def _issue(
    act: Act,
    new: TokenCreate,
    scopes: Iterable[Scope],
    *,
    subject: str,
    user_id: int | None = None,
    site_id: int | None = None,
) -> tuple[Token, str]:
    token, secret = issue(
        act.session,
        label=new.label,
        scopes=list(scopes),
        life=timedelta(days=new.expires_in_days),
        user_id=user_id,
        site_id=site_id,
    )
    act.note("token.issued", subject, token=token.id, label=token.label, scopes=token.scopes)
    return token, secret


def _scopes(new: TokenCreate, default: frozenset[Scope], possible: frozenset[Scope]) -> frozenset[Scope]:
    scopes = default if new.scopes is None else frozenset(new.scopes)
    if strange := scopes - possible:
        raise InvalidInputError(
            f"scopes: {_listed(strange)} cannot be given to this bearer.", f"Use some of {_listed(possible)}."
        )
    return scopes


def _listed(scopes: Iterable[Scope]) -> str:
    return ", ".join(sorted(repr(scope.value) for scope in scopes)) or "nothing"
