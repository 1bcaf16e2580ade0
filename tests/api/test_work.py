"""What a site is asked to do, and its signs of life."""

from datetime import timedelta
from typing import Any

import pytest

from api.client import Refused
from api.schemas.benchmarks import PriorityUpdate
from api.schemas.border import MAX_PAYLOAD_BYTES, Heartbeat, PayloadKind
from api.storage.columns import now
from tests.api.campaign import PROBE, Campaign


def _heartbeat(**changes: Any) -> Heartbeat:
    values = {"sent_at": now(), "agent_version": "1.0", "running": 0, "waiting_gates": 2, "probe": PROBE}
    return Heartbeat.model_validate({**values, **changes})


class TestReadWork:
    @pytest.mark.stage("draft")
    def test_a_draft_is_nobodys_work(self, campaign: Campaign) -> None:
        assert campaign.client("site:north").site_work().benchmarks == []

    @pytest.mark.stage("opened")
    def test_an_approved_benchmark_comes_with_its_cubes_before_anything_joined(self, campaign: Campaign) -> None:
        work = campaign.work()
        assert (work.preparator.name, work.metrics_cube.name) == ("preparator", "metrics")
        assert work.preparator.pack_digest == campaign.cube("preparator").pack_digest
        assert (work.models, work.datasets) == ([], [])

    def test_a_site_gets_its_own_datasets_alone(self, campaign: Campaign) -> None:
        for site in ("north", "south"):
            assert [d.dataset_id for d in campaign.work(site).datasets] == [campaign.registry.ids[f"dataset:{site}"]]

    def test_models_run_in_the_order_of_priority_then_number(self, campaign: Campaign) -> None:
        assert [m.name for m in campaign.work().models] == ["alpha", "beta"]
        campaign.client("committee_member").associations.set_priority(
            campaign.work().models[1].association_id, PriorityUpdate(priority=5)
        )
        assert [(m.name, m.priority) for m in campaign.work().models] == [("beta", 5), ("alpha", 0)]

    def test_a_withdrawn_model_is_no_longer_asked_for(self, campaign: Campaign) -> None:
        campaign.client("model_owner").associations.withdraw(campaign.work().models[0].association_id, "a mistake")
        assert [m.name for m in campaign.work().models] == ["beta"]

    def test_a_closed_benchmark_is_no_longer_asked_for(self, campaign: Campaign) -> None:
        campaign.client("benchmark_owner").benchmarks.close(campaign.benchmark_id)
        assert campaign.client("site:north").site_work().benchmarks == []

    def test_the_head_of_the_audit_log_comes_along(self, campaign: Campaign) -> None:
        assert campaign.client("site:north").site_work().audit_head == campaign.client("administrator").audit.head()

    def test_people_have_no_site_work(self, campaign: Campaign) -> None:
        with pytest.raises(Refused, match="this token is not good for 'site'"):
            campaign.client("data_owner").site_work()


@pytest.mark.stage("draft")
class TestSendHeartbeat:
    def test_the_newest_is_kept(self, campaign: Campaign) -> None:
        old = _heartbeat(sent_at=now() - timedelta(hours=1), agent_version="0.9")
        for heartbeat in (_heartbeat(), old):
            campaign.send("north", PayloadKind.HEARTBEAT, heartbeat)
        site = campaign.client("stranger").sites.list(name="north").items[0]
        assert (site.agent_version, site.isolation) == ("1.0", "isolated")

    def test_the_audit_log_tells_only_of_what_is_new(self, campaign: Campaign) -> None:
        for number in range(3):
            campaign.send("north", PayloadKind.HEARTBEAT, _heartbeat(running=number))
        campaign.send("north", PayloadKind.HEARTBEAT, _heartbeat(agent_version="1.1"))
        assert campaign.actions().count("site.heartbeat_changed") == 2

    def test_one_from_times_to_come_is_refused(self, campaign: Campaign) -> None:
        with pytest.raises(Refused, match=r"which is to come\. Set the site's clock") as refused:
            campaign.send("north", PayloadKind.HEARTBEAT, _heartbeat(sent_at=now() + timedelta(days=3)))
        assert refused.value.status == 422

    def test_a_key_is_needed(self, campaign: Campaign) -> None:
        body = _heartbeat().model_dump(mode="json")
        answer = campaign.registry.call("site:north", "POST", "/v1/site/heartbeats", json=body)
        assert answer.status_code == 422
        assert "Idempotency-Key" in answer.json()["detail"]

    def test_what_is_not_on_the_list_is_refused(self, campaign: Campaign) -> None:
        body = {**_heartbeat().model_dump(mode="json"), "log": "patient 7"}
        answer = campaign.registry.call(
            "site:north", "POST", "/v1/site/heartbeats", json=body, headers={"Idempotency-Key": "heartbeat-1"}
        )
        assert answer.status_code == 422
        assert "patient 7" not in answer.text

    def test_what_is_too_large_is_refused(self, campaign: Campaign) -> None:
        body = _heartbeat().model_dump_json().encode() + b" " * MAX_PAYLOAD_BYTES
        with pytest.raises(Refused, match=f"more than {MAX_PAYLOAD_BYTES}") as refused:
            campaign.client("site:north").send(PayloadKind.HEARTBEAT, body, idempotency_key="heartbeat-1")
        assert refused.value.status == 413
