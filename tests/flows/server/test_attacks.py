"""What must not get a run past its gate, each tried on a real run that rests at one: refused, kept, and nothing moved."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents.store import Store
from agents.store import gates as book
from agents.store.people import add_person, find_person, list_people, revoke, sign_in
from agents.store.tables import Role
from api.schemas.benchmarks import Verdict
from tests.flows.server.conftest import ASKING, Place, other_digest, results

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


def _still_rests(place: Place, run: str) -> bool:
    return place.state(run) == "PAUSED" and place.decisions(place.gate(run)) == [] and run not in ASKING.ended


class TestResume:
    def test_a_data_owner_resumes_as_themselves(self, place: Place, run: str) -> None:
        gate = place.gate(run)
        with place.browser("ann") as ann:
            answer = ann.post(f"/api/flow_runs/{run}/resume", json=place.form(run, reason="the numbers fit"))
        assert (answer.status_code, answer.json()["status"]) == (201, "ACCEPT")
        assert place.end_of(run) == "approved by Ann <ann@north.example>, without []"
        (decision,) = place.decisions(gate)
        assert (decision.person, decision.reason) == ("Ann <ann@north.example>", "the numbers fit")

    def test_what_prefect_keeps_is_made_from_the_decision(self, place: Place, run: str) -> None:
        with place.client("ann") as ann:
            keys = ann.get(f"/api/flow_runs/{run}").json()["state"]["state_details"]["run_input_keyset"]
            ann.post(f"/api/flow_runs/{run}/resume", json=place.form(run, reason="  seen  ", withhold=["1"]))
            kept = ann.get(f"/api/flow_runs/{run}/input/{keys['response']}").json()
        assert kept["reason"] == "seen"
        assert kept["withhold"] == ["1"]

    def test_a_rejection_needs_a_reason_and_ends_the_run_in_peace(self, place: Place, run: str) -> None:
        with place.client("ann") as ann:
            without = ann.post(f"/api/flow_runs/{run}/resume", json=place.form(run, verdict="reject", reason=" "))
            assert without.status_code == 422
            assert _still_rests(place, run)
            ann.post(f"/api/flow_runs/{run}/resume", json=place.form(run, verdict="reject", reason="too few cases"))
        assert place.end_of(run) == "rejected by Ann <ann@north.example>"

    @pytest.mark.parametrize("who", ["vic", "olga"])
    def test_whoever_may_not_decide(self, place: Place, run: str, who: str) -> None:
        with place.client(who) as client:
            answer = client.post(f"/api/flow_runs/{run}/resume", json=place.form(run))
        assert answer.status_code == 403
        assert _still_rests(place, run)
        assert place.refused(run)

    def test_an_operator_of_another_site(self, place: Place, run: str, tmp_path: Path) -> None:
        south = Store(tmp_path / "south.sqlite")
        with south.write() as session:
            _, token = add_person(session, email="sue@south.example", name="Sue", role=Role.DATA_OWNER)
            assert sign_in(session, token).name == "Sue"
        south.close()
        with place.client(Authorization=f"Bearer {token}") as stranger:
            answer = stranger.post(f"/api/flow_runs/{run}/resume", json=place.form(run))
        assert answer.status_code == 401
        assert _still_rests(place, run)
        assert place.refused(run)

    def test_nobody(self, place: Place, run: str) -> None:
        with place.client() as nobody:
            assert nobody.post(f"/api/flow_runs/{run}/resume", json=place.form(run)).status_code == 401
        assert _still_rests(place, run)
        assert place.refused(run)

    def test_a_worker_at_its_own_gate(self, place: Place, run: str) -> None:
        token = place.ledger.issue_worker_token("pool-a")
        with place.client(Authorization=f"Bearer {token}") as worker:
            assert worker.post(f"/api/flow_runs/{run}/resume", json=place.form(run)).status_code == 403
        assert _still_rests(place, run)

    def test_the_agent_without_a_decision(self, place: Place, run: str) -> None:
        with place.client("service") as agent:
            answer = agent.post(f"/api/flow_runs/{run}/resume", json=place.form(run))
        assert answer.status_code == 403
        assert "not decided" in answer.json()["detail"]
        assert _still_rests(place, run)

    def test_the_agent_with_a_decision_of_the_command_line(self, place: Place, run: str) -> None:
        gate = place.gate(run)
        with place.site.store.write() as session:
            ann = find_person(session, "ann@north.example")
            book.decide(
                session, gate_id=gate.id, digest=gate.digest, verdict=Verdict.APPROVE, person=ann, reason="by command"
            )
        with place.client("service") as agent:
            forged = _form(gate.digest, reason="forged")
            assert agent.post(f"/api/flow_runs/{run}/resume", json=forged).json()["status"] == "ACCEPT"
        assert place.end_of(run).startswith("approved by Ann")

    def test_twice_at_the_same_moment(self, place: Place, run: str) -> None:
        gate, form = place.gate(run), place.form(run)

        def resume(who: str) -> int:
            with place.client(who) as client:
                return client.post(f"/api/flow_runs/{run}/resume", json=form).status_code

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(resume, ["ann", "ben"] * 4))
        assert sorted(answers) == [201] + [409] * 7
        assert len(place.decisions(gate)) == 1
        place.end_of(run)

    def test_after_the_digest_changed(self, place: Place, run: str) -> None:
        with place.client("ann") as ann:
            answer = ann.post(f"/api/flow_runs/{run}/resume", json=place.form(run, digest=other_digest()))
        assert answer.status_code == 409
        assert "look again" in answer.json()["detail"]
        assert _still_rests(place, run)

    def test_after_what_is_there_changed_the_run_asks_again(self, place: Place, run: str) -> None:
        first, form = place.gate(run), place.form(run)
        ASKING.shown[first.subject] = results(auc=0.1)
        with place.client("ann") as ann:
            assert ann.post(f"/api/flow_runs/{run}/resume", json=form).status_code == 201
        place.until(lambda: place.state(run) == "PAUSED", "the run to rest again")
        assert place.gate(run).id != first.id
        assert _still_rests(place, run)

    @pytest.mark.parametrize(
        "changes",
        [
            {"person": "Somebody Else"},
            {"verdict": "perhaps"},
            {"verdict": ["approve"]},
            {"reason": "x" * 2_001},
            {"reason": 7},
            {"reason": "null\x00byte"},
            {"digest": "sha256:0"},
            {"digest": None},
            {"withhold": ["9"]},
            {"withhold": "1"},
        ],
        ids=str,
    )
    def test_a_form_that_does_not_fit(self, place: Place, run: str, changes: dict[str, Any]) -> None:
        with place.client("ann") as ann:
            assert ann.post(f"/api/flow_runs/{run}/resume", json=place.form(run, **changes)).status_code == 422
        assert _still_rests(place, run)

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"not json", b'{"run_input": null}', b"[" * 100_000])
    def test_no_form_at_all(self, place: Place, run: str, body: bytes) -> None:
        with place.client("ann") as ann:
            answer = ann.post(f"/api/flow_runs/{run}/resume", content=body)
        assert answer.status_code in {400, 422}
        assert _still_rests(place, run)

    def test_an_oversized_form_without_a_length(self, place: Place, run: str) -> None:
        with place.client("ann") as ann:
            answer = ann.post(f"/api/flow_runs/{run}/resume", content=(b" " * 65_536 for _ in range(8)))
        assert answer.status_code == 413
        assert _still_rests(place, run)

    def test_an_oversized_form(self, place: Place, run: str) -> None:
        with place.client("ann") as ann:
            answer = ann.post(f"/api/flow_runs/{run}/resume", json=place.form(run, withhold=["x" * 300_000]))
        assert answer.status_code == 413
        assert _still_rests(place, run)

    @pytest.mark.parametrize(
        "template",
        [
            {"__prefect_kind": "jinja", "template": "{{ 7 * 7 }}"},
            {"__prefect_kind": "workspace_variable", "variable_name": "secret"},
            [{"deep": {"__prefect_kind": "json", "value": '"x"'}}],
        ],
        ids=str,
    )
    def test_a_template_as_an_answer(self, place: Place, run: str, template: Any) -> None:
        with place.client("ann") as ann:
            answer = ann.post(f"/api/flow_runs/{run}/resume", json=place.form(run, reason=template))
        assert answer.status_code == 422
        assert "templates" in answer.json()["detail"]
        assert _still_rests(place, run)

    def test_a_run_that_does_not_exist(self, place: Place) -> None:
        with place.client("ann") as ann:
            answer = ann.post(f"/api/flow_runs/{uuid4()}/resume", json={"run_input": {}})
        assert answer.status_code == 409

    def test_a_revoked_person(self, place: Place, run: str) -> None:
        with place.site.store.write() as session:
            _, token = add_person(session, email=f"{uuid4()}@x.example", name="Gone", role=Role.DATA_OWNER)
        with place.client(Authorization=f"Bearer {token}") as gone:
            email = next(p for p in _emails(place) if "x.example" in p)
            with place.site.store.write() as session:
                revoke(session, email)
            assert gone.post(f"/api/flow_runs/{run}/resume", json=place.form(run)).status_code == 401
        assert _still_rests(place, run)


class TestSetState:
    @pytest.mark.parametrize("wanted", ["RUNNING", "SCHEDULED", "PENDING", "COMPLETED", "FAILED", "PAUSED"])
    def test_a_person_sets_no_state_but_cancelled(self, place: Place, run: str, wanted: str) -> None:
        with place.client("ann") as ann:
            body = {"state": {"type": wanted}, "force": True}
            assert ann.post(f"/api/flow_runs/{run}/set_state", json=body).status_code == 403
        assert _still_rests(place, run)
        assert place.refused(f"{run}/set_state")

    @pytest.mark.parametrize("wanted", ["RUNNING", "SCHEDULED", "PENDING", "COMPLETED"])
    @pytest.mark.parametrize("force", [False, True])
    def test_the_service_cannot_either_not_even_by_force(
        self, place: Place, run: str, wanted: str, *, force: bool
    ) -> None:
        with place.client("service") as service:
            body = {"state": {"type": wanted}, "force": force}
            answer = service.post(f"/api/flow_runs/{run}/set_state", json=body)
        assert answer.json()["status"] == "ABORT"
        assert "gate" in answer.json()["details"]["reason"]
        assert _still_rests(place, run)

    def test_a_person_may_cancel(self, place: Place, run: str) -> None:
        with place.client("olga") as olga:
            olga.post(f"/api/flow_runs/{run}/set_state", json={"state": {"type": "CANCELLING"}})
        place.until(lambda: place.state(run) == "CANCELLED", "the run to be cancelled")

    def test_a_viewer_may_not(self, place: Place, run: str) -> None:
        with place.client("vic") as vic:
            body = {"state": {"type": "CANCELLING"}}
            assert vic.post(f"/api/flow_runs/{run}/set_state", json=body).status_code == 403
        assert _still_rests(place, run)

    def test_many_at_once_for_nobody(self, place: Place, run: str) -> None:
        for who in ("ann", "service"):
            with place.client(who) as client:
                body = {"flow_runs": {"id": {"any_": [run]}}, "state": {"type": "RUNNING"}, "force": True}
                assert client.post("/api/flow_runs/bulk_set_state", json=body).status_code == 403
        assert _still_rests(place, run)


class TestInput:
    @pytest.mark.parametrize("who", ["ann", "olga", "vic", "service"])
    def test_an_answer_cannot_be_written(self, place: Place, run: str, who: str) -> None:
        with place.client(who) as client:
            key = client.get(f"/api/flow_runs/{run}").json()["state"]["state_details"]["run_input_keyset"]["response"]
            body = {"key": key, "value": json.dumps(place.form(run)["run_input"])}
            assert client.post(f"/api/flow_runs/{run}/input", json=body).status_code == 403
        assert _still_rests(place, run)

    def test_a_question_cannot_be_taken_away(self, place: Place, run: str) -> None:
        with place.client("service") as service:
            keys = service.get(f"/api/flow_runs/{run}").json()["state"]["state_details"]["run_input_keyset"]
            assert service.delete(f"/api/flow_runs/{run}/input/{keys['schema']}").status_code == 403
            assert service.get(f"/api/flow_runs/{run}/input/{keys['schema']}").status_code == 200


class TestAsk:
    def test_people_start_no_runs_in_prefect(self, place: Place) -> None:
        with place.client("ann") as ann:
            deployment = ann.get("/api/deployments/name/asking/test").json()["id"]
            assert ann.post(f"/api/deployments/{deployment}/create_flow_run", json={}).status_code == 403
            assert ann.post("/api/flow_runs/", json={}).status_code == 403

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"parameters": {"subject": {"__prefect_kind": "jinja", "template": "{{ x }}"}}}, 422),
            ({"parameters": {"subject": "x"}, "state": {"type": "COMPLETED"}}, 403),
            ([], 422),
        ],
    )
    def test_the_service_asks_plainly(self, place: Place, body: Any, status: int) -> None:
        with place.client("service") as service:
            deployment = service.get("/api/deployments/name/asking/test").json()["id"]
            answer = service.post(f"/api/deployments/{deployment}/create_flow_run", json=body)
        assert answer.status_code == status

    def test_nobody_makes_an_automation(self, place: Place, run: str) -> None:
        automation = {
            "name": "wake",
            "trigger": {"type": "event", "posture": "Reactive", "threshold": 1},
            "actions": [{"type": "resume-flow-run"}],
        }
        for who in ("ann", "service"):
            with place.client(who) as client:
                assert client.post("/api/automations/", json=automation).status_code == 403
        assert _still_rests(place, run)


def _form(digest: str, **changes: Any) -> dict[str, Any]:
    return {"run_input": {"verdict": "approve", "reason": "seen", "digest": digest, "withhold": [], **changes}}


def _emails(place: Place) -> list[str]:
    with place.site.store.read() as session:
        return [person.email for person in list_people(session) if person.revoked_at is None]
