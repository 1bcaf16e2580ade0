"""Whoever reaches Prefect's API without our layer can set states, forge answers, and run a flow by themselves.

No gate opens by it: whatever wakes a run, it looks for a person's decision about what is there now, and rests without.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow_async
from prefect.settings import temporary_settings

from agents.errors import ConflictError, NotPermittedError
from agents.prefect_api import MISSING, PrefectApi
from agents.store import gates
from agents.store.people import add_person, revoke
from agents.store.tables import Role
from api.schemas.benchmarks import Verdict
from tests.flows.gatehouse import Gatehouse

SCHEDULED = {"type": "SCHEDULED", "name": "AwaitingRetry"}
Until = Callable[..., None]


@pytest.fixture
def house(tmp_path: Path, prefect_url: str, until: Until) -> Iterator[Gatehouse]:
    api = PrefectApi(prefect_url, timeout_s=60)
    house = Gatehouse(tmp_path, api, until)
    house.start()
    yield house
    house.stop()
    api.close()


def _set_state(house: Gatehouse, run: str, state: dict[str, Any], *, force: bool) -> None:
    house.post(f"/flow_runs/{run}/set_state", {"state": state, "force": force}).raise_for_status()


def _keyset(house: Gatehouse, run: str) -> dict[str, str]:
    state = httpx2.get(f"{house.api.url}/flow_runs/{run}", trust_env=False).json()["state"]
    return dict(state["state_details"]["run_input_keyset"])


def _forge(house: Gatehouse, run: str, **changes: Any) -> None:
    """Write the answer that the form would have left."""
    value = httpx2.Response(200, json=house.answer(run, **changes)).text
    house.post(f"/flow_runs/{run}/input", {"key": _keyset(house, run)["response"], "value": value}).raise_for_status()


def _shut(house: Gatehouse, run: str, times: int = 2) -> None:
    """The run has looked, found nobody's approval, and rests."""
    house.rests_again(run, times)
    assert house.passed == {}


def _execute(house: Gatehouse, run: str) -> str:
    """Run an engine on a run that nobody claimed, as a pod does that was started a second time."""

    async def engine() -> str:
        async with get_client() as client:
            found = await client.read_flow_run(UUID(run))
            try:
                state = await run_flow_async(
                    house.flow, flow_run=found, parameters=found.parameters, return_type="state"
                )
            except Pause:
                return "rested"
            assert state is not None
            return str(state.type.value)

    with temporary_settings({"api.url": house.api.url}):
        return asyncio.run(engine())


class TestStates:
    """A state is what Prefect believes of a run; it says nothing of what a person decided."""

    @pytest.mark.parametrize("force", [False, True])
    def test_running(self, house: Gatehouse, force: bool) -> None:  # noqa: FBT001 - a case
        run = house.ask({"cases": 3})
        _set_state(house, run, {"type": "RUNNING", "name": "Running"}, force=force)
        _shut(house, run)

    def test_pending(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        _set_state(house, run, {"type": "PENDING", "name": "Pending"}, force=True)
        _shut(house, run)

    def test_scheduled_without_an_answer(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run)

    @pytest.mark.parametrize("force", [False, True])
    def test_completed(self, house: Gatehouse, force: bool) -> None:  # noqa: FBT001 - a case
        """The run is over, and has done nothing."""
        run = house.ask({"cases": 3})
        _set_state(house, run, {"type": "COMPLETED", "name": "Completed"}, force=force)
        assert house.passed == {}
        assert house.book.decision(house.gate(run).id) is None

    def test_a_retry_after_a_crash_at_the_gate(self, house: Gatehouse) -> None:
        """Prefect's own retry is a forced state that keeps the keys of the pause."""
        run = house.ask({"cases": 3})
        _set_state(house, run, {"type": "CRASHED", "name": "Crashed"}, force=True)
        _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run)

    def test_a_second_run_from_the_top_after_an_answer(self, house: Gatehouse) -> None:
        """Here Prefect gives the flow nothing, or the old answer, instead of asking again."""
        run = house.ask({"cases": 3})
        house.wake(run)
        _shut(house, run)
        _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run, times=3)


