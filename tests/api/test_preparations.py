"""How far preparations are, as sites tell it, and who reads that."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from api.schemas.border import PayloadKind, PreparationProgress
from api.storage.columns import now
from tests.api.campaign import Campaign, refused

START = now() - timedelta(hours=1)


def _tell(
    campaign: Campaign, site: str = "north", *, at: datetime = START, benchmark: int | None = None, **fractions: float
) -> int:
    told: dict[str, Any] = {
        "benchmark_id": benchmark or campaign.benchmark_id,
        "name": "new-data",
        "fractions": {name.replace("minus_", "-").replace("status_", ""): value for name, value in fractions.items()},
        "measured_at": at,
    }
    return campaign.send(site, PayloadKind.PREPARATION, PreparationProgress.model_validate(told))


def _seen(campaign: Campaign, party: str) -> list[tuple[str, dict[str, float]]]:
    return [(each.site_name, each.fractions) for each in campaign.client(party).preparations.list().items]


@pytest.mark.stage("opened")
class TestTell:
    def test_the_newest_counts_in_whatever_order_it_comes(self, campaign: Campaign) -> None:
        first = _tell(campaign, at=START + timedelta(minutes=5), status_2=1.0)
        assert _tell(campaign, minus_1=0.5, status_2=0.5) == first
        assert _seen(campaign, "committee_member") == [("north", {"2": 1.0})]

    def test_each_site_has_its_own(self, campaign: Campaign) -> None:
        for site in ("north", "south"):
            _tell(campaign, site, minus_1=1.0)
        assert _seen(campaign, "committee_member") == [("north", {"-1": 1.0}), ("south", {"-1": 1.0})]

    def test_the_audit_log_tells_of_its_beginning_alone(self, campaign: Campaign) -> None:
        for minute in range(3):
            _tell(campaign, at=START + timedelta(minutes=minute), status_2=minute / 10)
        assert campaign.actions().count("preparation.begun") == 1

    def test_for_a_benchmark_that_is_not_there(self, campaign: Campaign) -> None:
        with refused(404, "benchmark"):
            _tell(campaign, benchmark=999, status_2=1.0)

    def test_of_times_to_come(self, campaign: Campaign) -> None:
        with refused(422, "which is to come"):
            _tell(campaign, at=now() + timedelta(days=3), status_2=1.0)

    @pytest.mark.stage("draft")
    def test_for_a_draft(self, campaign: Campaign) -> None:
        with refused(409, "draft"):
            _tell(campaign, status_2=1.0)


@pytest.mark.stage("opened")
class TestRead:
    def test_the_committee_and_the_site_s_own_people_and_nobody_else(self, campaign: Campaign) -> None:
        _tell(campaign, status_2=1.0)
        for party in ("benchmark_owner", "committee_member", "data_owner", "service"):
            assert len(_seen(campaign, party)) == 1, party
        for party in ("model_owner", "stranger"):
            assert _seen(campaign, party) == [], party

    def test_filtered(self, campaign: Campaign) -> None:
        for site in ("north", "south"):
            _tell(campaign, site, status_2=1.0)
        client = campaign.client("committee_member")
        south = campaign.registry.ids["site:south"]
        assert [each.site_name for each in client.preparations.all(site_id=south)] == ["south"]
