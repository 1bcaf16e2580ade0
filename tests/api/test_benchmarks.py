"""Benchmarks from draft to closed."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from api.schemas.benchmarks import (
    AssociationPolicy,
    AutoApproval,
    BenchmarkCreate,
    BenchmarkPolicyUpdate,
    BenchmarkState,
    GateKind,
    GateState,
    Verdict,
)
from api.schemas.cubes import CubeKind
from cubes.digests import digest_bytes
from tests.api.campaign import METRICS, Campaign, refused

pytestmark = pytest.mark.stage("draft")


class TestCreate:
    def test_whoever_makes_it_owns_it_and_is_its_committee(self, campaign: Campaign) -> None:
        made = campaign.client("stranger").benchmarks.create(
            campaign.specification(name="other", demo_dataset_digest=campaign.upload_demo("stranger", b"more"))
        )
        assert (made.state, made.owner_id) == (BenchmarkState.DRAFT, campaign.registry.ids["stranger"])
        assert [u.id for u in campaign.client("stranger").benchmarks.committee(made.id)] == [made.owner_id]

    def test_the_whole_specification_comes_back(self, campaign: Campaign) -> None:
        wanted = campaign.specification(name="other", title="T", clinical_setting="C", documentation="a\nb")
        made = campaign.client("benchmark_owner").benchmarks.create(wanted)
        kept = campaign.client("benchmark_owner").benchmarks.get(made.id)
        assert BenchmarkCreate.model_validate(kept.model_dump(include=set(BenchmarkCreate.model_fields))) == wanted

    def test_it_stands_in_the_audit_log(self, campaign: Campaign) -> None:
        assert "benchmark.created" in campaign.actions()

    def test_a_name_is_taken_once(self, campaign: Campaign) -> None:
        with refused(409, r"a benchmark 'fna' exists already"):
            campaign.create()

    @pytest.mark.parametrize(
        ("field", "cube", "message"),
        [
            ("preparator_cube_id", "metrics", "'metrics' is a metrics, not a data preparator"),
            ("metrics_cube_id", "preparator", "'preparator' is a data preparator, not a metrics"),
            ("metrics_cube_id", "alpha-cube", "'alpha-cube' is a model, not a metrics"),
        ],
    )
    def test_a_cube_of_another_kind_isrefused(self, campaign: Campaign, field: str, cube: str, message: str) -> None:
        with refused(422, message):
            campaign.create(name="other", **{field: campaign.registry.ids[f"cube:{cube}"]})

    @pytest.mark.parametrize("field", ["preparator_cube_id", "metrics_cube_id", "reference_model_id"])
    def test_what_is_not_there_isrefused(self, campaign: Campaign, field: str) -> None:
        with refused(422, r"there is no (cube|model) 999"):
            campaign.create(name="other", **{field: 999})

    def test_a_metric_that_the_cube_does_not_report_isrefused(self, campaign: Campaign) -> None:
        with refused(422, "does not report 'dice'. It reports accuracy, auroc, brier"):
            campaign.create(name="other", metrics=[{"name": "dice"}], primary_metric="dice")

    def test_a_metric_that_the_cube_means_otherwise_isrefused(self, campaign: Campaign) -> None:
        with refused(422, "'auroc' has another direction or decomposability"):
            campaign.create(name="other", metrics=[{**METRICS[0], "decomposable": True}])

    def test_fewer_metrics_than_the_cube_reports_are_fine(self, campaign: Campaign) -> None:
        assert [m.name for m in campaign.create(name="other", metrics=METRICS[:1]).metrics] == ["auroc"]

    def test_a_demo_dataset_of_somebody_else_isrefused(self, campaign: Campaign) -> None:
        theirs = campaign.upload_demo("stranger", b"secret")
        with refused(422, "was not uploaded by"):
            campaign.create(name="other", demo_dataset_digest=theirs)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"primary_metric": "dice"}, "the primary metric 'dice' is none of auroc, accuracy, brier"),
            ({"metrics": (METRICS[0], METRICS[0])}, "'auroc' is listed twice"),
            ({"metrics": ({"name": "auroc", "minimum": 1, "maximum": 0},)}, "bounds that no number lies between"),
            ({"metrics": ({"name": "auroc", "minimum": float("nan")},)}, "bounds that no number lies between"),
            ({"metrics": ()}, "at least 1 item"),
            ({"minimum_cases": 0}, "greater than or equal to 1"),
            ({"documentation": "a\x00b"}, "match pattern"),
            ({"preparator_cube_id": 2**31}, "less than or equal to"),
        ],
    )
    def test_a_specification_that_contradicts_itself_is_no_shape(
        self, campaign: Campaign, changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValidationError, match=message):
            campaign.specification(**changes)

    def test_the_registry_holds_it_against_the_same_shape(self, campaign: Campaign) -> None:
        body = {**campaign.specification().model_dump(mode="json"), "primary_metric": "dice"}
        answer = campaign.registry.call("benchmark_owner", "POST", "/v1/benchmarks", json=body)
        assert answer.status_code == 422
        assert "'dice' is none of" in answer.json()["detail"]


class TestUpdate:
    def test_a_draft_can_be_written_anew(self, campaign: Campaign) -> None:
        new = campaign.specification(title="Better", minimum_cases=20)
        assert campaign.client("committee_member").benchmarks.update(campaign.benchmark_id, new).title == "Better"
        assert campaign.benchmark().minimum_cases == 20

    def test_the_name_of_another_isrefused(self, campaign: Campaign) -> None:
        campaign.client("benchmark_owner").benchmarks.create(campaign.specification(name="other"))
        with refused(409, "a benchmark 'other' exists already"):
            campaign.client("benchmark_owner").benchmarks.update(
                campaign.benchmark_id, campaign.specification(name="other")
            )

    @pytest.mark.stage("opened")
    def test_an_approved_one_stays_what_was_approved(self, campaign: Campaign) -> None:
        with refused(409, "benchmark 'fna' is approved: 'edit' is not possible now"):
            campaign.client("benchmark_owner").benchmarks.update(campaign.benchmark_id, campaign.specification())


class TestSee:
    @pytest.mark.parametrize("party", ["benchmark_owner", "committee_member", "administrator", "service"])
    def test_a_draft_is_for_its_committee_and_administrators(self, campaign: Campaign, party: str) -> None:
        assert campaign.client(party).benchmarks.get(campaign.benchmark_id).name == "fna"
        assert campaign.client(party).benchmarks.list(name="fna").total == 1

    @pytest.mark.parametrize("party", ["stranger", "model_owner", "data_owner"])
    def test_for_others_it_is_not_there(self, campaign: Campaign, party: str) -> None:
        assert campaign.client(party).benchmarks.list().total == 0
        with refused(404, "there is no benchmark"):
            campaign.client(party).benchmarks.get(campaign.benchmark_id)

    @pytest.mark.stage("opened")
    def test_an_approved_one_is_for_everybody(self, campaign: Campaign) -> None:
        assert campaign.client("stranger").benchmarks.list(state="approved").items == [campaign.benchmark()]

    @pytest.mark.parametrize("filters", [{"state": "approved"}, {"name": "zz"}, {"owner_id": 99}])
    def test_filters_are_the_servers(self, campaign: Campaign, filters: dict[str, Any]) -> None:
        assert campaign.client("benchmark_owner").benchmarks.list(**filters).items == []


class TestSubmit:
    def test_it_opens_a_gate_that_shows_everything(self, campaign: Campaign) -> None:
        gate = campaign.client("benchmark_owner").benchmarks.submit(campaign.benchmark_id)
        assert (gate.kind, gate.subject_id, gate.state) == (GateKind.BENCHMARK, campaign.benchmark_id, GateState.OPEN)
        assert gate.shown["metrics_cube"]["contract"]["tasks"]["evaluate"]["resources"]["memory_bytes"] == 1 << 30
        assert [p.split()[0] for p in gate.shown["committee"]] == ["Benchmark", "Committee"]
        assert gate.shown["benchmark"]["demo_dataset_digest"] == digest_bytes(b"demo")
        assert campaign.benchmark().state == BenchmarkState.SUBMITTED

    def test_twice_is_once_too_often(self, campaign: Campaign) -> None:
        campaign.client("benchmark_owner").benchmarks.submit(campaign.benchmark_id)
        with refused(409, "is submitted: 'submit' is not possible now"):
            campaign.client("benchmark_owner").benchmarks.submit(campaign.benchmark_id)

    def test_a_quorum_that_the_committee_cannot_reach_isrefused(self, campaign: Campaign) -> None:
        other = campaign.client("benchmark_owner").benchmarks.create(
            campaign.specification(name="other", model_policy={"quorum": 2})
        )
        with refused(409, "a quorum of 2 cannot be reached by a committee of 1"):
            campaign.client("benchmark_owner").benchmarks.submit(other.id)

    def test_an_administrator_approves(self, campaign: Campaign) -> None:
        campaign.approve_benchmark()
        assert campaign.benchmark().state == BenchmarkState.APPROVED
        assert campaign.actions()[-2:] == ["gate.concluded", "benchmark.approved"]

    def test_a_rejected_one_can_be_corrected_and_submitted_again(self, campaign: Campaign) -> None:
        client = campaign.client("benchmark_owner").benchmarks
        campaign.pass_gate(client.submit(campaign.benchmark_id), "administrator", verdict=Verdict.REJECT)
        assert campaign.benchmark().state == BenchmarkState.REJECTED
        client.update(campaign.benchmark_id, campaign.specification(title="Corrected"))
        campaign.approve_benchmark()
        assert campaign.benchmark().state == BenchmarkState.APPROVED

    def test_an_administrator_does_not_approve_their_own(self, campaign: Campaign) -> None:
        campaign.join_committee("administrator")
        gate = campaign.client("administrator").benchmarks.submit(campaign.benchmark_id)
        with refused(403, "nobody decides about their own"):
            campaign.decide(gate, "administrator")

    @pytest.mark.parametrize("party", ["benchmark_owner", "committee_member"])
    def test_the_committee_does_not_approve_itself(self, campaign: Campaign, party: str) -> None:
        gate = campaign.client("benchmark_owner").benchmarks.submit(campaign.benchmark_id)
        with refused(403, "It takes approver"):
            campaign.decide(gate, party)


Write = Callable[[Campaign, str], object]


def _submit(campaign: Campaign, party: str) -> object:
    return campaign.client(party).benchmarks.submit(campaign.benchmark_id)


def _close(campaign: Campaign, party: str) -> object:
    return campaign.client(party).benchmarks.close(campaign.benchmark_id)


def _release(campaign: Campaign, party: str) -> object:
    return campaign.client(party).benchmarks.release(campaign.benchmark_id)


def _policy(campaign: Campaign, party: str) -> object:
    return campaign.client(party).benchmarks.update_policy(campaign.benchmark_id, BenchmarkPolicyUpdate())


def _replace(campaign: Campaign, party: str) -> object:
    return campaign.client(party).benchmarks.replace_metrics_cube(campaign.benchmark_id, 1)


@pytest.mark.stage("opened")
@pytest.mark.parametrize("write", [_submit, _close, _release, _policy, _replace])
class TestWrite:
    def test_only_the_committee_may(self, campaign: Campaign, write: Write) -> None:
        for party in ("administrator", "stranger", "model_owner", "service", "site:north"):
            with refused(403, "(It takes committee|this token is not good for)"):
                write(campaign, party)


class TestUpdatePolicy:
    @pytest.mark.stage("opened")
    def test_it_is_for_what_is_asked_from_now_on(self, campaign: Campaign) -> None:
        before = campaign.gate_of(campaign.ask_for_model("alpha"))
        policy = BenchmarkPolicyUpdate(model_policy=AssociationPolicy(auto_approval=AutoApproval.ALWAYS))
        updated = campaign.client("committee_member").benchmarks.update_policy(campaign.benchmark_id, policy)
        assert updated.model_policy.auto_approval == AutoApproval.ALWAYS
        assert campaign.gate(before.id).state == GateState.OPEN
        assert campaign.ask_for_model("beta").state == "approved"

    @pytest.mark.stage("opened")
    def test_an_open_gate_keeps_its_quorum(self, campaign: Campaign) -> None:
        gate = campaign.gate_of(campaign.ask_for_model("alpha"))
        policy = BenchmarkPolicyUpdate(model_policy=AssociationPolicy(quorum=2))
        campaign.client("committee_member").benchmarks.update_policy(campaign.benchmark_id, policy)
        assert campaign.pass_gate(gate, "benchmark_owner").state == GateState.CONCLUDED
        assert campaign.gate_of(campaign.ask_for_model("beta")).quorum == 2

    def test_what_is_left_out_stays(self, campaign: Campaign) -> None:
        new = BenchmarkPolicyUpdate(dataset_policy=AssociationPolicy(quorum=2))
        updated = campaign.client("benchmark_owner").benchmarks.update_policy(campaign.benchmark_id, new)
        assert (updated.model_policy.quorum, updated.dataset_policy.quorum) == (1, 2)

    def test_a_quorum_out_of_reach_isrefused(self, campaign: Campaign) -> None:
        with refused(409, "a quorum of 3 cannot be reached by a committee of 2"):
            campaign.client("benchmark_owner").benchmarks.update_policy(
                campaign.benchmark_id, BenchmarkPolicyUpdate(model_policy=AssociationPolicy(quorum=3))
            )


class TestReplaceMetricsCube:
    @pytest.mark.stage("running")
    def test_sites_are_asked_to_score_with_it(self, campaign: Campaign) -> None:
        other = campaign.add_cube("metrics-2", CubeKind.METRICS)
        campaign.client("committee_member").benchmarks.replace_metrics_cube(campaign.benchmark_id, other.id)
        assert campaign.work().metrics_cube.pack_digest == other.pack_digest
        last = campaign.client("administrator").audit.entries(action="benchmark.metrics_cube_replaced").items[-1]
        assert last.detail["after"] == other.pack_digest

    @pytest.mark.stage("opened")
    def test_requests_that_tell_of_the_old_one_end(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_model("alpha")
        dataset = campaign.ask_for_dataset("north")
        other = campaign.add_cube("metrics-2", CubeKind.METRICS)
        campaign.client("benchmark_owner").benchmarks.replace_metrics_cube(campaign.benchmark_id, other.id)
        assert campaign.gate_of(asked).state == GateState.CANCELLED
        last = campaign.client("model_owner").associations.history(asked.id)[-1]
        assert (last.state, "ask again" in last.reason) == ("withdrawn", True)
        assert campaign.gate_of(dataset).state == GateState.OPEN

    @pytest.mark.stage("running")
    @pytest.mark.parametrize(
        ("cube", "status", "message"),
        [("metrics", 409, "is the metrics cube of 'fna' already"), ("alpha-cube", 422, "is a model, not a metrics")],
    )
    def test_another_metrics_cube_is_wanted(self, campaign: Campaign, cube: str, status: int, message: str) -> None:
        with refused(status, message):
            campaign.client("benchmark_owner").benchmarks.replace_metrics_cube(
                campaign.benchmark_id, campaign.registry.ids[f"cube:{cube}"]
            )

    def test_a_draft_is_edited_instead(self, campaign: Campaign) -> None:
        with refused(409, "is draft: 'replace metrics cube' is not possible now"):
            campaign.client("benchmark_owner").benchmarks.replace_metrics_cube(campaign.benchmark_id, 1)


@pytest.mark.stage("opened")
class TestClose:
    def test_nobody_joins_any_more(self, campaign: Campaign) -> None:
        asked = campaign.ask_for_dataset("north")
        assert campaign.client("benchmark_owner").benchmarks.close(campaign.benchmark_id).state == "closed"
        assert campaign.client("data_owner").associations.get(asked.id).state == "withdrawn"
        assert campaign.gate_of(asked).state == GateState.CANCELLED
        with refused(409, "is closed: 'associate' is not possible now"):
            campaign.ask_for_dataset("south")
