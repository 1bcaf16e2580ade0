"""Gates as people read them on our own pages, and as programs ask for them."""

import pytest

from tests.flows.server.conftest import SCRIPT, Place, other_digest, results

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


class TestGatePage:
    def test_strangers_words_show_as_they_are(self, place: Place) -> None:
        (item,) = results(model=SCRIPT)["items"]
        run = place.ask(shown={"statistics": {SCRIPT: {"mean": 1.5}}, "items": [{**item, "item": SCRIPT}]})
        gate = place.gate(run)
        with place.client("ann") as ann:
            text = ann.get(f"/waiting/{gate.id}").text
        assert "<script" not in text
        assert "&lt;script&gt;" in text
        assert gate.digest in text

    def test_a_decision_by_the_form_wakes_the_run(self, place: Place, run: str) -> None:
        gate = place.gate(run)
        form = {"verdict": "approve", "reason": "seen on the page", "digest": gate.digest, "withhold": "1"}
        with place.browser("ann") as ann:
            answer = ann.post(f"/waiting/{gate.id}", data=form)
        assert answer.status_code == 200
        assert "The run goes on" in answer.text
        assert place.end_of(run) == "approved by Ann <ann@north.example>, without ['1']"

    def test_a_refusal_is_told_on_the_page_and_keeps_the_reason(self, place: Place, run: str) -> None:
        gate = place.gate(run)
        form = {"verdict": "approve", "reason": "my long reason", "digest": other_digest()}
        with place.browser("ann") as ann:
            answer = ann.post(f"/waiting/{gate.id}", data=form)
        assert answer.status_code == 409
        assert "look again" in answer.text
        assert "my long reason" in answer.text

    def test_viewers_see_none(self, place: Place, run: str) -> None:
        with place.browser("vic") as vic:
            assert vic.get("/waiting").status_code == 403
            assert vic.get(f"/waiting/{place.gate(run).id}").status_code == 403


class TestEndpoint:
    def test_it_lists_shows_and_decides(self, place: Place, run: str) -> None:
        gate = place.gate(run)
        with place.client("ann") as ann:
            assert gate.id in {card["id"] for card in ann.get("/gates").json()}
            assert ann.get(f"/gates/{gate.id}").json()["digest"] == gate.digest
            answer = ann.post(
                f"/gates/{gate.id}/decision", json={"verdict": "reject", "reason": "no", "digest": gate.digest}
            )
        assert (answer.status_code, answer.json()["verdict"], answer.json()["woken"]) == (200, "reject", True)
        assert place.end_of(run).startswith("rejected by Ann")

    def test_two_people_where_the_site_asks_for_two(self, place: Place) -> None:
        run = place.ask(name="two_people")
        gate = place.gate(run)
        answer = {"verdict": "approve", "reason": "seen", "digest": gate.digest}
        with place.client("ann") as ann, place.client("ben") as ben:
            first = ann.post(f"/gates/{gate.id}/decision", json=answer)
            assert (first.status_code, first.json()["decided"]) == (200, False)
            assert place.state(run) == "PAUSED"
            assert ann.post(f"/gates/{gate.id}/decision", json=answer).status_code == 409
            second = ben.post(f"/api/flow_runs/{run}/resume", json=place.form(run))
            assert second.json()["status"] == "ACCEPT"
        assert place.end_of(run).startswith("approved by Ben")

    @pytest.mark.parametrize("who", ["vic", "olga", "service"])
    def test_whoever_may_not_decide(self, place: Place, run: str, who: str) -> None:
        gate = place.gate(run)
        with place.client(who) as client:
            body = {"verdict": "approve", "reason": "seen", "digest": gate.digest}
            assert client.post(f"/gates/{gate.id}/decision", json=body).status_code == 403
        assert place.state(run) == "PAUSED"
        assert place.refused(gate.id)

    def test_an_unknown_gate(self, place: Place) -> None:
        with place.client("ann") as ann:
            assert ann.get("/gates/zzzzzzzz").status_code == 404
