"""Who is asking: a session in a browser, a personal token, a worker's token, or the service beside this server."""

import asyncio
import hmac
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response

from api.schemas.sign_in import DeskError, SignedIn, Standing
from flows.server.hosting import Scope
from flows.server.http import Refused, is_secure, require_same_origin
from flows.server.ledger import Ledger
from flows.server.protocol import People

SERVICE: Final = SignedIn(key="service", name="the agent beside this server", standing=Standing.SERVICE)
_WORKER: Final = "assay_worker_"


@dataclass(frozen=True, slots=True)
class Identities:
    """Everybody who can be somebody here.

    Args:
        people: the keeper of people.
        ledger: sessions and workers' tokens.
        service_token: of the agent and the runner beside this server; made at start, kept in memory alone.
        cookie: the cookie's name; servers on one host need different ones.
        life: of a session.
    """

    people: People
    ledger: Ledger
    service_token: str
    cookie: str
    life: timedelta

    async def of(self, scope: Scope) -> SignedIn | None:
        """Whoever sent a request; None for nobody.

        Raises:
            Refused: 401, a token that does not count; 403, a request that another site's page made.
        """
        authorization = Headers(scope=scope).get("authorization")
        if authorization is not None:
            return await self._of_token(authorization)
        secret = self.session_secret(scope)
        who = None if secret is None else await asyncio.to_thread(self._of_session, secret)
        if who is not None:
            require_same_origin(scope)
        return who

    async def require(self, scope: Scope) -> SignedIn:
        """Whoever sent a request.

        Raises:
            Refused: as `of`, and 401 for nobody.
        """
        who = await self.of(scope)
        if who is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "nobody is signed in")
        return who

    def session_secret(self, scope: Scope) -> str | None:
        """What the session's cookie holds."""
        cookies = Headers(scope=scope).get("cookie")
        return None if cookies is None else cookie_parser(cookies).get(self._cookie_name(scope))

    async def open_session(self, scope: Scope, who: SignedIn, response: Response) -> None:
        """Sign somebody in, in the browser that gets this response."""
        old = self.session_secret(scope)
        if old is not None:
            await asyncio.to_thread(self.ledger.end_session, old)
        secret = await asyncio.to_thread(self.ledger.open_session, who.key, self.life)
        response.set_cookie(
            self._cookie_name(scope),
            secret,
            max_age=int(self.life.total_seconds()),
            path="/",
            secure=is_secure(scope),
            httponly=True,
            samesite="lax",
        )

    async def close_session(self, scope: Scope, response: Response) -> None:
        """Sign somebody out: the session ends here, whatever the browser keeps."""
        secret = self.session_secret(scope)
        if secret is not None:
            await asyncio.to_thread(self.ledger.end_session, secret)
        response.delete_cookie(
            self._cookie_name(scope), path="/", secure=is_secure(scope), httponly=True, samesite="lax"
        )

    def _cookie_name(self, scope: Scope) -> str:
        return f"__Host-{self.cookie}" if is_secure(scope) else self.cookie

    def _of_session(self, secret: str) -> SignedIn | None:
        key = self.ledger.session_key(secret)
        return None if key is None else self.people.by_key(key)

    async def _of_token(self, authorization: str) -> SignedIn:
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise _unauthorized(f"{scheme!r} is not how one signs in here: send `Authorization: Bearer ...`")
        if hmac.compare_digest(secret.encode(), self.service_token.encode()):
            return SERVICE
        if secret.startswith(_WORKER):
            pool = await asyncio.to_thread(self.ledger.pool_of, secret)
            if pool is None:
                raise _unauthorized("this worker's token is unknown, expired or revoked: issue another one")
            return SignedIn(key=f"worker:{pool}", name=f"worker of pool {pool}", standing=Standing.WORKER, pool=pool)
        try:
            return await asyncio.to_thread(self.people.by_token, secret)
        except DeskError as error:
            raise _unauthorized(str(error)) from None


def _unauthorized(reason: str) -> Refused:
    return Refused(HTTPStatus.UNAUTHORIZED, reason, headers={"www-authenticate": 'Bearer realm="assay"'})
