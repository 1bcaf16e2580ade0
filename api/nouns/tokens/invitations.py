"""Invitations: how somebody who was added gets a token that nobody else has seen.

An administrator never holds another's token. They hand on an invitation: its person exchanges it for a token of their own,
once. Should somebody else have used it before them, they learn of it, because theirs is refused.
"""

from datetime import timedelta
from typing import Final

from sqlmodel import Session, select

from api.access.acting import Act, key
from api.access.identity import Principal, hash_secret, issue
from api.core.audit import AuditLog
from api.core.errors import ConflictError, NotSignedInError
from api.core.rows import lock
from api.nouns.people.tables import User
from api.nouns.tokens.rules import OF_PERSON, end, issue_to, valid_of
from api.nouns.tokens.tables import Token
from api.schemas.people import InvitationCreate, Redemption, Scope
from api.storage.columns import now

LABEL: Final = "invitation"
_ASK: Final = "Ask a platform administrator for another one."


def invite(act: Act, user_id: int, new: InvitationCreate) -> tuple[Token, str]:
    """An invitation for somebody who has no valid token; one that was not redeemed yet ends.

    Raises:
        ConflictError: they have a token, or are not active.
    """
    user = lock(act.session, User, user_id)
    if not user.active:
        raise ConflictError(f"{user.email!r} is not active.", "Activate them first.")
    valid = valid_of(act.session, user_id)
    if any(not _is_invitation(token) for token in valid):
        raise ConflictError(
            f"{user.email!r} has a valid token.", "They issue further ones themselves; if it is lost, revoke it first."
        )
    end(act.session, valid)
    life = timedelta(days=new.expires_in_days)
    token, secret = issue(act.session, label=LABEL, scopes=[Scope.REDEEM], life=life, user_id=user_id)
    act.note("invitation.issued", f"user:{user_id}", invitation=token.id, expires_at=token.expires_at.isoformat())
    return token, secret


def redeem(session: Session, audit: AuditLog, new: Redemption) -> tuple[Token, str]:
    """Exchange an invitation for a token of the person's own.

    Raises:
        NotSignedInError: unknown, expired or revoked, or their person is no longer active.
        ConflictError: it was redeemed before.
        InvalidInputError: a scope that people cannot have.
    """
    invitation = _locked(session, new.secret)
    user = session.get_one(User, invitation.user_id)
    _require_fresh(invitation, user)
    invitation.last_used_at = invitation.revoked_at = now()
    session.add(invitation)
    act = Act(session, Principal(scopes=OF_PERSON, user=user), audit)
    act.note("invitation.redeemed", f"user:{user.id}", invitation=invitation.id)
    return issue_to(act, user, new)


def _locked(session: Session, secret: str) -> Token:
    """The invitation as it is now: of two who redeem it at the same moment, the second finds it redeemed."""
    found = session.exec(select(Token).where(Token.secret_hash == hash_secret(secret))).first()
    if found is None or not _is_invitation(found):
        raise NotSignedInError("this invitation is not known here.", _ASK)
    return lock(session, Token, key(found.id))


def _require_fresh(invitation: Token, user: User) -> None:
    if invitation.last_used_at is not None:
        raise ConflictError(
            f"the invitation of {user.email!r} was redeemed on {invitation.last_used_at:%Y-%m-%d %H:%M} UTC: it is good"
            " once.",
            "Sign in with the token that it gave; if that was not you, tell a platform administrator now.",
        )
    if invitation.revoked_at is not None:
        raise NotSignedInError(f"the invitation of {user.email!r} was revoked.", _ASK)
    if invitation.expires_at <= now():
        raise NotSignedInError(f"the invitation of {user.email!r} expired on {invitation.expires_at:%Y-%m-%d}.", _ASK)
    if not user.active:
        raise NotSignedInError(f"{user.email!r} is no longer active.", "Ask a platform administrator.")


def _is_invitation(token: Token) -> bool:
    return Scope.REDEEM in token.scopes
