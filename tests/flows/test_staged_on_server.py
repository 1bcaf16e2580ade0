"""A staged preparation on the real Prefect server: its flow run rests while people work, and goes on where the report says."""

import csv
from pathlib import Path
from typing import Any

import pytest

from agents.staging import read_stage
from agents.store.tables import DatasetState, JobState
from api.schemas.cubes import CubeKind
from tests.flows.agency import Agency

pytestmark = pytest.mark.slow
LONG_S = 300.0
STAGED = Path(__file__).parents[1] / "staged_preparator"


@pytest.fixture(scope="module")
def ward(north: Agency) -> Agency:
    """The benchmark's preparator is one that stops for people."""
    here = north.here
    here._refs["preparator"] = here.cube(STAGED, CubeKind.DATA_PREPARATOR)
    here.offer()
    return north


def _raw(ward: Agency, *cases: str) -> None:
    """Other cases are another preparation."""
    with (ward.here.raw / "data" / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("case_id", "radius_mean"), *((case, 12) for case in cases)])


def _folder(ward: Agency, name: str) -> Path:
    return Path(ward.dataset(name).folder or "")


def _review(ward: Agency, name: str, *cases: str) -> None:
    for case in cases:
        with (_folder(ward, name) / "labels" / "drafts" / f"{case}.txt").open("a") as file:
            file.write("reviewed\n")


class TestPrepare:
    def test_two_gates_and_three_runs_of_the_preparator(self, ward: Agency) -> None:
        _raw(ward, "a", "b")
        before = ward.steps()
        job = ward.prepare("staged")
        first = ward.gate(job, limit_s=LONG_S)
        assert (first.name, first.shown["open"]) == ("continue_preparation", 2)
        assert ward.dataset("staged").state == DatasetState.OUTSTANDING
        _review(ward, "staged", "a")
        ward.decide(first)
        second = _next(ward, job, first)
        assert (second.name, second.shown["open"], second.shown["run"]) == ("continue_preparation", 1, 2)
        _review(ward, "staged", "b")
        ward.decide(second)
        last = _next(ward, job, second)
        assert (last.name, last.shown["statistics"]) == ("register_dataset", {"cases": 2, "malignant": 0})
        assert ward.approve(job).state == JobState.DONE
        assert ward.steps() - before == {"prepare": 3, "sanity_check": 3, "statistics": 1}

    def test_an_agent_that_was_away_meanwhile_runs_nothing_twice(self, ward: Agency) -> None:
        _raw(ward, "c")
        job = ward.prepare("staged-away")
        gate = ward.gate(job, limit_s=LONG_S)
        before = ward.steps()
        with ward.away():
            _review(ward, "staged-away", "c")
            ward.decide(gate)
        assert _next(ward, job, gate).name == "register_dataset"
        assert read_stage(_folder(ward, "staged-away")).runs == 2
        assert ward.steps() - before == {"prepare": 1, "sanity_check": 1, "statistics": 1}

    def test_resuming_it_in_prefect_without_a_decision_opens_nothing(self, ward: Agency) -> None:
        _raw(ward, "d")
        job = ward.prepare("staged-forged")
        gate = ward.gate(job, limit_s=LONG_S)
        _review(ward, "staged-forged", "d")
        ward.api.resume(str(gate.flow_run_id), {"verdict": "approve", "reason": "x", "digest": gate.digest})
        assert ward.gate(job, limit_s=LONG_S).id == gate.id
        assert read_stage(_folder(ward, "staged-forged")).runs == 1


def _next(ward: Agency, job: Any, before: Any) -> Any:
    """The gate that follows one."""
    found: list[Any] = []

    def moved() -> bool:
        found[:] = [ward.gate(job, limit_s=LONG_S)]
        return bool(found[0].id != before.id)

    ward.until(moved, "the next gate", limit_s=LONG_S)
    return found[0]
