"""Signing in and out: sessions, tokens, passwords, a provider; what browsers are told; what a machine does not reach."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx2
import pytest

from agents.store.people import renew_token, revoke
from flows.server.identity import SERVICE
from tests.flows.server.conftest import PASSWORD, Person, Place

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
HTML = {"Accept": "text/html"}


def _sign_in(place: Place, email: str, password: str = PASSWORD, **headers: str) -> httpx2.Response:
    with place.client(**{"Sec-Fetch-Site": "same-origin", **headers}) as client:
        return client.post("/sign-in", data={"email": email, "password": password, "next": "/waiting"})


class TestSession:
    def test_nobody_is_sent_to_sign_in(self, place: Place) -> None:
        with place.client(**HTML) as nobody:
            answer = nobody.get("/v2/dashboard")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/v2/dashboard")

    @pytest.mark.parametrize("path", ["/", "/v2/", "/ui-settings", "/api/flow_runs/count", "/docs", "/openapi.json"])
    def test_nobody_reaches_nothing(self, place: Place, path: str) -> None:
        with place.client() as nobody:
            assert nobody.get(path).status_code in {401, 403}

    def test_its_cookie_is_opaque_and_out_of_reach_of_scripts(self, place: Place) -> None:
        answer = _sign_in(place, "ann@north.example")
        cookie = answer.headers["set-cookie"]
        assert (answer.status_code, answer.headers["location"]) == (303, "/waiting")
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "ann" not in cookie

    def test_it_ends_on_the_server_when_one_signs_out(self, place: Place) -> None:
        with place.browser("ann") as ann:
            assert ann.get("/ui-settings").status_code == 200
            assert ann.post("/sign-out").status_code == 303
            assert ann.get("/ui-settings").status_code == 401

    def test_it_ends_when_all_of_a_persons_end(self, place: Place) -> None:
        with place.browser("olga") as olga:
            place.ledger.end_sessions_of("person:3")
            assert olga.get("/ui-settings").status_code == 401

    def test_it_ends_when_its_time_is_over(self, place: Place, run: str) -> None:
        secret = place.ledger.open_session("person:1", timedelta(seconds=-1))
        with place.client(Cookie=f"assay_north={secret}", **{"Sec-Fetch-Site": "same-origin"}) as late:
            assert late.get("/ui-settings").status_code == 401
            assert late.get("/waiting", headers=HTML).headers["location"] == "/sign-in?next=/waiting"
            assert late.post(f"/api/flow_runs/{run}/resume", json=place.form(run)).status_code == 401
        assert place.state(run) == "PAUSED"
        assert place.refused(f"{run}/resume")

    def test_a_guessed_cookie(self, place: Place) -> None:
        with place.client(Cookie="assay_north=guess") as guest:
            assert guest.get("/ui-settings").status_code == 401

    def test_another_sites_page_cannot_use_it(self, place: Place, run: str) -> None:
        with place.browser("ann") as ann:
            for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
                answer = ann.post(f"/api/flow_runs/{run}/resume", json=place.form(run), headers=headers)
                assert answer.status_code == 403
            del ann.headers["Sec-Fetch-Site"]
            for origin in ({"Origin": "https://evil.example"}, {}):
                answer = ann.post(f"/api/flow_runs/{run}/resume", json=place.form(run), headers=origin)
                assert answer.status_code == 403
        assert place.state(run) == "PAUSED"


class TestPassword:
    def test_a_wrong_one_does_not_say_whether_the_address_is_known(self, place: Place) -> None:
        known, unknown = (_sign_in(place, email, "wrong") for email in ("ben@north.example", "x@north.example"))
        assert known.status_code == unknown.status_code == 401
        assert "Nobody is known here" in known.text
        assert "Nobody is known here" in unknown.text

    def test_too_many_attempts(self, place: Place) -> None:
        answers = [_sign_in(place, "vic@north.example", "wrong").status_code for _ in range(6)]
        assert answers == [401] * 5 + [429]
        assert _sign_in(place, "vic@north.example").status_code == 429
        place.ledger.forget_failures("vic@north.example", "127.0.0.1")
        assert _sign_in(place, "vic@north.example").status_code == 303

    def test_guesses_that_come_together_are_counted_as_they_come(self, place: Place) -> None:
        with ThreadPoolExecutor(20) as several:
            answers = several.map(lambda n: _sign_in(place, "vic@north.example", f"guess {n}").status_code, range(20))
            assert Counter(answers) == {401: 5, 429: 15}
        place.ledger.forget_failures("vic@north.example", "127.0.0.1")

    def test_a_personal_token_does_in_its_place(self, place: Place) -> None:
        person = place.people["ann"]
        assert _sign_in(place, person.email, person.token).status_code == 303
        assert _sign_in(place, place.people["olga"].email, person.token).status_code == 401
        place.ledger.forget_failures(place.people["olga"].email, "127.0.0.1")

    def test_an_oversized_form(self, place: Place) -> None:
        with place.client(**{"Sec-Fetch-Site": "same-origin"}) as client:
            assert client.post("/sign-in", data={"email": "x" * 300_000, "password": "x"}).status_code == 413

    def test_another_sites_form(self, place: Place) -> None:
        assert _sign_in(place, "ann@north.example", **{"Sec-Fetch-Site": "cross-site"}).status_code == 403

    @pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x"])
    def test_it_leads_nowhere_else(self, place: Place, target: str) -> None:
        with place.client(**{"Sec-Fetch-Site": "same-origin"}) as client:
            form = {"email": "ann@north.example", "password": PASSWORD, "next": target}
            assert client.post("/sign-in", data=form).headers["location"] == "/"


class TestToken:
    @pytest.mark.parametrize("header", ["Bearer", "Basic YTpi", "Bearer x", "Bearer assay_worker_x"])
    def test_one_that_does_not_count(self, place: Place, header: str) -> None:
        with place.client(Authorization=header) as client:
            answer = client.post("/api/flow_runs/filter", json={})
        assert answer.status_code == 401
        assert "Bearer" in answer.headers["www-authenticate"]

    def test_machines_reach_no_pages(self, place: Place) -> None:
        worker = place.ledger.issue_worker_token("pool-a")
        for headers in ({"Authorization": f"Bearer {worker}"}, dict(place.service)):
            with place.client(**headers) as machine:
                for path in ("/", "/v2/dashboard", "/waiting", "/gates"):
                    assert machine.get(path).status_code == 403

    def test_a_workers_ends_when_it_is_revoked(self, place: Place) -> None:
        token = place.ledger.issue_worker_token("pool-b")
        with place.client(Authorization=f"Bearer {token}") as worker:
            assert worker.get("/api/admin/version").status_code == 200
            place.ledger.revoke_worker_tokens("pool-b")
            assert worker.get("/api/admin/version").status_code == 401

    def test_a_persons_ends_when_it_is_revoked_or_renewed(self, place: Place) -> None:
        with place.site.store.write() as session:
            revoke(session, "ben@north.example")
        with place.client("ben") as ben:
            assert ben.get("/gates").status_code == 401
        with place.site.store.write() as session:
            person_token = renew_token(session, "ben@north.example")
        place.people["ben"] = Person("ben@north.example", person_token)
        with place.client("ben") as ben:
            assert ben.get("/gates").status_code == 200

    def test_the_services_is_nobodys_name(self) -> None:
        assert SERVICE.tags is None
        assert not SERVICE.key.startswith("person:")


class TestProvider:
    def _walk(self, place: Place, subject: str, email: str, *, verified: bool = True) -> httpx2.Response:
        httpx2.put(f"{place.provider}/users/{subject}", json={"email": email, "email_verified": verified})
        with place.client(**{"Sec-Fetch-Site": "same-origin"}) as browser:
            away = browser.get("/single-sign-on?next=/waiting").headers["location"]
            back = httpx2.post(away, data={"sub": subject}).headers["location"]
            return browser.get(back)

    def test_somebody_known_comes_back_signed_in(self, place: Place) -> None:
        answer = self._walk(place, "sub-ann", "ann@north.example")
        assert (answer.status_code, answer.headers["location"]) == (303, "/waiting")
        assert "assay_north=" in answer.headers["set-cookie"]

    def test_somebody_unknown_does_not(self, place: Place) -> None:
        answer = self._walk(place, "sub-eve", "eve@elsewhere.example")
        assert answer.status_code == 403
        assert "not known at this site" in answer.text

    def test_an_address_that_nobody_verified(self, place: Place) -> None:
        assert self._walk(place, "sub-mal", "olga@north.example", verified=False).status_code == 403

    def test_an_answer_to_another_question(self, place: Place) -> None:
        with place.client() as browser:
            assert browser.get("/single-sign-on/back?code=x&state=y").status_code == 403


class TestHeaders:
    @pytest.mark.parametrize("path", ["/v2/", "/api/flow_runs/count", "/waiting"])
    def test_each_answer_is_guarded(self, place: Place, path: str) -> None:
        with place.client("ann") as ann:
            headers = ann.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe-eval" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
