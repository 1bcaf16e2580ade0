"""Gates: who decides, about what, and when it counts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from api.client import Refused, RegistryError
from api.core.database import transaction
from api.nouns.gates.tables import Gate
from api.schemas.benchmarks import (
    AssociationPolicy,
    BenchmarkPolicyUpdate,
    FlowRunUpdate,
    GatePublic,
    GateState,
    Verdict,
)
from cubes.digests import digest_bytes, digest_of
from tests.api.campaign import Campaign, refused

pytestmark = pytest.mark.stage("opened")


def _quorum_of_two(campaign: Campaign) -> GatePublic:
    """The gate of a model for a committee of three, two of whom must agree."""
    campaign.join_committee("stranger")
    policy = BenchmarkPolicyUpdate(model_policy=AssociationPolicy(quorum=2))
    campaign.client("benchmark_owner").benchmarks.update_policy(campaign.benchmark_id, policy)
    return campaign.gate_of(campaign.ask_for_model("alpha"))


def _model_gate(campaign: Campaign) -> GatePublic:
    return campaign.gate_of(campaign.ask_for_model("alpha"))


def _state(campaign: Campaign, gate: GatePublic) -> tuple[GateState, Verdict | None, int]:
    found = campaign.gate(gate.id)
    return found.state, found.verdict, found.approvals


def _raise_minimum(campaign: Campaign) -> None:
    """Change what every gate of the benchmark shows, past all rules."""
    with transaction(campaign.registry.app.state.engine, write=True) as session:
        session.connection().execute(text("UPDATE benchmark SET minimum_cases = minimum_cases + 1"))


class TestShow:
    def test_the_digest_is_of_what_is_shown(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        assert gate.digest == digest_of(gate.shown)

    def test_a_models_gate_shows_card_contract_and_report(self, campaign: Campaign) -> None:
        shown = _model_gate(campaign).shown
        assert shown["model"]["owner"] == "Model Owner <model_owner@company.example>"
        assert shown["model"]["cube"]["contract"]["tasks"]["infer"]["deadline_s"] == 3600
        assert shown["compatibility"]["metrics"] == {"auroc": 0.9, "accuracy": 0.8, "brier": 0.1}

    def test_a_datasets_gate_shows_the_statistics(self, campaign: Campaign) -> None:
        gate = campaign.gate_of(campaign.ask_for_dataset("north"))
        assert gate.shown["dataset"]["statistics"] == {"cases": 100, "malignant": 37}
        assert gate.shown["dataset"]["decision"]["person"] == "Nora North <nora@north.example>"


class TestSee:
    @pytest.mark.parametrize("party", ["benchmark_owner", "committee_member", "data_owner", "service"])
    def test_both_sides_do(self, campaign: Campaign, party: str) -> None:
        gate = campaign.gate_of(campaign.ask_for_dataset("north"))
        assert campaign.client(party).gates.get(gate.id) == gate
        assert gate in campaign.client(party).gates.list(live=True).items

    @pytest.mark.parametrize("party", ["stranger", "model_owner", "other_data_owner", "administrator", "site:south"])
    def test_nobody_else_does(self, campaign: Campaign, party: str) -> None:
        gate = campaign.gate_of(campaign.ask_for_dataset("north"))
        with refused(403, "It takes approver or committee or owner or service"):
            campaign.client(party).gates.get(gate.id)
        if not party.startswith("site"):
            assert gate.id not in [g.id for g in campaign.client(party).gates.all()]

    def test_what_waits_for_somebody_is_what_they_can_decide_now(self, campaign: Campaign) -> None:
        gate = _quorum_of_two(campaign)

        def waiting(party: str) -> bool:
            return gate.id in [g.id for g in campaign.client(party).gates.all(waiting=True)]

        assert waiting("benchmark_owner")
        assert not waiting("model_owner")
        campaign.decide(gate, "benchmark_owner")
        assert not waiting("benchmark_owner")
        assert waiting("committee_member")


class TestDecide:
    def test_enough_approvals_settle_it(self, campaign: Campaign) -> None:
        gate = _quorum_of_two(campaign)
        campaign.decide(gate, "benchmark_owner")
        assert _state(campaign, gate) == (GateState.OPEN, None, 1)
        campaign.decide(gate, "committee_member")
        assert _state(campaign, gate) == (GateState.DECIDED, Verdict.APPROVE, 2)

    def test_one_no_settles_it(self, campaign: Campaign) -> None:
        gate = _quorum_of_two(campaign)
        campaign.decide(gate, "benchmark_owner")
        campaign.decide(gate, "committee_member", Verdict.REJECT)
        assert _state(campaign, gate) == (GateState.DECIDED, Verdict.REJECT, 1)

    def test_it_is_kept_with_name_reason_and_digest(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        campaign.decide(gate, "committee_member")
        (kept,) = campaign.client("model_owner").gates.decisions(gate.id)
        assert (kept.user_name, kept.reason, kept.digest) == (
            "Committee Member <committee_member@institute.example>",
            "looked at it",
            gate.digest,
        )

    def test_nobody_decides_twice(self, campaign: Campaign) -> None:
        gate = _quorum_of_two(campaign)
        campaign.decide(gate, "benchmark_owner")
        with refused(409, "has decided at gate .* already; decisions do not change"):
            campaign.decide(gate, "benchmark_owner", Verdict.REJECT)

    def test_after_it_is_decided_nobody_decides(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        campaign.decide(gate, "benchmark_owner")
        with refused(409, "is decided: 'decide' is not possible now"):
            campaign.decide(gate, "committee_member")

    def test_another_digest_is_refused(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        with refused(409, r"but gate \d+ shows .*look at the gate again"):
            campaign.decide(gate, "benchmark_owner", digest=digest_bytes(b"something else"))
        assert campaign.client("service").gates.decisions(gate.id) == []

    @pytest.mark.parametrize("party", ["model_owner", "stranger", "administrator", "service", "site:north"])
    def test_the_wrong_role_is_refused(self, campaign: Campaign, party: str) -> None:
        with refused(403, "(It takes approver|not good for 'decide')"):
            campaign.decide(_model_gate(campaign), party)

    def test_who_asked_does_not_decide_although_on_the_committee(self, campaign: Campaign) -> None:
        campaign.join_committee("model_owner")
        with refused(403, "asked for this: nobody decides about their own"):
            campaign.decide(_model_gate(campaign), "model_owner")

    def test_what_changed_is_shown_again_and_must_be_decided_anew(self, campaign: Campaign) -> None:
        gate = _quorum_of_two(campaign)
        campaign.decide(gate, "benchmark_owner")
        _raise_minimum(campaign)
        with refused(409, "It changed, or it is another one"):
            campaign.decide(gate, "committee_member")
        again = campaign.gate(gate.id)
        assert (again.revision, again.approvals, again.shown["benchmark"]["minimum_cases"]) == (2, 0, 11)
        campaign.decide(again, "benchmark_owner")
        campaign.decide(again, "committee_member")
        assert _state(campaign, gate) == (GateState.DECIDED, Verdict.APPROVE, 2)

    def test_a_reason_is_needed(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        body = {"digest": gate.digest, "verdict": "approve", "reason": "  "}
        answer = campaign.registry.call("benchmark_owner", "POST", f"/v1/gates/{gate.id}/decisions", json=body)
        assert answer.status_code == 422

    def test_it_stands_in_the_audit_log(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        campaign.decide(gate, "benchmark_owner")
        entry = campaign.client("administrator").audit.entries(action="gate.decided", limit=200).items[-1]
        assert (entry.subject, entry.detail["digest"]) == (f"gate:{gate.id}", gate.digest)
        assert entry.actor == "Benchmark Owner <benchmark_owner@university.example>"


class TestDecideAtTheSameMoment:
    def test_one_of_two_people_counts(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        outcomes = _at_once(
            [
                lambda: campaign.decide(gate, "benchmark_owner"),
                lambda: campaign.decide(gate, "committee_member", Verdict.REJECT),
            ]
        )
        assert sorted(outcomes) == ["409", "ok"]
        assert len(campaign.client("service").gates.decisions(gate.id)) == 1
        assert campaign.gate(gate.id).state == GateState.DECIDED

    def test_one_persons_two_decisions_are_one(self, campaign: Campaign) -> None:
        gate = _quorum_of_two(campaign)
        outcomes = _at_once([lambda: campaign.decide(gate, "benchmark_owner")] * 3)
        assert sorted(outcomes) == ["409", "409", "ok"]
        assert _state(campaign, gate) == (GateState.OPEN, None, 1)

    def test_both_of_a_quorum_count(self, campaign: Campaign) -> None:
        gate = _quorum_of_two(campaign)
        people = ("benchmark_owner", "committee_member")
        assert _at_once([lambda p=p: campaign.decide(gate, p) for p in people]) == ["ok", "ok"]  # type: ignore[misc]
        assert _state(campaign, gate) == (GateState.DECIDED, Verdict.APPROVE, 2)

    def test_concluding_twice_moves_the_subject_once(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        campaign.decide(gate, "benchmark_owner")
        assert _at_once([lambda: campaign.conclude(gate)] * 2) == ["ok", "ok"]
        assert [c.state for c in campaign.client("model_owner").associations.history(gate.subject_id)] == [
            "requested",
            "approved",
        ]

    def test_the_audit_log_stays_whole(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        _at_once([lambda p=p: campaign.decide(gate, p) for p in ("benchmark_owner", "committee_member")])  # type: ignore[misc]
        assert campaign.client("administrator").audit.verify().intact


class TestRefresh:
    def test_nothing_new_changes_nothing(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        campaign.decide(gate, "benchmark_owner")
        assert campaign.client("service").gates.refresh(gate.id) == campaign.gate(gate.id)
        assert _state(campaign, gate) == (GateState.DECIDED, Verdict.APPROVE, 1)

    def test_something_new_opens_it_again(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        campaign.decide(gate, "benchmark_owner")
        _raise_minimum(campaign)
        again = campaign.client("service").gates.refresh(gate.id)
        assert (again.state, again.verdict, again.approvals, again.revision) == (GateState.OPEN, None, 0, 2)
        assert again.digest == digest_of(again.shown) != gate.digest

    def test_a_decision_of_who_no_longer_may_decide_opens_it_again(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        campaign.decide(gate, "committee_member")
        campaign.client("benchmark_owner").benchmarks.remove_member(
            campaign.benchmark_id, campaign.registry.ids["committee_member"]
        )
        again = campaign.client("service").gates.refresh(gate.id)
        assert (again.state, again.approvals, again.revision) == (GateState.OPEN, 0, 1)

    def test_what_is_concluded_stays(self, campaign: Campaign) -> None:
        gate = campaign.pass_gate(_model_gate(campaign), "benchmark_owner")
        _raise_minimum(campaign)
        assert campaign.client("service").gates.refresh(gate.id) == gate

    def test_it_is_the_services(self, campaign: Campaign) -> None:
        with refused(403, "not good for 'service'"):
            campaign.client("benchmark_owner").gates.refresh(_model_gate(campaign).id)


class TestConclude:
    def test_what_is_not_decided_stays_shut(self, campaign: Campaign) -> None:
        gate = _quorum_of_two(campaign)
        campaign.decide(gate, "benchmark_owner")
        with refused(409, "is open: 'conclude' is not possible now"):
            campaign.conclude(gate)

    def test_what_changed_since_stays_shut(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        campaign.decide(gate, "benchmark_owner")
        _raise_minimum(campaign)
        with refused(409, "decided for something else than what it would show now"):
            campaign.conclude(gate)
        assert campaign.client("model_owner").associations.get(gate.subject_id).state == "requested"

    def test_what_is_shown_cannot_be_forged(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        campaign.decide(gate, "benchmark_owner")
        with transaction(campaign.registry.app.state.engine, write=True) as session:
            row = session.get_one(Gate, gate.id)
            row.shown = {**row.shown, "note": "harmless"}
            session.add(row)
        with refused(409, "decided for something else"):
            campaign.conclude(gate)

    def test_a_state_set_by_hand_is_no_decision(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        with transaction(campaign.registry.app.state.engine, write=True) as session:
            row = session.get_one(Gate, gate.id)
            row.state, row.verdict = GateState.DECIDED, Verdict.APPROVE
            session.add(row)
        with refused(409, "has no decision that holds"):
            campaign.conclude(gate)

    @pytest.mark.parametrize("how", ["left the committee", "left the federation"])
    def test_who_decided_must_still_be_entitled(self, campaign: Campaign, how: str) -> None:
        gate = _model_gate(campaign)
        campaign.decide(gate, "committee_member")
        member = campaign.registry.ids["committee_member"]
        if how == "left the committee":
            campaign.client("benchmark_owner").benchmarks.remove_member(campaign.benchmark_id, member)
        else:
            campaign.client("administrator").users.deactivate(member)
        with refused(409, "has no decision that holds: those who decided may no longer"):
            campaign.conclude(gate)

    def test_twice_is_the_same(self, campaign: Campaign) -> None:
        gate = campaign.pass_gate(_model_gate(campaign), "benchmark_owner")
        assert campaign.conclude(gate) == gate

    def test_a_no_moves_the_subject_too(self, campaign: Campaign) -> None:
        gate = campaign.pass_gate(_model_gate(campaign), "benchmark_owner", verdict=Verdict.REJECT)
        assert (gate.state, gate.verdict) == (GateState.CONCLUDED, Verdict.REJECT)
        assert campaign.client("model_owner").associations.get(gate.subject_id).state == "rejected"

    @pytest.mark.parametrize("party", ["benchmark_owner", "model_owner", "administrator", "site:north"])
    def test_it_is_the_services(self, campaign: Campaign, party: str) -> None:
        gate = _model_gate(campaign)
        campaign.decide(gate, "benchmark_owner")
        with refused(403, "not good for 'service'"):
            campaign.client(party).gates.conclude(gate.id)


class TestSetFlowRun:
    def test_it_is_kept(self, campaign: Campaign) -> None:
        gate = _model_gate(campaign)
        update = FlowRunUpdate(flow_run_id="0b5a-77")
        assert campaign.client("service").gates.set_flow_run(gate.id, update).flow_run_id == "0b5a-77"

    def test_it_is_the_services(self, campaign: Campaign) -> None:
        with refused(403, "not good for 'service'"):
            campaign.client("benchmark_owner").gates.set_flow_run(
                _model_gate(campaign).id, FlowRunUpdate(flow_run_id="x")
            )


class TestEvidence:
    @pytest.mark.parametrize("table", ["decision", "association_change"])
    @pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET reason = 'other'"])
    def test_the_database_itself_refuses_to_change_it(self, campaign: Campaign, table: str, statement: str) -> None:
        campaign.pass_gate(_model_gate(campaign), "benchmark_owner")
        with (
            pytest.raises(DatabaseError, match="append-only"),
            transaction(campaign.registry.app.state.engine, write=True) as session,
        ):
            session.connection().execute(text(statement.format(table)))


def _at_once(actions: list[Callable[[], object]]) -> list[str]:
    """Do all of them at the same moment: `ok`, or the status of the refusal."""
    barrier = Barrier(len(actions))

    def run(action: Callable[[], object]) -> str:
        barrier.wait(60)
        try:
            action()
        except Refused as error:
            return str(error.status)
        except RegistryError as error:
            return type(error).__name__
        return "ok"

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))
