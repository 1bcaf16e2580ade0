"""Whoever reaches Prefect's API without our layer can set states and forge answers. No gate opens by it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agents.prefect_api import PrefectApi
from api.schemas.benchmarks import Verdict
from tests.flows.gatehouse import Gatehouse

SCHEDULED = {"type": "SCHEDULED", "name": "AwaitingRetry"}


@pytest.fixture
def house(tmp_path: Path, prefect_url: str, until: Callable[..., None]) -> Iterator[Gatehouse]:
    api = PrefectApi(prefect_url)
    house = Gatehouse(tmp_path, api, until)
    house.start()
    yield house
    house.stop()
    api.close()


def _set_state(house: Gatehouse, run: str, state: dict[str, Any], *, force: bool) -> None:
    house.post(f"/flow_runs/{run}/set_state", {"state": state, "force": force}).raise_for_status()


def _shut(house: Gatehouse, run: str, times: int = 2) -> None:
    """The run has looked, found nobody's approval, and rests."""
    house.rests_again(run, times)
    assert house.passed == {}


class TestStaysShut:
    @pytest.mark.parametrize("force", [False, True])
    def test_a_state_set_to_running(self, house: Gatehouse, force: bool) -> None:  # noqa: FBT001 - a case
        run = house.ask({"cases": 3})
        _set_state(house, run, {"type": "RUNNING", "name": "Running"}, force=force)
        _shut(house, run)

    def test_a_forged_answer(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        state = httpx2.get(f"{house.api.url}/flow_runs/{run}", trust_env=False).json()["state"]
        key = state["state_details"]["run_input_keyset"]["response"]
        value = httpx2.Response(200, json=house.answer(run)).text
        house.post(f"/flow_runs/{run}/input", {"key": key, "value": value}).raise_for_status()
        _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run)

    def test_a_template_in_an_answer(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        template = {"__prefect_kind": "jinja", "template": "{{ 'approve' }}"}
        house.wake(run, reason=template)
        _shut(house, run)

    def test_a_retry_after_a_crash_at_the_gate(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        _set_state(house, run, {"type": "CRASHED", "name": "Crashed"}, force=True)
        _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run)

    def test_a_run_that_is_scheduled_again_without_an_answer(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run)

    def test_a_second_run_from_the_top_after_an_answer(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        house.wake(run)
        _shut(house, run)
        _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run, times=3)

    def test_an_answer_of_nobody_in_particular(self, house: Gatehouse) -> None:
        run = house.ask({"cases": 3})
        house.wake(run, reason="I am Ada <ada@north.example>")
        _shut(house, run)


class TestOpens:
    def test_for_the_person_whose_decision_is_in_the_book(self, house: Gatehouse, until: Callable[..., None]) -> None:
        run = house.ask({"cases": 3})
        _set_state(house, run, SCHEDULED, force=True)
        _shut(house, run)
        house.decide(run, Verdict.APPROVE)
        house.wake(run)
        until(lambda: run in house.passed, "its passing")
