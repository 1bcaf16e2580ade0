"""Associations: asked for by one side, decided by the other."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import text

from api.client import Refused
from api.core.database import transaction
from api.schemas.benchmarks import (
    AssociationKind,
    AssociationPolicy,
    AssociationPublic,
    AssociationState,
    AutoApproval,
    BenchmarkPolicyUpdate,
    GateState,
    PriorityUpdate,
    Verdict,
)
from api.storage.columns import now
from cubes.digests import digest_bytes
from tests.api.campaign import GOOD, Campaign, refused

pytestmark = pytest.mark.stage("opened")


def _invite(campaign: Campaign, model: str = "alpha", **changes: Any) -> AssociationPublic:
    subject = campaign.registry.ids[f"model:{model}"]
    return campaign.ask("committee_member", AssociationKind.MODEL, subject, **changes)


def _set_policy(campaign: Campaign, **policy: Any) -> None:
    new = AssociationPolicy.model_validate(policy)
    campaign.client("benchmark_owner").benchmarks.update_policy(
        campaign.benchmark_id, BenchmarkPolicyUpdate(model_policy=new, dataset_policy=new)
    )


class TestAskAsOwner:
    def test_the_committee_decides(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_model("alpha", note="please")
        assert (asked.state, asked.invited, asked.subject_name) == (AssociationState.REQUESTED, False, "alpha")
        assert campaign.admit(asked).state == AssociationState.APPROVED

    def test_anybody_of_the_hospital_asks_for_its_dataset(self, campaign: Campaign) -> None:
        assert campaign.admit(campaign.ask_for_dataset("north")).state == AssociationState.APPROVED

    def test_twice_is_once_too_often(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_model("alpha")
        with refused(409, "model 'alpha' is requested: 'request' is not possible now"):
            campaign.ask_for_model("alpha")
        campaign.admit(asked)
        with refused(409, "model 'alpha' is approved: 'request' is not possible now"):
            campaign.ask_for_model("alpha")

    def test_at_the_same_moment_is_once(self, campaign: Campaign) -> None:
        barrier = Barrier(3)

        def ask(_: int) -> str:
            barrier.wait(60)
            try:
                return campaign.ask_for_model("alpha").state.value
            except Refused as error:
                return str(error.status)

        with ThreadPoolExecutor(3) as pool:
            assert sorted(pool.map(ask, range(3))) == ["409", "409", "requested"]
        gates = campaign.client("service").gates.list(kind="association", live=True)
        assert gates.total == 1

    def test_after_a_no_it_may_be_asked_again(self, campaign: Campaign) -> None:
        first = campaign.ask_for_model("alpha")
        campaign.pass_gate(campaign.gate_of(first), "benchmark_owner", verdict=Verdict.REJECT)
        again = campaign.ask_for_model("alpha")
        assert (again.id, again.state) == (first.id, AssociationState.REQUESTED)
        assert campaign.admit(again).state == AssociationState.APPROVED

    def test_others_do_not_ask(self, campaign: Campaign) -> None:
        for party in ("stranger", "data_owner", "administrator"):
            with refused(403, "The owner of the model asks, or the benchmark's committee invites"):
                campaign.ask_for_model("alpha", party)
        with refused(403, "The owner of the dataset asks"):
            campaign.ask_for_dataset("north", "other_data_owner")

    @pytest.mark.parametrize("kind", list(AssociationKind))
    def test_what_is_not_there_is_refused(self, campaign: Campaign, kind: AssociationKind) -> None:
        with refused(422, f"there is no {kind.value} 999"):
            campaign.ask("model_owner", kind, 999)

    def test_a_benchmark_that_is_not_there_is_refused(self, campaign: Campaign) -> None:
        with refused(404, "there is no benchmark 999"):
            campaign.ask_for_model("alpha", benchmark_id=999)

    @pytest.mark.stage("draft")
    def test_a_draft_takes_nobody(self, campaign: Campaign) -> None:
        campaign.join_committee("model_owner")
        with refused(409, "is draft: 'associate' is not possible now"):
            campaign.ask_for_model("alpha")

    def test_every_change_is_a_row_and_an_entry(self, campaign: Campaign) -> None:
        asked = campaign.admit(campaign.ask_for_model("alpha"))
        campaign.client("model_owner").associations.withdraw(asked.id, "not ready")
        ids = campaign.registry.ids
        assert [
            (c.state, c.by, c.reason) for c in campaign.client("benchmark_owner").associations.history(asked.id)
        ] == [
            ("requested", ids["model_owner"], "asked"),
            ("approved", ids["benchmark_owner"], "looked at it"),
            ("withdrawn", ids["model_owner"], "not ready"),
        ]
        assert [a for a in campaign.actions() if a.startswith("association.")] == [
            "association.requested",
            "association.approved",
            "association.withdrawn",
        ]


class TestInvite:
    def test_the_owner_decides(self, campaign: Campaign) -> None:
        asked = campaign.ask("committee_member", AssociationKind.DATASET, campaign.registry.ids["dataset:north"])
        assert asked.invited
        assert campaign.admit(asked, "data_owner").state == AssociationState.APPROVED

    def test_the_committee_does_not_accept_its_own_invitation(self, campaign: Campaign) -> None:
        gate = campaign.gate_of(_invite(campaign))
        for party in ("committee_member", "benchmark_owner"):
            with refused(403, "It takes approver"):
                campaign.decide(gate, party)

    def test_who_is_on_both_sides_asks_as_the_owner(self, campaign: Campaign) -> None:
        campaign.join_committee("model_owner")
        asked = campaign.ask_for_model("alpha")
        assert not asked.invited
        assert campaign.admit(asked, "committee_member").state == AssociationState.APPROVED

    def test_a_policy_does_not_accept_for_the_owner(self, campaign: Campaign) -> None:
        _set_policy(campaign, auto_approval="always")
        assert _invite(campaign).state == AssociationState.REQUESTED

    def test_a_model_needs_its_report_before_it_is_accepted(self, campaign: Campaign) -> None:
        asked = _invite(campaign)
        with refused(409, "comes without a compatibility report"):
            campaign.decide(campaign.gate_of(asked), "model_owner")
        campaign.client("model_owner").associations.attach_compatibility(asked.id, campaign.report("alpha"))
        assert campaign.admit(asked, "model_owner").state == AssociationState.APPROVED

    def test_a_report_about_another_model_is_refused(self, campaign: Campaign) -> None:
        asked = _invite(campaign)
        with refused(409, "the compatibility report is about the model"):
            campaign.client("model_owner").associations.attach_compatibility(asked.id, campaign.report("beta"))

    def test_a_model_that_asked_brings_no_second_report(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_model("alpha")
        with refused(409, "model 'alpha' was not invited"):
            campaign.client("model_owner").associations.attach_compatibility(asked.id, campaign.report("alpha"))

    def test_it_does_not_open_the_models_files(self, campaign: Campaign) -> None:
        digest = campaign.cube("alpha-cube").pack_digest
        _invite(campaign)
        assert campaign.registry.call("committee_member", "GET", f"/v1/blobs/{digest}").status_code == 404

    def test_it_does_not_open_a_datasets_statistics(self, campaign: Campaign) -> None:
        dataset = campaign.registry.ids["dataset:north"]
        asked = campaign.ask("committee_member", AssociationKind.DATASET, dataset)
        assert "statistics" not in campaign.gate_of(asked).shown["dataset"]
        assert campaign.client("committee_member").datasets.get(dataset).statistics is None
        campaign.admit(asked, "data_owner")
        assert campaign.client("committee_member").datasets.get(dataset).statistics == {"cases": 100, "malignant": 37}


class TestAdmission:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"demo_dataset_digest": digest_bytes(b"x")}, "is about the demo dataset"),
            ({"model_digest": digest_bytes(b"x")}, "is about the model"),
            ({"metrics_digest": digest_bytes(b"x")}, "is about the metrics cube"),
            ({"metrics": {"auroc": 0.9}}, "'accuracy' is missing"),
            ({"metrics": {**GOOD, "dice": 1}}, "'dice' is none of the benchmark's metrics"),
            ({"metrics": {**GOOD, "auroc": 1.5}}, "'auroc' is 1.5, outside 0"),
            ({"finished_at": now() + timedelta(days=2)}, "which is to come"),
        ],
    )
    def test_a_report_about_something_else_is_refused(
        self, campaign: Campaign, changes: dict[str, Any], message: str
    ) -> None:
        with refused(409, message):
            campaign.ask_for_model("alpha", compatibility=campaign.report("alpha", **changes))

    def test_an_undefined_metric_on_the_demo_dataset_is_fine(self, campaign: Campaign) -> None:
        report = campaign.report("alpha", metrics={**GOOD, "auroc": float("nan")})
        asked = campaign.ask_for_model("alpha", compatibility=report)
        assert campaign.gate_of(asked).shown["compatibility"]["metrics"]["auroc"] == "float:nan"

    def test_a_model_without_a_report_is_refused(self, campaign: Campaign) -> None:
        with refused(409, "comes without a compatibility report. Run the compatibility flow"):
            campaign.ask("model_owner", AssociationKind.MODEL, campaign.registry.ids["model:alpha"])

    def test_a_dataset_has_no_report(self, campaign: Campaign) -> None:
        with refused(422, "a dataset has no compatibility report"):
            campaign.ask_for_dataset("north", compatibility=campaign.report("alpha"))

    def test_too_few_cases_are_refused(self, campaign: Campaign) -> None:
        campaign.register("north", "few", cases=9)
        with refused(409, "dataset 'few' has 9 cases, 'fna' asks for 10"):
            campaign.ask_for_dataset("north")

    def test_data_that_something_else_prepared_are_refused(self, campaign: Campaign) -> None:
        with transaction(campaign.registry.app.state.engine, write=True) as session:
            session.connection().execute(text("UPDATE dataset SET preparator_digest = 'sha256:other'"))
        with refused(409, "Prepare the data with 'preparator'"):
            campaign.ask_for_dataset("north")

    def test_the_same_data_do_not_count_twice(self, campaign: Campaign) -> None:
        campaign.admit(campaign.ask_for_dataset("north"))
        campaign.register("north", "again", root=digest_bytes(b"north cases"))
        with refused(409, "with the same contents is in 'fna' already"):
            campaign.ask_for_dataset("north")

    def test_the_same_patients_do_not_count_twice_under_other_metadata(self, campaign: Campaign) -> None:
        campaign.admit(campaign.ask_for_dataset("north"))
        data = campaign.registration("cases", "north").data_root
        campaign.register("north", "again", data_root=data, metadata_root=digest_bytes(b"made on Tuesday"))
        with refused(409, r"\('cases'\) with the same data is in 'fna' already. Withdraw it first"):
            campaign.ask_for_dataset("north")

    def test_nor_at_another_site_when_it_is_concluded(self, campaign: Campaign) -> None:
        data = campaign.registration("cases", "north").data_root
        campaign.register("south", "copied", data_root=data)
        first, second = campaign.ask_for_dataset("north"), campaign.ask_for_dataset("south")
        campaign.decide(campaign.gate_of(second), "benchmark_owner")
        campaign.admit(first)
        with refused(409, "with the same data is in 'fna' already"):
            campaign.conclude(campaign.gate_of(second))

    def test_a_new_version_takes_the_place_of_the_old_one(self, campaign: Campaign) -> None:
        old = campaign.admit(campaign.ask_for_dataset("north"))
        campaign.register("north", "cases", root=digest_bytes(b"corrected"))
        with refused(409, "with the same name is in 'fna' already. Withdraw it first"):
            campaign.ask_for_dataset("north")
        campaign.client("data_owner").associations.withdraw(old.id, "corrected")
        assert campaign.admit(campaign.ask_for_dataset("north")).state == AssociationState.APPROVED

    def test_it_is_checked_again_when_it_is_concluded(self, campaign: Campaign) -> None:
        first = campaign.ask_for_dataset("north")
        campaign.register("north", "again", root=digest_bytes(b"north cases"))
        second = campaign.ask_for_dataset("north")
        campaign.decide(campaign.gate_of(first), "benchmark_owner")
        campaign.decide(campaign.gate_of(second), "benchmark_owner")
        campaign.conclude(campaign.gate_of(first))
        with refused(409, "with the same contents is in 'fna' already"):
            campaign.conclude(campaign.gate_of(second))
        assert campaign.client("data_owner").associations.get(second.id).state == AssociationState.REQUESTED


class TestAutoApprove:
    def test_always_lets_everybody_in_at_once(self, campaign: Campaign) -> None:
        _set_policy(campaign, auto_approval=AutoApproval.ALWAYS)
        asked = campaign.ask_for_dataset("north")
        assert asked.state == AssociationState.APPROVED
        assert [d.dataset_id for d in campaign.work().datasets] == [asked.subject_id]

    def test_it_is_written_as_a_decision_of_the_policy(self, campaign: Campaign) -> None:
        _set_policy(campaign, auto_approval=AutoApproval.ALWAYS)
        asked = campaign.ask_for_model("alpha")
        gate = campaign.gate_of(asked)
        assert (gate.state, gate.verdict) == (GateState.CONCLUDED, Verdict.APPROVE)
        (decision,) = campaign.client("benchmark_owner").gates.decisions(gate.id)
        assert (decision.user_id, decision.user_name) == (None, "policy of fna: always")
        assert campaign.client("model_owner").associations.history(asked.id)[-1].by is None

    def test_the_allow_list_lets_in_who_is_on_it(self, campaign: Campaign) -> None:
        _set_policy(campaign, auto_approval="allow_list", allow_list=["Data_Owner@North.example"])
        assert campaign.ask_for_dataset("north").state == AssociationState.APPROVED
        assert campaign.ask_for_dataset("south").state == AssociationState.REQUESTED

    def test_never_lets_nobody_in(self, campaign: Campaign) -> None:
        _set_policy(campaign, auto_approval="never", allow_list=["data_owner@north.example"])
        assert campaign.ask_for_dataset("north").state == AssociationState.REQUESTED

    def test_what_does_not_fit_is_not_let_in(self, campaign: Campaign) -> None:
        _set_policy(campaign, auto_approval="always")
        with refused(409, "comes without a compatibility report"):
            campaign.ask("model_owner", AssociationKind.MODEL, campaign.registry.ids["model:alpha"])


class TestWithdraw:
    @pytest.mark.parametrize("party", ["model_owner", "benchmark_owner", "committee_member"])
    def test_either_side_may(self, campaign: Campaign, party: str) -> None:
        asked = campaign.ask_for_model("alpha")
        assert campaign.client(party).associations.withdraw(asked.id, "no").state == AssociationState.WITHDRAWN
        assert campaign.gate_of(asked).state == GateState.CANCELLED

    def test_nobody_else_may(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_model("alpha")
        for party in ("stranger", "data_owner", "administrator"):
            with refused(403, "It takes committee or owner"):
                campaign.client(party).associations.withdraw(asked.id, "no")

    def test_twice_is_once_too_often(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_model("alpha")
        campaign.client("model_owner").associations.withdraw(asked.id, "no")
        with refused(409, "is withdrawn: 'withdraw' is not possible now"):
            campaign.client("model_owner").associations.withdraw(asked.id, "no")

    def test_a_decided_gate_concludes_nothing_any_more(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_model("alpha")
        gate = campaign.gate_of(asked)
        campaign.decide(gate, "benchmark_owner")
        campaign.client("model_owner").associations.withdraw(asked.id, "no")
        with refused(409, "is cancelled: 'conclude' is not possible now"):
            campaign.conclude(gate)

    def test_after_it_one_may_ask_again(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_model("alpha")
        campaign.client("model_owner").associations.withdraw(asked.id, "no")
        assert campaign.admit(campaign.ask_for_model("alpha")).state == AssociationState.APPROVED


class TestSetPriority:
    @pytest.mark.stage("running")
    def test_it_is_the_order_of_the_work_that_sites_get(self, campaign: Campaign) -> None:
        """Highest first, negative ones last, equal ones in the order in which they came."""
        campaign.add_model("gamma")
        campaign.admit(campaign.ask_for_model("gamma"))
        numbers = {model.name: model.association_id for model in campaign.work().models}
        for name, priority in (("alpha", -1), ("gamma", 9)):
            update = PriorityUpdate(priority=priority)
            campaign.client("committee_member").associations.set_priority(numbers[name], update)
        for site in ("north", "south"):
            assert [model.name for model in campaign.work(site).models] == ["gamma", "beta", "alpha"]

    def test_it_stands_in_the_audit_log(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_model("alpha")
        campaign.client("benchmark_owner").associations.set_priority(asked.id, PriorityUpdate(priority=2))
        entry = campaign.client("administrator").audit.entries(action="association.priority_set").items[-1]
        assert (entry.subject, entry.detail) == (f"association:{asked.id}", {"before": 0, "after": 2})

    def test_the_committee_does(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_model("alpha")
        update = PriorityUpdate(priority=7)
        assert campaign.client("committee_member").associations.set_priority(asked.id, update).priority == 7

    def test_the_owner_does_not(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_model("alpha")
        with refused(403, "It takes committee"):
            campaign.client("model_owner").associations.set_priority(asked.id, PriorityUpdate(priority=7))


class TestConsent:
    def test_the_models_owner_gives_and_revokes_it(self, campaign: Campaign) -> None:
        client, asked = campaign.client("model_owner").associations, campaign.ask_for_model("alpha")
        assert client.consent(asked.id).consented_at is not None
        assert client.revoke_consent(asked.id).consented_at is None

    def test_the_committee_does_not_give_it(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_model("alpha")
        with refused(403, "It takes owner"):
            campaign.client("benchmark_owner").associations.consent(asked.id)

    def test_a_dataset_needs_none(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_dataset("north")
        with refused(409, "dataset 'cases' needs no consent"):
            campaign.client("data_owner").associations.consent(asked.id)


class TestSee:
    def test_both_sides_do_and_nobody_else(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_model("alpha")
        for party in ("model_owner", "benchmark_owner", "service"):
            assert campaign.client(party).associations.list(kind="model").items == [asked]
            assert campaign.client(party).associations.get(asked.id) == asked
        for party in ("stranger", "data_owner", "administrator"):
            assert campaign.client(party).associations.list().total == 0
            with refused(403, "It takes committee or owner or service"):
                campaign.client(party).associations.get(asked.id)
            with refused(403, "It takes committee or owner or service"):
                campaign.client(party).associations.history(asked.id)

    @pytest.mark.parametrize(
        ("filters", "found"),
        [
            ({"kind": "dataset"}, 2),
            ({"state": "approved"}, 0),
            ({"benchmark_id": 99}, 0),
            ({"model_id": 1}, 1),
            ({"dataset_id": 2}, 1),
        ],
    )
    def test_filters_are_the_servers(self, campaign: Campaign, filters: dict[str, Any], found: int) -> None:
        campaign.ask_for_model("alpha")
        for site in ("north", "south"):
            campaign.ask_for_dataset(site)
        page = campaign.client("benchmark_owner").associations.list(limit=1, **filters)
        assert (page.total, len(page.items)) == (found, min(found, 1))
