"""The registry's own reviews behind the layer: its people, its gates, its decisions, and nobody else's."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.schemas.benchmarks import CommitteeMember, GatePublic
from api.schemas.people import Scope, TokenCreate
from tests.flows.server.conftest import other_digest
from tests.flows.server.reviews import Reviews

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
HTML = {"Accept": "text/html"}


@pytest.fixture
def gate(reviews: Reviews) -> GatePublic:
    """Ada has asked for a release; Bob may decide."""
    return reviews.release_gate()


def _still_rests(reviews: Reviews, gate: GatePublic) -> bool:
    return reviews.state(str(gate.flow_run_id)) == "PAUSED" and reviews.decisions(gate) == []


class TestResume:
    def test_a_decision_in_prefects_pages_is_a_row_of_the_registry(self, reviews: Reviews, gate: GatePublic) -> None:
        with reviews.browser("bob") as bob:
            answer = bob.post(f"/api/flow_runs/{gate.flow_run_id}/resume", json=reviews.form(gate))
        assert (answer.status_code, answer.json()["status"]) == (201, "ACCEPT")
        done = reviews.concluded(gate)
        assert done.verdict == "reject"
        (row,) = reviews.decisions(gate)
        assert (row.user_name, row.reason, row.digest) == ("Bob <bob@university.example>", "too few sites", gate.digest)

    def test_the_audit_log_tells_of_it_as_of_any_other(self, reviews: Reviews, gate: GatePublic) -> None:
        with reviews.browser("bob") as bob:
            bob.post(f"/api/flow_runs/{gate.flow_run_id}/resume", json=reviews.form(gate))
        reviews.concluded(gate)
        with reviews.there.client("root") as root:
            entries = root.audit.entries(limit=200, subject=f"gate:{gate.id}").items
            assert root.audit.verify().intact
        decided = next(entry for entry in entries if entry.action == "gate.decided")
        assert (decided.actor, decided.detail["digest"]) == ("Bob <bob@university.example>", gate.digest)

    def test_whoever_asked_does_not_answer(self, reviews: Reviews, gate: GatePublic) -> None:
        with reviews.browser("ada") as ada:
            answer = ada.post(f"/api/flow_runs/{gate.flow_run_id}/resume", json=reviews.form(gate))
        assert answer.status_code == 403
        assert "nobody decides about their own" in answer.json()["detail"]
        assert _still_rests(reviews, gate)
        assert reviews.refused(str(gate.flow_run_id))

    def test_a_platform_administrator_does_not_answer_for_a_committee(self, reviews: Reviews, gate: GatePublic) -> None:
        with reviews.browser("root") as root:
            answer = root.post(f"/api/flow_runs/{gate.flow_run_id}/resume", json=reviews.form(gate))
        assert answer.status_code == 403
        assert _still_rests(reviews, gate)
        assert reviews.refused(str(gate.flow_run_id))

    @pytest.mark.parametrize("who", ["eve", "mel", "dan"])
    def test_for_others_the_run_is_not_there(self, reviews: Reviews, gate: GatePublic, who: str) -> None:
        with reviews.browser(who) as other:
            answer = other.post(f"/api/flow_runs/{gate.flow_run_id}/resume", json=reviews.form(gate))
        assert answer.status_code == 404
        assert _still_rests(reviews, gate)
        assert reviews.refused(str(gate.flow_run_id))

    def test_a_committee_cannot_resume_the_review_of_another_benchmark(self, reviews: Reviews) -> None:
        others = reviews.others_gate()
        for who in ("ada", "bob"):
            with reviews.browser(who) as member:
                answer = member.post(f"/api/flow_runs/{others.flow_run_id}/resume", json=reviews.form(others))
            assert answer.status_code == 404
        assert _still_rests(reviews, others)

    @pytest.mark.parametrize("token", ["site", "service"])
    def test_a_machines_token_of_the_registry(self, reviews: Reviews, gate: GatePublic, token: str) -> None:
        with reviews.client(token) as machine:
            answer = machine.post(f"/api/flow_runs/{gate.flow_run_id}/resume", json=reviews.form(gate))
        assert answer.status_code == {"site": 401, "service": 403}[token]
        assert _still_rests(reviews, gate)

    def test_a_token_that_is_only_good_for_reading(self, reviews: Reviews, gate: GatePublic) -> None:
        with reviews.there.client("bob") as bob:
            token = bob.users.issue_token(TokenCreate(label="watching", scopes=[Scope.READ])).secret
        with reviews.client(Authorization=f"Bearer {token}") as watcher:
            assert watcher.get(f"/api/flow_runs/{gate.flow_run_id}").status_code == 200
            answer = watcher.post(f"/api/flow_runs/{gate.flow_run_id}/resume", json=reviews.form(gate))
        assert answer.status_code == 403
        assert _still_rests(reviews, gate)

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({"digest": other_digest()}, 409),
            ({"reason": ""}, 422),
            ({"reason": "  "}, 422),
            ({"person": "Ada"}, 422),
            ({"withhold": ["1"]}, 422),
            ({"verdict": {"__prefect_kind": "jinja", "template": "approve"}}, 422),
        ],
        ids=str,
    )
    def test_a_form_that_does_not_fit(
        self, reviews: Reviews, gate: GatePublic, changes: dict[str, Any], status: int
    ) -> None:
        with reviews.browser("bob") as bob:
            answer = bob.post(f"/api/flow_runs/{gate.flow_run_id}/resume", json=reviews.form(gate, **changes))
        assert answer.status_code == status
        assert _still_rests(reviews, gate)
        assert reviews.refused(str(gate.flow_run_id))

    def test_twice_at_the_same_moment(self, reviews: Reviews, gate: GatePublic) -> None:
        form = reviews.form(gate)

        def resume(_number: int) -> int:
            with reviews.client("bob") as bob:
                return bob.post(f"/api/flow_runs/{gate.flow_run_id}/resume", json=form).status_code

        with ThreadPoolExecutor(6) as pool:
            answers = sorted(pool.map(resume, range(6)))
        assert answers[0] == 201
        assert set(answers[1:]) <= {404, 409}
        assert len(reviews.decisions(gate)) == 1
        reviews.concluded(gate)

    def test_the_dispatcher_carries_out_what_was_decided_elsewhere(self, reviews: Reviews, gate: GatePublic) -> None:
        with reviews.there.client("bob") as bob:
            digest = bob.gates.get(gate.id).digest
        with reviews.client("bob") as bob:
            answer = {"verdict": "reject", "reason": "by the endpoint", "digest": digest}
            assert bob.post(f"/gates/{gate.id}/decision", json=answer).json()["verdict"] == "reject"
        assert reviews.concluded(gate).verdict == "reject"

    def test_somebody_who_left_the_committee_sees_it_no_more(self, reviews: Reviews, gate: GatePublic) -> None:
        benchmark, mel = reviews.there.ids["benchmark"], reviews.there.ids["mel"]
        with reviews.there.client("ada") as ada, reviews.browser("mel") as browser:
            ada.benchmarks.add_member(benchmark, CommitteeMember(user_id=mel))
            assert browser.get(f"/api/flow_runs/{gate.flow_run_id}").status_code == 200
            ada.benchmarks.remove_member(benchmark, mel)
            assert browser.get(f"/api/flow_runs/{gate.flow_run_id}").status_code == 404


class TestSee:
    def test_a_committee_finds_the_runs_of_its_own_benchmarks(self, reviews: Reviews, gate: GatePublic) -> None:
        others = reviews.others_gate()
        for who, mine, not_mine in (("bob", gate, others), ("eve", others, gate)):
            with reviews.client(who) as client:
                found = {run["id"] for run in client.post("/api/flow_runs/filter", json={}).json()}
                assert mine.flow_run_id in found
                assert not_mine.flow_run_id not in found
                assert client.get(f"/api/flow_runs/{not_mine.flow_run_id}").status_code == 404

    def test_an_administrator_sees_all_runs_but_not_what_others_gates_show(
        self, reviews: Reviews, gate: GatePublic
    ) -> None:
        others = reviews.others_gate()
        with reviews.client("root") as root:
            found = {run["id"]: run for run in root.post("/api/flow_runs/filter", json={}).json()}
            assert {gate.flow_run_id, others.flow_run_id} <= set(found)
            for run, status in ((gate.flow_run_id, 403), (others.flow_run_id, 200)):
                key = found[run]["state"]["state_details"]["run_input_keyset"]["description"]
                assert root.get(f"/api/flow_runs/{run}/input/{key}").status_code == status
            assert root.get(f"/gates/{gate.id}").status_code == 403
            assert root.get(f"/gates/{others.id}").status_code == 200

    def test_the_committee_reads_what_its_gate_shows(self, reviews: Reviews, gate: GatePublic) -> None:
        with reviews.client("ada") as ada:
            run = ada.get(f"/api/flow_runs/{gate.flow_run_id}").json()
            key = run["state"]["state_details"]["run_input_keyset"]["description"]
            assert gate.digest in ada.get(f"/api/flow_runs/{gate.flow_run_id}/input/{key}").text
            card = ada.get(f"/gates/{gate.id}").json()
        assert card["shown"] == gate.shown
        assert "nobody decides about their own" in card["barred"]

    def test_what_cannot_be_narrowed_is_refused(self, reviews: Reviews) -> None:
        with reviews.client("bob") as bob:
            for path in ("/api/events/filter", "/api/saved_searches/filter"):
                assert bob.post(path, json={}).status_code == 403

    def test_nobody_sees_anything_unsigned(self, reviews: Reviews, gate: GatePublic) -> None:
        with reviews.client() as nobody:
            for path in (f"/api/flow_runs/{gate.flow_run_id}", "/v2/dashboard", "/waiting", f"/gates/{gate.id}"):
                assert nobody.get(path).status_code in {303, 401}


class TestCancel:
    def test_a_committee_cancels_no_review(self, reviews: Reviews, gate: GatePublic) -> None:
        with reviews.client("bob") as bob:
            answer = bob.post(
                f"/api/flow_runs/{gate.flow_run_id}/set_state", json={"state": {"type": "CANCELLING"}, "force": True}
            )
        assert answer.status_code == 403
        assert _still_rests(reviews, gate)


class TestSession:
    def test_it_ends_with_the_token_that_opened_it(self, reviews: Reviews) -> None:
        with reviews.there.client("eve") as eve:
            issued = eve.users.issue_token(TokenCreate(label="for a day", expires_in_days=1))
            with reviews.client(**{"Sec-Fetch-Site": "same-origin"}) as client:
                form = {"email": "EVE@elsewhere.example", "password": issued.secret}
                cookie = client.post("/sign-in", data=form).headers["set-cookie"].partition(";")[0]
            with reviews.client(Cookie=cookie, **{"Sec-Fetch-Site": "same-origin"}) as browser:
                assert browser.get("/waiting").status_code == 200
                eve.users.revoke_token(issued.id)
                assert browser.get("/gates").status_code == 401

    def test_anothers_token_signs_nobody_in(self, reviews: Reviews) -> None:
        with reviews.client(**{"Sec-Fetch-Site": "same-origin"}) as client:
            form = {"email": "bob@university.example", "password": reviews.there.tokens["eve"]}
            assert client.post("/sign-in", data=form).status_code == 401
        reviews.ledger.forget_failures("bob@university.example", "127.0.0.1")

    def test_a_sites_token_signs_nobody_in(self, reviews: Reviews) -> None:
        with reviews.client("site") as site:
            for path in ("/waiting", "/v2/dashboard", "/api/flow_runs/count"):
                assert site.get(path, headers=HTML).status_code in {303, 401, 403}


class TestPage:
    def test_the_gate_reads_as_a_table_and_takes_the_decision(self, reviews: Reviews, gate: GatePublic) -> None:
        with reviews.browser("bob") as bob:
            assert gate.title in bob.get("/waiting").text
            page = bob.get(f"/waiting/{gate.id}").text
            assert "logistic-regression" in page
            assert "random-forest" in page
            answer = {"verdict": "approve", "reason": "as agreed", "digest": gate.digest}
            assert "The run goes on" in bob.post(f"/waiting/{gate.id}", data=answer).text
        assert reviews.concluded(gate).verdict == "approve"

    def test_whoever_may_not_decide_is_told_so_and_gets_no_form(self, reviews: Reviews, gate: GatePublic) -> None:
        with reviews.browser("ada") as ada:
            page = ada.get(f"/waiting/{gate.id}").text
        assert "asked for this" in page
        assert "Record my decision" not in page
