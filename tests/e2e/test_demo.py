"""The demonstration, played as a new user would, and its story checked by program."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.demonstration import AUROC, MODELS, play, scores
from tests.watching import processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
HOSPITALS = {"north": 190, "harbour": 130, "south": 80}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, until: Callable[..., None]) -> dict[str, Any]:
    """`summary.json` of one demonstration, whose processes have all ended."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    play(folder, limit_s=840)
    # Those that its processes started end by themselves when they notice.
    until(lambda: not processes(str(folder)), "the last of its processes to end")
    told: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return told


class TestStory:
    def test_every_model_ran_at_every_hospital(self, story: dict[str, Any]) -> None:
        ran = {(e["site"], e["model_name"]) for e in story["executions"] if e["state"] == "succeeded"}
        assert ran == {(site, model) for site in HOSPITALS for model in MODELS}

    def test_what_was_withheld_did_not_leave(self, story: dict[str, Any]) -> None:
        left = {
            (site, item["subject"])
            for site, items in story["departures"].items()
            for item in items
            if item["kind"] == "result"
        }
        assert left == {(site, model) for site in HOSPITALS for model in MODELS} - {("south", "k-nearest-neighbours")}

    def test_a_named_person_of_that_hospital_allowed_what_left(self, story: dict[str, Any]) -> None:
        for site, items in story["departures"].items():
            for item in items:
                if item["kind"] in {"dataset", "result"}:
                    assert [f"<data-owner@{site}.example>" in each["person"] for each in item["decisions"]] == [True]

    def test_what_nobody_needed_to_allow_is_only_signs_of_life_and_events(self, story: dict[str, Any]) -> None:
        kinds = {item["kind"] for items in story["departures"].values() for item in items if not item["decisions"]}
        assert kinds <= {"heartbeat", "execution_event"}

    def test_each_gate_was_decided_by_a_person_for_a_digest(self, story: dict[str, Any]) -> None:
        gates = {decision["gate"] for decision in story["decisions"]}
        # One benchmark, five models, three datasets, three registrations, three runs, three releases, one leaderboard.
        assert len(gates) == 1 + 5 + 3 + 3 + 3 + 3 + 1
        assert all(decision["digest"].startswith("sha256:") and decision["person"] for decision in story["decisions"])

    def test_the_leaderboard_holds_real_patients(self, story: dict[str, Any]) -> None:
        rows = {row["model_name"]: row for row in story["leaderboard"]["rows"]}
        assert set(rows) == MODELS
        assert rows["logistic-regression"]["cases"] == sum(HOSPITALS.values())
        assert rows["k-nearest-neighbours"]["cases"] == HOSPITALS["north"] + HOSPITALS["harbour"]
        assert scores(story) == AUROC

    def test_every_result_was_made_in_isolation(self, story: dict[str, Any]) -> None:
        assert all(row["isolated"] for row in story["leaderboard"]["rows"])

    def test_the_audit_log_is_whole(self, story: dict[str, Any]) -> None:
        assert story["audit"]["intact"] is True
