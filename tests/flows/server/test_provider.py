"""Which answers of an identity provider count. The provider is a real one over HTTP; its claims are the test's."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from flows.server.http import Refused
from flows.server.oidc import Provider, SingleSignOn

CLIENT = "assay"


@dataclass
class Idp:
    """A provider: what it was asked for a token, and what it says of whoever signed in."""

    key: RSAKey
    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    """Instead of, or beside, the right ones; None leaves one out."""
    signer: RSAKey | None = None
    algorithm: str = "RS256"
    asked: dict[str, str] = field(default_factory=dict)
    nonce: str = ""
    with_identity: bool = True

    def token(self) -> dict[str, Any]:
        right = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "7",
            "exp": int(time.time()) + 300,
            "iat": int(time.time()),
            "nonce": self.nonce,
            "email": "ann@north.example",
            "email_verified": True,
        }
        claims = {name: value for name, value in {**right, **self.claims}.items() if value is not None}
        key = self.signer or self.key
        header = {"alg": self.algorithm, "kid": self.key.kid}
        answer = {"access_token": "opaque", "token_type": "Bearer", "expires_in": 300}
        return (
            {**answer, "id_token": jwt.encode(header, claims, key, algorithms=[self.algorithm])}
            if self.with_identity
            else answer
        )

    def configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["RS256"],
        }


@pytest.fixture(scope="module")
def key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "1"})


@pytest.fixture
def idp(key: RSAKey) -> Iterator[Idp]:
    provider = Idp(key)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            public = {"keys": [{**provider.key.as_dict(private=False), "kid": "1"}]}
            self._answer(public if self.path == "/keys" else provider.configuration())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            provider.asked = {name: values[0] for name, values in parse_qs(body).items()}
            self._answer(provider.token())

        def _answer(self, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: the test says what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield provider
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def browser(idp: Idp) -> Iterator[TestClient]:
    """A browser before pages that do nothing but sign in with the provider."""
    single = SingleSignOn(Provider(issuer=idp.url, client_id=CLIENT, client_secret=SecretStr("secret")))

    async def leave(request: Request) -> Response:
        return await single.leave(request, "http://testserver/back")

    async def back(request: Request) -> Response:
        try:
            return JSONResponse(await single.arrive(request))
        except Refused as refused:
            return refused.response()

    middleware = [Middleware(SessionMiddleware, secret_key="key")]
    app = Starlette(routes=[Route("/leave", leave), Route("/back", back)], middleware=middleware)
    with TestClient(app, follow_redirects=False) as client:
        yield client


def _leave(browser: TestClient, idp: Idp) -> dict[str, str]:
    """To the provider, as a browser is sent there: the question's parameters."""
    query = parse_qs(urlsplit(browser.get("/leave").headers["location"]).query)
    asked = {name: values[0] for name, values in query.items()}
    idp.nonce = asked["nonce"]
    return asked


def _arrive(browser: TestClient, idp: Idp) -> Any:
    asked = _leave(browser, idp)
    return browser.get("/back", params={"code": "c", "state": asked["state"]})


class TestLeave:
    def test_a_code_is_asked_for_with_state_nonce_and_challenge(self, browser: TestClient, idp: Idp) -> None:
        asked = _leave(browser, idp)
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        assert asked["client_id"] == CLIENT
        assert min(len(asked["state"]), len(asked["nonce"]), len(asked["code_challenge"])) >= 20

    def test_each_time_others(self, browser: TestClient, idp: Idp) -> None:
        first, second = _leave(browser, idp), _leave(browser, idp)
        assert all(first[name] != second[name] for name in ("state", "nonce", "code_challenge"))


class TestArrive:
    def test_an_answer_that_fits(self, browser: TestClient, idp: Idp) -> None:
        answer = _arrive(browser, idp)
        assert answer.status_code == 200, answer.text
        assert answer.json() == [idp.url, "7", "ann@north.example"]

    def test_the_code_is_redeemed_with_the_challenges_secret(self, browser: TestClient, idp: Idp) -> None:
        asked = _leave(browser, idp)
        browser.get("/back", params={"code": "c", "state": asked["state"]})
        digest = hashlib.sha256(idp.asked["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
        assert "code_verifier" not in asked

    @pytest.mark.parametrize(
        "claims",
        [
            {"nonce": "another"},
            {"nonce": None},
            {"iss": "https://evil.example"},
            {"iss": None},
            {"aud": "another"},
            {"aud": ["another"]},
            {"aud": "another", "azp": CLIENT},
            {"aud": None},
            {"azp": "another"},
            {"exp": 1},
            {"exp": None},
            {"iat": 4102444800},
            {"sub": None},
        ],
        ids=str,
    )
    def test_claims_that_do_not_fit(self, browser: TestClient, idp: Idp, claims: dict[str, Any]) -> None:
        idp.claims = claims
        answer = _arrive(browser, idp)
        assert answer.status_code == 403
        assert "does not count" in answer.json()["detail"]

    @pytest.mark.parametrize(
        "claims", [{"email_verified": False}, {"email_verified": "true"}, {"email": None}], ids=str
    )
    def test_an_address_that_nobody_verified(self, browser: TestClient, idp: Idp, claims: dict[str, Any]) -> None:
        idp.claims = claims
        answer = _arrive(browser, idp)
        assert answer.status_code == 403
        assert "verified" in answer.json()["detail"]

    def test_another_signer(self, browser: TestClient, idp: Idp) -> None:
        idp.signer = RSAKey.generate_key(2048, {"kid": "1"})
        assert _arrive(browser, idp).status_code == 403

    def test_another_algorithm_than_the_provider_names(self, browser: TestClient, idp: Idp) -> None:
        idp.algorithm = "RS512"
        assert _arrive(browser, idp).status_code == 403

    def test_no_signed_answer_at_all(self, browser: TestClient, idp: Idp) -> None:
        idp.with_identity = False
        assert _arrive(browser, idp).status_code == 403

    def test_a_state_that_nobody_asked_with(self, browser: TestClient, idp: Idp) -> None:
        _leave(browser, idp)
        assert browser.get("/back", params={"code": "c", "state": "guessed"}).status_code == 403
        assert idp.asked == {}

    def test_the_same_answer_twice(self, browser: TestClient, idp: Idp) -> None:
        state = _leave(browser, idp)["state"]
        assert browser.get("/back", params={"code": "c", "state": state}).status_code == 200
        assert browser.get("/back", params={"code": "c", "state": state}).status_code == 403

    def test_in_another_browser(self, browser: TestClient, idp: Idp) -> None:
        state = _leave(browser, idp)["state"]
        browser.cookies.clear()
        assert browser.get("/back", params={"code": "c", "state": state}).status_code == 403

    def test_somebody_who_was_refused_there(self, browser: TestClient, idp: Idp) -> None:
        state = _leave(browser, idp)["state"]
        assert browser.get("/back", params={"error": "access_denied", "state": state}).status_code == 403

    def test_a_provider_that_is_away(self) -> None:
        single = SingleSignOn(Provider(issuer="http://127.0.0.1:9", client_id=CLIENT, client_secret=SecretStr("x")))

        async def leave(request: Request) -> Response:
            try:
                return await single.leave(request, "http://testserver/back")
            except Refused as refused:
                return refused.response()

        app = Starlette(routes=[Route("/leave", leave)], middleware=[Middleware(SessionMiddleware, secret_key="key")])
        with TestClient(app) as client:
            assert client.get("/leave").status_code == 502