class TestEngines:
    """Prefect's engine skips a gate when it is started on a paused run."""

    def test_executed_again_while_it_rests(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        assert _execute(house, run) in {"rested", "PAUSED"}
        assert (house.api.state(run)[0], house.passed) == ("PAUSED", {})

    def test_executed_again_with_a_forged_answer(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        _forge(house, run)
        assert _execute(house, run) in {"rested", "PAUSED"}
        assert (house.api.state(run)[0], house.passed) == ("PAUSED", {})

    def test_executed_as_if_it_were_running(self, house: Gatehouse) -> None:
        """The engine of a pod whose pause was forgotten: the run is set to running, then executed a second time."""
        run = house.ask({"cases": 3})
        house.stop()
        _forge(house, run)
        _set_state(house, run, {"type": "RUNNING", "name": "Running"}, force=True)
        assert _execute(house, run) == "rested"
        assert (house.api.state(run)[0], house.passed) == ("PAUSED", {})

    def test_a_rest_holds_nothing_that_could_be_evicted(self, house: Gatehouse) -> None:
        """What waits in a process can be set going by that process's end; a suspended run is in none."""
        run = house.ask({"cases": 3})
        assert not house.holds(run)
        house.stop()
        assert house.api.state(run) == ("PAUSED", "Suspended")


class TestAnswers:
    """Whatever the form holds: it is not in the book."""

    def test_of_nobody_in_particular(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        house.wake(run, reason="I am Ada <ada@north.example>")
        _shut(house, run)

    def test_forged_beside_the_form(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        _forge(house, run)
        _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run)

    def test_forged_before_a_person_rejects(self, house: Gatehouse, until: Until) -> None:
        run = house.ask({"cases": 3})
        _forge(house, run)
        house.decide(run, Verdict.REJECT)
        _set_state(house, run, SCHEDULED, force=True)
        until(lambda: run in house.rejected, "the rejection")
        assert house.passed == {}

    @pytest.mark.parametrize("kind", ["jinja", "workspace_variable"])
    def test_rendered_by_the_server(self, house: Gatehouse, kind: str) -> None:
        run = house.ask({"cases": 3})
        given = {"template": "{{ 'approve' }}", "variable_name": "approve"}
        if not house.api.resume(run, house.answer(run, reason={"__prefect_kind": kind, **given})):
            _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run)

    def test_to_a_form_that_was_deleted(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        for key in set(_keyset(house, run).values()):
            httpx2.delete(f"{house.api.url}/flow_runs/{run}/input/{key}", trust_env=False)
        if not house.api.resume(run, house.answer(run)):
            _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run)

    def test_that_withhold_less_than_the_person_did(self, house: Gatehouse, until: Until) -> None:
        run = house.ask({"items": [{"item": "a"}, {"item": "b"}]})
        house.decide(run, Verdict.APPROVE, withheld=["b"])
        house.wake(run, withhold=[])
        until(lambda: run in house.passed, "its passing")
        assert house.passed[run].withheld == ("b",)


class TestDecisions:
    """Only those that count, about what is there now."""

    def test_for_another_digest_cannot_be_written(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        with pytest.raises(ConflictError, match="look again"):
            house.decide(run, Verdict.APPROVE, digest="sha256:" + "0" * 64)
        house.wake(run)
        _shut(house, run)

    def test_about_another_run_that_shows_the_same(self, house: Gatehouse) -> None:
        other, run = house.ask({"cases": 3}), house.ask({"cases": 3})
        house.decide(other, Verdict.APPROVE)
        house.wake(run)
        house.rests_again(run)
        assert run not in house.passed

    def test_about_what_has_changed_since(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        house.decide(run, Verdict.APPROVE)
        house.shown[run] = {"cases": 4}
        _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run)

    def test_of_somebody_who_may_not_decide(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        with house.store.write() as session:
            house.person = add_person(session, email="op@north.example", name="Op", role=Role.OPERATOR)[0]
        with pytest.raises(NotPermittedError):
            house.decide(run, Verdict.APPROVE)
        house.wake(run)
        _shut(house, run)

    def test_of_somebody_who_may_no_longer_decide(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        house.decide(run, Verdict.APPROVE)
        with house.store.write() as session:
            revoke(session, house.person.email)
        _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run)


class TestEnds:
    """A run that was ended past its gate has done nothing, and whoever starts it again is asked again."""

    def test_cancelled(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        assert house.api.cancel(run)
        assert (house.api.state(run)[0], house.passed) == ("CANCELLED", {})
        _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run)

    def test_deleted(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        httpx2.delete(f"{house.api.url}/flow_runs/{run}", trust_env=False).raise_for_status()
        house.decide(run, Verdict.APPROVE)
        assert (house.api.state(run)[0], house.passed) == (MISSING, {})


class TestOpens:
    def test_for_the_person_whose_decision_is_in_the_book(self, house: Gatehouse, until: Until) -> None:
        run = house.ask({"cases": 3})
        _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run)
        house.decide(run, Verdict.APPROVE)
        house.wake(run)
        until(lambda: run in house.passed, "its passing")
        with house.store.read() as session:
            decision = gates.valid_decision(session, house.passed[run].gate_id)
        assert decision is not None
        assert house.passed[run].person == decision.person == "Ada <ada@north.example>"
