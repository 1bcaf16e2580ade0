"""Routes of tokens. A secret stands in one answer, once."""

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import Select
from sqlmodel import Session, col, select

from api.access.acting import ActDep
from api.access.identity import CurrentUser
from api.core.database import SessionDep
from api.core.paging import PageRequest, Paging, page
from api.core.problems import documented
from api.nouns.tokens import invitations, rules
from api.nouns.tokens.tables import Token
from api.schemas.common import Id, Page
from api.schemas.people import InvitationCreate, InvitationIssued, Redemption, TokenCreate, TokenIssued, TokenPublic

router = APIRouter(tags=["tokens"])

_NOT_SHOWN = {"secret_hash", "user_id", "site_id"}


def shown(token: Token) -> TokenPublic:
    return TokenPublic.model_validate(token.model_dump(exclude=_NOT_SHOWN))


def issued(token: Token, secret: str) -> TokenIssued:
    return TokenIssued.model_validate({**token.model_dump(exclude=_NOT_SHOWN), "secret": secret})


@router.get("/v1/tokens", responses=documented())
def list_own_tokens(session: SessionDep, user: CurrentUser, paging: Paging) -> Page[TokenPublic]:
    return _page(session, select(Token).where(Token.user_id == user.id), paging)


@router.post("/v1/tokens", status_code=201, responses=documented())
def issue_own_token(act: ActDep, new: TokenCreate) -> TokenIssued:
    return issued(*rules.issue_own(act, new))


@router.post("/v1/tokens/{token_id}/revoke", responses=documented(404))
def revoke_token(act: ActDep, token_id: Id) -> TokenPublic:
    return shown(rules.revoke(act, token_id))


@router.get("/v1/users/{user_id}/tokens", responses=documented(404))
def list_tokens_of_user(session: SessionDep, user_id: Id, paging: Paging) -> Page[TokenPublic]:
    return _page(session, select(Token).where(Token.user_id == user_id), paging)


@router.post("/v1/users/{user_id}/invitations", status_code=201, responses=documented(404, 409))
def invite_user(act: ActDep, user_id: Id, new: InvitationCreate) -> InvitationIssued:
    """An invitation for somebody who has no valid token: they redeem it once, for a token that nobody else has seen."""
    invitation, secret = invitations.invite(act, user_id, new)
    values = invitation.model_dump(include={"id", "user_id", "expires_at"})
    return InvitationIssued.model_validate({**values, "secret": secret})


@router.post("/v1/invitations/redeem", status_code=201, responses=documented(409))
def redeem_invitation(request: Request, session: SessionDep, new: Redemption) -> TokenIssued:
    """Exchange an invitation for a token of one's own."""
    return issued(*invitations.redeem(session, request.app.state.audit, new))


@router.get("/v1/sites/{site_id}/tokens", responses=documented(404))
def list_tokens_of_site(session: SessionDep, site_id: Id, paging: Paging) -> Page[TokenPublic]:
    return _page(session, select(Token).where(Token.site_id == site_id), paging)


@router.post("/v1/sites/{site_id}/tokens", status_code=201, responses=documented(404))
def issue_site_token(act: ActDep, site_id: Id, new: TokenCreate) -> TokenIssued:
    return issued(*rules.issue_for_site(act, site_id, new))


def _page(session: Session, query: Select[Any], paging: PageRequest) -> Page[TokenPublic]:
    return page(session, query.order_by(col(Token.id).desc()), paging, shown)
