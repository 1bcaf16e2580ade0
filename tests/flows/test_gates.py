"""Gates through the real server: they rest with a form, and only a person's decision about what is there now opens them."""

from collections.abc import Callable
from typing import Any

import httpx2

from agents.prefect_api import PrefectApi
from api.schemas.benchmarks import Verdict
from tests.flows.gatehouse import Gatehouse

Until = Callable[..., None]


def _form(api: PrefectApi, run: str, part: str) -> Any:
    """What Prefect's pages read to draw the form of a resting run."""
    state = httpx2.get(f"{api.url}/flow_runs/{run}", trust_env=False).json()["state"]
    key = state["state_details"]["run_input_keyset"][part]
    found = httpx2.get(f"{api.url}/flow_runs/{run}/input/{key}", trust_env=False)
    found.raise_for_status()
    return found.json()


class TestRest:
    def test_a_gate_with_an_underscore_suspends_with_a_form(self, gatehouse: Gatehouse, api: PrefectApi) -> None:
        run = gatehouse.ask({"cases": 3})
        assert api.state(run) == ("PAUSED", "Suspended")
        digest = gatehouse.gate(run).digest
        schema = _form(api, run, "schema")
        assert set(schema["properties"]) == {"verdict", "reason", "digest"}
        assert schema["properties"]["digest"]["default"] == digest

    def test_the_form_describes_what_is_shown(self, gatehouse: Gatehouse, api: PrefectApi) -> None:
        run = gatehouse.ask({"cases": 3})
        assert "May this go?\n\n- cases: 3" in str(_form(api, run, "description"))

    def test_the_form_offers_the_items_and_no_others(self, gatehouse: Gatehouse, api: PrefectApi) -> None:
        run = gatehouse.ask({"items": [{"item": "a"}, {"item": "b"}]})
        assert _form(api, run, "schema")["properties"]["withhold"]["items"]["enum"] == ["a", "b"]


class TestDecide:
    def test_a_wake_up_without_a_decision_rests_again(self, gatehouse: Gatehouse) -> None:
        run = gatehouse.ask({"cases": 3})
        gatehouse.wake(run)
        gatehouse.rests_again(run)
        assert gatehouse.passed == {}

    def test_a_decision_about_something_else_does_not_count(self, gatehouse: Gatehouse) -> None:
        run = gatehouse.ask({"cases": 3})
        gate = gatehouse.decide(run, Verdict.APPROVE)
        gatehouse.shown[run] = {"cases": 4}
        gatehouse.wake(run, digest=gate.digest)
        gatehouse.rests_again(run)
        assert gatehouse.passed == {}
        assert gatehouse.gate(run).shown == {"cases": 4}

    def test_an_approval_passes_with_what_was_approved(
        self, gatehouse: Gatehouse, api: PrefectApi, until: Until
    ) -> None:
        run = gatehouse.ask({"cases": 3})
        gatehouse.decide(run, Verdict.APPROVE)
        gatehouse.wake(run)
        until(lambda: api.state(run)[0] == "COMPLETED", "its end")
        assert gatehouse.passed[run].shown == {"cases": 3}
        assert gatehouse.passed[run].person == "Ada <ada@north.example>"

    def test_a_rejection_is_raised_with_its_reason(self, gatehouse: Gatehouse, api: PrefectApi, until: Until) -> None:
        run = gatehouse.ask({"cases": 3})
        gatehouse.decide(run, Verdict.REJECT)
        gatehouse.wake(run)
        until(lambda: api.state(run)[0] == "COMPLETED", "its end")
        assert gatehouse.rejected == {run: "rejected by Ada <ada@north.example>: looked at it"}
        assert gatehouse.passed == {}

    def test_withheld_items_come_with_the_approval(self, gatehouse: Gatehouse, api: PrefectApi, until: Until) -> None:
        run = gatehouse.ask({"items": [{"item": "a"}, {"item": "b"}]})
        gatehouse.decide(run, Verdict.APPROVE, withheld=["b"])
        gatehouse.wake(run)
        until(lambda: api.state(run)[0] == "COMPLETED", "its end")
        assert gatehouse.passed[run].withheld == ("b",)

    def test_what_changed_while_waiting_is_asked_and_approved_anew(
        self, gatehouse: Gatehouse, api: PrefectApi, until: Until
    ) -> None:
        run = gatehouse.ask({"cases": 3})
        first = gatehouse.gate(run)
        gatehouse.shown[run] = {"cases": 4}
        gatehouse.wake(run)
        gatehouse.rests_again(run)
        assert gatehouse.gate(run).id != first.id
        gatehouse.decide(run, Verdict.APPROVE)
        gatehouse.wake(run)
        until(lambda: api.state(run)[0] == "COMPLETED", "its end")
        assert gatehouse.passed[run].shown == {"cases": 4}
