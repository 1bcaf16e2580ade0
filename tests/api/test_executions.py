"""Executions as their sites tell of them."""

from datetime import timedelta
from typing import Any, Final

import pytest
from pydantic import ValidationError

from api.schemas.border import PayloadKind
from api.storage.columns import now
from cubes.digests import digest_bytes
from tests.api.campaign import Campaign, refused

START = now() - timedelta(hours=1)
FAILED: Final[dict[str, Any]] = {
    "state": "failed",
    "error_class": "exit_code",
    "exit_code": 1,
    "finished_at": START + timedelta(minutes=2),
}
DONE: Final[dict[str, Any]] = {"state": "succeeded", "exit_code": 0, "finished_at": START + timedelta(minutes=2)}


def _tell(campaign: Campaign, site: str = "north", model: str = "alpha", **changes: Any) -> int:
    event = campaign.event(site, model, **{"started_at": START, **changes})
    return campaign.send(site, PayloadKind.EXECUTION_EVENT, event)


def _states(campaign: Campaign) -> list[tuple[str, str, int]]:
    found = campaign.client("committee_member").executions.list().items
    return [(e.step.value, e.state.value, e.attempt) for e in found]


class TestTell:
    def test_each_step_has_its_newest_state(self, campaign: Campaign) -> None:
        first = _tell(campaign)
        assert _tell(campaign, **DONE) == first
        _tell(campaign, step="evaluate", started_at=START + timedelta(minutes=3))
        assert _states(campaign) == [("infer", "succeeded", 1), ("evaluate", "running", 1)]

    def test_old_news_change_nothing(self, campaign: Campaign) -> None:
        _tell(campaign, **FAILED)
        _tell(campaign)
        assert _states(campaign) == [("infer", "failed", 1)]

    def test_another_attempt_is_newer(self, campaign: Campaign) -> None:
        _tell(campaign, **FAILED)
        _tell(campaign, attempt=2, started_at=START + timedelta(minutes=5))
        (found,) = campaign.client("committee_member").executions.list().items
        assert (found.state, found.attempt, found.error_class, found.exit_code) == ("running", 2, None, None)

    def test_a_failure_comes_with_class_and_exit_code(self, campaign: Campaign) -> None:
        number = _tell(campaign, **FAILED)
        found = campaign.client("committee_member").executions.get(number)
        assert (found.error_class, found.exit_code, found.model_name) == ("exit_code", 1, "alpha")

    def test_it_stands_in_the_audit_log(self, campaign: Campaign) -> None:
        _tell(campaign)
        _tell(campaign, **DONE)
        assert campaign.actions()[-2:] == ["execution.running", "execution.succeeded"]

    def test_another_sites_dataset_is_not_there(self, campaign: Campaign) -> None:
        event = campaign.event("south", "alpha")
        with refused(404, "site 'north' has no dataset"):
            campaign.send("north", PayloadKind.EXECUTION_EVENT, event)

    def test_another_execution_than_what_is_registered_is_refused(self, campaign: Campaign) -> None:
        with refused(409, "as what is registered makes it"):
            _tell(campaign, execution=digest_bytes(b"x"))

    @pytest.mark.parametrize("step", ["prepare", "sanity_check", "statistics"])
    def test_other_steps_are_none_of_an_execution(self, campaign: Campaign, step: str) -> None:
        with refused(422, "is no step of an execution"):
            _tell(campaign, step=step)

    def test_what_is_to_come_is_refused(self, campaign: Campaign) -> None:
        with refused(422, "which is to come"):
            _tell(campaign, started_at=now() + timedelta(days=3))

    @pytest.mark.stage("opened")
    def test_a_pair_that_nobody_approved_is_refused(self, campaign: Campaign) -> None:
        with refused(409, "model 'alpha' is not approved in benchmark 'fna'"):
            _tell(campaign, execution=digest_bytes(b"x"))
        campaign.admit(campaign.ask_for_model("alpha"))
        with refused(409, "dataset 'cases' is not approved in benchmark 'fna'"):
            _tell(campaign, execution=digest_bytes(b"x"))

    @pytest.mark.parametrize(
        "changes",
        [
            {"state": "failed", "finished_at": START},
            {"state": "succeeded"},
            {"finished_at": START},
            {"state": "succeeded", "finished_at": START, "error_class": "memory"},
            {"attempt": 0},
            {"log": "patient 7"},
            {"error_class": "Traceback"},
            {"started_at": "2026-01-01T00:00:00"},
        ],
    )
    def test_a_story_that_contradicts_itself_is_no_shape(self, campaign: Campaign, changes: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            campaign.event("north", "alpha", **changes)


class TestSee:
    @pytest.mark.parametrize("party", ["benchmark_owner", "data_owner", "model_owner", "service"])
    def test_committee_hospital_and_model_owner_do(self, campaign: Campaign, party: str) -> None:
        number = _tell(campaign)
        assert campaign.client(party).executions.get(number).id == number
        assert campaign.client(party).executions.list(state="running").total == 1

    @pytest.mark.parametrize("party", ["other_data_owner", "stranger", "administrator"])
    def test_nobody_else_does(self, campaign: Campaign, party: str) -> None:
        number = _tell(campaign)
        assert campaign.client(party).executions.list().total == 0
        with refused(403, "It takes committee or owner or service"):
            campaign.client(party).executions.get(number)

    @pytest.mark.parametrize(
        ("filters", "total"),
        [
            ({"step": "infer"}, 2),
            ({"step": "evaluate"}, 0),
            ({"site_id": 1}, 1),
            ({"model_id": 2}, 0),
            ({"state": "failed"}, 1),
        ],
    )
    def test_filters_are_the_servers(self, campaign: Campaign, filters: dict[str, Any], total: int) -> None:
        _tell(campaign)
        _tell(campaign, "south", **FAILED)
        assert campaign.client("benchmark_owner").executions.list(limit=1, **filters).total == total
