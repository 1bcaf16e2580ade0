"""Users with their tokens, and sites with theirs."""

from typing import TYPE_CHECKING

from api.client.noun import Listed, Noun
from api.schemas.people import (
    InvitationCreate,
    InvitationIssued,
    PasswordUpdate,
    Redemption,
    SiteCreate,
    SitePublic,
    TokenCreate,
    TokenIssued,
    TokenPublic,
    UserCreate,
    UserPublic,
)

if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812 - inside the classes `list` is the method


class Users(Noun[UserPublic, UserCreate]):
    """People."""

    def me(self) -> UserPublic:
        """Whose token this is."""
        return self._transport.get(f"{self._path}/me", UserPublic)

    def set_password(self, new: PasswordUpdate) -> UserPublic:
        """One's own password for signing in to pages.

        Raises:
            Refused: 422 when it is too short, 403 with a token that is not good for everything.
        """
        return self._transport.post(f"{self._path}/me/password", UserPublic, new, method="PUT")

    def deactivate(self, user_id: int) -> UserPublic:
        """End a person's access and all of their tokens; what they did stays theirs."""
        return self._transport.post(f"{self._path}/{user_id}/deactivate", UserPublic)

    def activate(self, user_id: int) -> UserPublic:
        """Give a person access again; they need a new token."""
        return self._transport.post(f"{self._path}/{user_id}/activate", UserPublic)

    def issue_token(self, new: TokenCreate) -> TokenIssued:
        """A token for oneself; good for no more than the token that asks."""
        return self._transport.post("/v1/tokens", TokenIssued, new)

    def invite(self, user_id: int, new: InvitationCreate) -> InvitationIssued:
        """An invitation for somebody who has no valid token; an earlier one that was not redeemed ends.

        Raises:
            Refused: 409 when they have a token.
        """
        return self._transport.post(f"{self._path}/{user_id}/invitations", InvitationIssued, new)

    def redeem(self, new: Redemption) -> TokenIssued:
        """Exchange an invitation for a token of one's own; needs no token.

        Raises:
            Refused: 409 when it was redeemed before, 401 when it is not good any more.
        """
        return self._transport.post("/v1/invitations/redeem", TokenIssued, new)

    def tokens(self) -> "List[TokenPublic]":
        """One's own tokens, newest first."""
        return list(Listed(self._transport, "/v1/tokens", TokenPublic).all())

    def revoke_token(self, token_id: int) -> TokenPublic:
        """End a token now: one's own, or as an administrator anybody's."""
        return self._transport.post(f"/v1/tokens/{token_id}/revoke", TokenPublic)


class Sites(Noun[SitePublic, SiteCreate]):
    """Sites."""

    def issue_token(self, site_id: int, new: TokenCreate) -> TokenIssued:
        """A token for a site's agent."""
        return self._transport.post(f"{self._path}/{site_id}/tokens", TokenIssued, new)

    def tokens(self, site_id: int) -> "List[TokenPublic]":
        """A site's tokens, newest first."""
        return list(Listed(self._transport, f"{self._path}/{site_id}/tokens", TokenPublic).all())
