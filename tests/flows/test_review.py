"""`review` to its end: rests at a gate of the real registry until enough people have decided, then lets it be concluded."""

from collections.abc import Callable

import pytest

from api.client import Refused
from api.schemas.benchmarks import AssociationState, BenchmarkState, CommitteeMember, GateState, Verdict
from tests.flows.committee import Committee

Until = Callable[..., None]


def _state(committee: Committee, benchmark: int) -> BenchmarkState:
    with committee.there.client("ada") as ada:
        return ada.benchmarks.get(benchmark).state


class TestBenchmark:
    def test_the_administrator_s_approval_makes_it_available(self, committee: Committee) -> None:
        gate = committee.submitted()
        committee.rests(gate)
        assert _state(committee, gate.subject_id) == BenchmarkState.SUBMITTED
        committee.decide("root", gate)
        assert committee.concluded(gate).verdict == Verdict.APPROVE
        assert _state(committee, gate.subject_id) == BenchmarkState.APPROVED

    def test_a_rejection_ends_the_review_in_peace(self, committee: Committee) -> None:
        gate = committee.submitted()
        committee.rests(gate)
        committee.decide("root", gate, Verdict.REJECT, reason="the labelling method is not described")
        assert committee.concluded(gate).verdict == Verdict.REJECT
        assert _state(committee, gate.subject_id) == BenchmarkState.REJECTED
        with committee.there.client("ada") as ada:
            (decision,) = ada.gates.decisions(gate.id)
        assert decision.reason == "the labelling method is not described"

    @pytest.mark.parametrize("who", ["ada", "eve"], ids=["who asked", "a stranger"])
    def test_nobody_else_may_decide(self, committee: Committee, who: str) -> None:
        gate = committee.submitted()
        run = committee.rests(gate)
        with pytest.raises(Refused):
            committee.decide(who, gate)
        assert (committee.now(gate).state, committee.api.state(run)[0]) == (GateState.OPEN, "PAUSED")


class TestAssociation:
    def test_it_waits_for_as_many_as_the_quorum_says(self, committee: Committee) -> None:
        gate = committee.requested(quorum=2)
        run = committee.rests(gate)
        committee.decide("ada", gate)
        found = committee.now(gate)
        assert (found.state, found.approvals, committee.api.state(run)[0]) == (GateState.OPEN, 1, "PAUSED")
        committee.decide("bob", gate)
        committee.concluded(gate)
        with committee.there.client("mel") as mel:
            assert mel.associations.get(gate.subject_id).state == AssociationState.APPROVED


class TestLeaderboard:
    def test_the_committee_s_release_is_dated(self, committee: Committee) -> None:
        benchmark = committee.there.ids["benchmark"]
        with committee.there.client("ada") as ada:
            gate = ada.benchmarks.release(benchmark)
            committee.rests(gate)
            assert ada.benchmarks.get(benchmark).released_at is None
            committee.decide("bob", gate)
            committee.concluded(gate)
            assert ada.benchmarks.get(benchmark).released_at is not None


class TestFailClosed:
    def test_a_wake_up_without_a_decision_rests_again(self, committee: Committee, until: Until) -> None:
        gate = committee.submitted()
        run = committee.rests(gate)
        answer = {"verdict": "approve", "reason": "I say so", "digest": gate.digest}
        until(lambda: committee.api.resume(run, answer), "its waking")
        until(lambda: committee.api.state(run)[0] == "PAUSED", "its rest")
        assert _state(committee, gate.subject_id) == BenchmarkState.SUBMITTED

    def test_a_decision_for_another_digest_is_refused(self, committee: Committee) -> None:
        gate = committee.submitted()
        committee.rests(gate)
        with pytest.raises(Refused, match="shows"):
            committee.decide("root", gate, digest="sha256:" + "0" * 64)
        assert committee.now(gate).state == GateState.OPEN

    def test_what_changed_between_decision_and_waking_is_decided_anew(self, committee: Committee, until: Until) -> None:
        """The committee grows after the administrator's approval, before the review wakes."""
        gate = committee.submitted()
        committee.rests(gate)
        committee.stop()
        committee.decide("root", gate)
        with committee.there.client("ada") as ada:
            ada.benchmarks.add_member(gate.benchmark_id, CommitteeMember(user_id=committee.there.ids["eve"]))
        committee.start()
        until(lambda: committee.now(gate).state == GateState.OPEN, "the question to be open again")
        again = committee.now(gate)
        assert (again.revision, again.digest == gate.digest) == (gate.revision + 1, False)
        assert _state(committee, gate.subject_id) == BenchmarkState.SUBMITTED
        committee.rests(again)
        committee.decide("root", again)
        committee.concluded(again)
        assert _state(committee, gate.subject_id) == BenchmarkState.APPROVED


class TestGoOn:
    def test_a_decision_while_nobody_reviews_is_acted_upon_later(self, committee: Committee) -> None:
        gate = committee.submitted()
        committee.rests(gate)
        committee.stop()
        committee.decide("root", gate)
        assert committee.now(gate).state == GateState.DECIDED
        committee.start()
        committee.concluded(gate)

    def test_a_review_that_was_cancelled_in_prefect_is_begun_again(self, committee: Committee) -> None:
        gate = committee.submitted()
        run = committee.rests(gate)
        assert committee.api.cancel(run)
        committee.decide("root", gate)
        assert committee.concluded(gate).flow_run_id != run

    def test_one_gate_has_one_review(self, committee: Committee) -> None:
        gate = committee.submitted()
        run = committee.rests(gate)
        committee.stop()
        committee.start()
        assert committee.rests(gate) == run
