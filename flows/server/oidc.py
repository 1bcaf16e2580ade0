"""Signing in with an OpenID Connect provider: the code flow with PKCE and nonce, done by authlib."""

from http import HTTPStatus
from typing import Any, Final

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App
from joserfc.errors import JoseError
from pydantic import BaseModel, ConfigDict, SecretStr
from starlette.requests import Request
from starlette.responses import Response

from flows.server.http import Refused

_NAME: Final = "provider"
_CLOCKS_DIFFER_S: Final = 60


class Provider(BaseModel):
    """A provider, as the hospital's administrators give it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str
    """`https://...`; its configuration is found below it."""
    client_id: str
    client_secret: SecretStr
    title: str = "your institution's account"
    """For the button on the sign-in page."""


class SingleSignOn:
    """The way to a provider and back."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        oauth = OAuth()
        oauth.register(
            _NAME,
            client_id=provider.client_id,
            client_secret=provider.client_secret.get_secret_value(),
            server_metadata_url=provider.issuer.rstrip("/") + "/.well-known/openid-configuration",
            client_kwargs={"scope": "openid email profile", "code_challenge_method": "S256"},
        )
        self._client: StarletteOAuth2App = oauth.create_client(_NAME)

    async def leave(self, request: Request, back_to: str) -> Response:
        """Send the browser to the provider.

        Raises:
            Refused: 502, the provider does not answer.
        """
        try:
            response: Response = await self._client.authorize_redirect(request, back_to)
        except httpx2.HTTPError as error:
            raise _away(error) from error
        return response

    async def arrive(self, request: Request) -> tuple[str, str, str]:
        """Take up somebody who comes back.

        Returns:
            Issuer, subject, and an address that the provider has verified.

        Raises:
            Refused: 403, the answer is not one to our question, or without a verified address; 502, no answer.
        """
        try:
            token = await self._client.authorize_access_token(
                request, claims_options=self._wanted(), leeway=_CLOCKS_DIFFER_S
            )
        except (AuthlibBaseError, JoseError, ValueError) as error:
            # A wrong state among them: an answer to somebody else's question. ValueError: a key that the provider has not.
            raise Refused(
                HTTPStatus.FORBIDDEN, f"the provider's answer does not count ({_kind(error)}): try again"
            ) from error
        except httpx2.HTTPError as error:
            raise _away(error) from error
        claims = token.get("userinfo") or {}
        if not claims.get("email") or claims.get("email_verified") is not True:
            raise Refused(HTTPStatus.FORBIDDEN, "the provider names no address that it has verified for this account")
        return str(claims["iss"]), str(claims["sub"]), str(claims["email"])

    def _wanted(self) -> dict[str, dict[str, Any]]:
        """What the signed answer must say: by itself authlib takes one for another audience, if it was given to us."""
        issuer = self.provider.issuer.rstrip("/")
        return {
            "iss": {"essential": True, "values": [issuer, issuer + "/"]},
            "aud": {"essential": True, "values": [self.provider.client_id]},
            "sub": {"essential": True},
            "exp": {"essential": True},
        }


def _kind(error: Exception) -> str:
    return str(getattr(error, "error", "") or type(error).__name__)


def _away(error: Exception) -> Refused:
    return Refused(HTTPStatus.BAD_GATEWAY, f"the identity provider does not answer ({type(error).__name__}): try later")
