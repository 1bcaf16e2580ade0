"""Cookies, headers and origins: what a browser is told, and what it is believed."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.responses import Response

from agents.desk import SitePeople
from agents.store import Store
from agents.store.people import add_person
from agents.store.tables import Role
from api.schemas.sign_in import SignedIn, Standing
from flows.server.http import Refused, guarded, is_secure, require_same_origin
from flows.server.identity import Identities
from flows.server.ledger import Ledger

ANN = SignedIn(key="person:1", name="Ann", standing=Standing.OPERATOR)


def _scope(scheme: str = "https", kind: str = "http", method: str = "POST", **headers: str) -> dict[str, Any]:
    named = {"host": "assay.north.example", **{name.replace("_", "-"): text for name, text in headers.items()}}
    pairs = [(name.encode(), text.encode()) for name, text in named.items()]
    return {"type": kind, "scheme": scheme, "method": method, "path": "/waiting", "headers": pairs}


@pytest.fixture
def identities(tmp_path: Path) -> Any:
    store, ledger = Store(tmp_path / "site.db"), Ledger(tmp_path / "sign-in.sqlite")
    with store.write() as session:
        add_person(session, email="ann@north.example", name="Ann", role=Role.OPERATOR)
    yield Identities(SitePeople(store), ledger, "service", "assay_north", timedelta(hours=1))
    ledger.close()
    store.close()


class TestCookie:
    def _set(self, identities: Identities, scope: dict[str, Any]) -> str:
        response = Response()
        anyio.run(identities.open_session, scope, ANN, response)
        return response.headers["set-cookie"]

    def test_over_tls_it_travels_encrypted_and_belongs_to_this_host(self, identities: Identities) -> None:
        name, *rest = self._set(identities, _scope()).split("; ")
        assert name.startswith("__Host-assay_north=")
        assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/"} <= set(rest)
        assert not any(part.startswith("Domain") for part in rest)

    def test_behind_a_host_that_is_not_this_machine_it_is_never_sent_in_the_clear(self, identities: Identities) -> None:
        assert "Secure" in self._set(identities, _scope("http"))

    def test_a_browser_on_this_machine_needs_no_tls(self, identities: Identities) -> None:
        assert "Secure" not in self._set(identities, _scope("http", host="127.0.0.1:4200"))

    def test_one_that_was_set_in_the_clear_signs_nobody_in_over_tls(self, identities: Identities) -> None:
        cookie = self._set(identities, _scope("http", host="localhost")).partition(";")[0]
        assert anyio.run(identities.of, _scope(cookie=cookie, sec_fetch_site="same-origin")) is None

    def test_signing_in_again_ends_the_session_before(self, identities: Identities) -> None:
        first = self._set(identities, _scope()).partition(";")[0]
        second = self._set(identities, _scope(cookie=first)).partition(";")[0]
        assert first != second
        assert anyio.run(identities.of, _scope(cookie=first, sec_fetch_site="same-origin")) is None
        who = anyio.run(identities.of, _scope(cookie=second, sec_fetch_site="same-origin"))
        assert who is not None
        assert who.key == ANN.key


class TestSecure:
    @pytest.mark.parametrize(
        ("scheme", "host", "secure"),
        [
            ("https", "localhost", True),
            ("wss", "localhost", True),
            ("http", "localhost:4200", False),
            ("http", "[::1]:4200", False),
            ("http", "127.0.0.1.evil.example", True),
            ("http", "localhost.evil.example", True),
            ("http", "", True),
        ],
    )
    def test_only_loopback_is_excepted(self, scheme: str, host: str, *, secure: bool) -> None:
        assert is_secure(_scope(scheme, host=host)) is secure


class TestOrigin:
    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "same-site"},
            {"sec_fetch_site": "cross-site", "origin": "https://assay.north.example"},
            {"origin": "null"},
            {"origin": "https://evil.example"},
            {"origin": "https://assay.north.example.evil.example"},
            {"origin": "https://assay.north.example:8443"},
        ],
        ids=str,
    )
    def test_another_page_makes_nobody_write(self, headers: dict[str, str]) -> None:
        with pytest.raises(Refused, match="another site's page"):
            require_same_origin(_scope(**headers))

    @pytest.mark.parametrize("headers", [{"sec_fetch_site": "same-origin"}, {"origin": "https://assay.north.example"}])
    def test_our_own_does(self, headers: dict[str, str]) -> None:
        require_same_origin(_scope(**headers))

    def test_a_websocket_always_says_where_it_comes_from(self) -> None:
        with pytest.raises(Refused):
            require_same_origin(_scope("wss", "websocket", sec_fetch_site="same-origin"))
        require_same_origin(_scope("wss", "websocket", origin="https://assay.north.example"))


class TestHeaders:
    def _sent(self, scope: dict[str, Any]) -> dict[bytes, bytes]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        anyio.run(guarded(scope, send, "default-src 'none'"), {"type": "http.response.start", "headers": []})
        return dict(sent[0]["headers"])

    def test_over_tls_the_browser_comes_back_by_tls_alone(self) -> None:
        assert self._sent(_scope())[b"strict-transport-security"] == b"max-age=31536000"
        assert b"strict-transport-security" not in self._sent(_scope("http"))
