"""Leaderboards: live for the committee, as released for everybody else."""

import math

import pytest

from api.schemas.benchmarks import AssociationPolicy, BenchmarkPolicyUpdate, GateState, Leaderboard, Verdict
from api.schemas.cubes import CubeKind
from tests.api.campaign import GOOD, Campaign, opened, refused, running


def _board(campaign: Campaign, party: str = "benchmark_owner", *, released: bool | None = None) -> Leaderboard:
    return campaign.client(party).benchmarks.leaderboard(campaign.benchmark_id, released=released)


def _ranks(board: Leaderboard) -> list[tuple[str, int]]:
    return [(row.model_name, row.rank) for row in board.rows]


def _fill(campaign: Campaign) -> None:
    for site, alpha, beta in (("north", 0.6, 0.7), ("south", 0.8, 0.9)):
        campaign.send_result(site, "alpha", {**GOOD, "auroc": alpha})
        campaign.send_result(site, "beta", {**GOOD, "auroc": beta})


class TestLive:
    def test_means_are_weighted_by_cases_and_called_what_they_are(self, campaign: Campaign) -> None:
        _fill(campaign)
        board = _board(campaign)
        assert _ranks(board) == [("beta", 1), ("alpha", 2)]
        assert board.rows[0].metrics["auroc"] == pytest.approx((0.7 * 100 + 0.9 * 300) / 400)
        assert board.method == {
            "auroc": "mean_over_datasets_weighted_by_cases",
            "accuracy": "pooled_over_cases",
            "brier": "pooled_over_cases",
        }
        assert board.rows[0].per_dataset["south/cases"]["auroc"] == 0.9
        assert (board.sites, board.cases, board.released_at) == (2, 400, None)

    def test_models_without_results_are_listed(self, campaign: Campaign) -> None:
        campaign.send_result("north", "alpha")
        rows = {row.model_name: row for row in _board(campaign).rows}
        assert (rows["beta"].sites, rows["beta"].rank, rows["beta"].complete) == (0, 2, False)
        assert math.isnan(rows["beta"].metrics["auroc"])

    def test_a_hospital_that_sent_nothing_yet_is_counted(self, campaign: Campaign) -> None:
        campaign.send_result("north", "alpha")
        assert (_board(campaign).sites, _board(campaign).unmeasured) == (1, 1)
        campaign.send_result("south", "alpha")
        assert (_board(campaign).sites, _board(campaign).unmeasured) == (2, 0)

    def test_a_dataset_that_does_not_count_for_a_metric_is_named(self, campaign: Campaign) -> None:
        campaign.send_result("north", "alpha", {**GOOD, "auroc": math.nan})
        campaign.send_result("south", "alpha", {**GOOD, "auroc": 0.7})
        board = _board(campaign)
        assert board.not_counted == {"auroc": ["north/cases"]}
        assert (board.rows[0].metrics["auroc"], board.rows[0].sites, board.rows[0].cases) == (0.7, 2, 400)

    def test_one_result_without_isolation_marks_its_model(self, campaign: Campaign) -> None:
        campaign.send_result("north", "alpha")
        campaign.send_result("south", "alpha", isolated=False)
        campaign.send_result("south", "beta")
        assert {row.model_name: row.isolated for row in _board(campaign).rows} == {"alpha": False, "beta": True}

    def test_scores_of_two_metrics_cubes_do_not_mix(self, campaign: Campaign) -> None:
        _fill(campaign)
        other = campaign.add_cube("metrics-2", CubeKind.METRICS)
        campaign.client("benchmark_owner").benchmarks.replace_metrics_cube(campaign.benchmark_id, other.id)
        campaign.send_result("north", "alpha", {**GOOD, "auroc": 0.55})
        rows = {row.model_name: row for row in _board(campaign).rows}
        assert (rows["alpha"].metrics["auroc"], rows["alpha"].sites) == (0.55, 1)
        assert rows["beta"].sites == 0

    def test_a_dataset_that_was_withdrawn_no_longer_counts(self, campaign: Campaign) -> None:
        _fill(campaign)
        campaign.client("data_owner").associations.withdraw(campaign.work().datasets[0].association_id, "consent")
        board = _board(campaign)
        assert (board.cases, list(board.rows[0].per_dataset)) == (300, ["south/cases"])

    @pytest.mark.parametrize("party", ["stranger", "model_owner", "data_owner", "administrator"])
    def test_it_is_the_committees(self, campaign: Campaign, party: str) -> None:
        _fill(campaign)
        with refused(404, "the leaderboard of 'fna' was not released yet"):
            _board(campaign, party)


class TestRelease:
    def test_the_gate_shows_exactly_the_rows(self, campaign: Campaign) -> None:
        _fill(campaign)
        gate = campaign.client("benchmark_owner").benchmarks.release(campaign.benchmark_id)
        assert Leaderboard.model_validate(gate.shown["leaderboard"]) == _board(campaign)

    def test_another_of_the_committee_decides(self, campaign: Campaign) -> None:
        _fill(campaign)
        gate = campaign.client("benchmark_owner").benchmarks.release(campaign.benchmark_id)
        with refused(403, "asked for this: nobody decides about their own"):
            campaign.decide(gate, "benchmark_owner")
        campaign.pass_gate(gate, "committee_member")
        assert _ranks(_board(campaign, "stranger")) == [("beta", 1), ("alpha", 2)]
        assert campaign.benchmark().released_at == _board(campaign, "stranger").released_at is not None

    def test_nothing_is_visible_before_it_is_concluded(self, campaign: Campaign) -> None:
        _fill(campaign)
        gate = campaign.client("benchmark_owner").benchmarks.release(campaign.benchmark_id)
        campaign.decide(gate, "committee_member")
        with refused(404, "was not released yet"):
            _board(campaign, "stranger")

    def test_a_no_releases_nothing(self, campaign: Campaign) -> None:
        _fill(campaign)
        gate = campaign.client("benchmark_owner").benchmarks.release(campaign.benchmark_id)
        campaign.pass_gate(gate, "committee_member", verdict=Verdict.REJECT)
        assert campaign.benchmark().released_at is None
        assert campaign.client("benchmark_owner").benchmarks.release(campaign.benchmark_id).state == GateState.OPEN

    def test_what_comes_later_needs_another_release(self, campaign: Campaign) -> None:
        campaign.send_result("north", "alpha")
        campaign.release()
        campaign.send_result("north", "beta", {**GOOD, "auroc": 0.99})
        assert _ranks(_board(campaign, "stranger")) == [("alpha", 1), ("beta", 2)]
        assert _ranks(_board(campaign)) == [("beta", 1), ("alpha", 2)]
        campaign.release()
        assert _ranks(_board(campaign, "stranger")) == [("beta", 1), ("alpha", 2)]

    def test_what_comes_while_it_is_decided_is_not_in_it(self, campaign: Campaign) -> None:
        campaign.send_result("north", "alpha")
        gate = campaign.client("benchmark_owner").benchmarks.release(campaign.benchmark_id)
        campaign.send_result("north", "beta")
        campaign.pass_gate(gate, "committee_member")
        assert [row.sites for row in _board(campaign, "stranger").rows] == [1, 0]

    def test_what_left_while_it_is_decided_must_be_looked_at_again(self, campaign: Campaign) -> None:
        _fill(campaign)
        gate = campaign.client("benchmark_owner").benchmarks.release(campaign.benchmark_id)
        campaign.decide(gate, "committee_member")
        campaign.client("data_owner").associations.withdraw(campaign.work().datasets[0].association_id, "consent")
        with refused(409, "decided for something else than what it would show now"):
            campaign.conclude(gate)
        assert campaign.benchmark().released_at is None

    def test_what_was_released_is_frozen(self, campaign: Campaign) -> None:
        _fill(campaign)
        campaign.release()
        before = _board(campaign, "stranger")
        campaign.client("model_owner").associations.withdraw(campaign.work().models[0].association_id, "no")
        assert _board(campaign, "stranger") == before
        assert _board(campaign, released=True) == before

    def test_the_committee_sees_when_just_these_rows_were_released(self, campaign: Campaign) -> None:
        _fill(campaign)
        campaign.release()
        assert _board(campaign).released_at == campaign.benchmark().released_at
        campaign.client("model_owner").associations.withdraw(campaign.work().models[0].association_id, "no")
        assert _board(campaign).released_at is None

    def test_without_results_there_is_nothing_to_release(self, campaign: Campaign) -> None:
        with refused(409, "'fna' has no results yet"):
            campaign.client("benchmark_owner").benchmarks.release(campaign.benchmark_id)

    def test_asked_twice_is_once_too_often(self, campaign: Campaign) -> None:
        _fill(campaign)
        campaign.client("benchmark_owner").benchmarks.release(campaign.benchmark_id)
        with refused(409, "is not concluded yet. Decide there first"):
            campaign.client("committee_member").benchmarks.release(campaign.benchmark_id)

    def test_it_takes_the_quorum(self, campaign: Campaign) -> None:
        campaign.join_committee("stranger")
        policy = BenchmarkPolicyUpdate(dataset_policy=AssociationPolicy(quorum=2))
        campaign.client("benchmark_owner").benchmarks.update_policy(campaign.benchmark_id, policy)
        _fill(campaign)
        gate = campaign.client("benchmark_owner").benchmarks.release(campaign.benchmark_id)
        campaign.decide(gate, "committee_member")
        assert campaign.gate(gate.id).state == GateState.OPEN
        campaign.pass_gate(gate, "stranger")
        assert campaign.benchmark().released_at is not None

    def test_a_closed_benchmark_may_still_be_released(self, campaign: Campaign) -> None:
        _fill(campaign)
        campaign.client("benchmark_owner").benchmarks.close(campaign.benchmark_id)
        campaign.release()
        assert len(_board(campaign, "stranger").rows) == 2

    def test_a_new_metrics_cube_ends_the_asking(self, campaign: Campaign) -> None:
        _fill(campaign)
        gate = campaign.client("benchmark_owner").benchmarks.release(campaign.benchmark_id)
        other = campaign.add_cube("metrics-2", CubeKind.METRICS)
        campaign.client("benchmark_owner").benchmarks.replace_metrics_cube(campaign.benchmark_id, other.id)
        assert campaign.gate(gate.id).state == GateState.CANCELLED


class TestConsent:
    @pytest.fixture
    def asking(self, campaign: Campaign) -> Campaign:
        """A campaign whose benchmark asks model owners, with everything released."""
        campaign.registry.ids.pop("benchmark")
        spec = campaign.specification(name="asking", model_owner_consent=True)
        campaign.registry.ids["benchmark"] = campaign.client("benchmark_owner").benchmarks.create(spec).id
        campaign.join_committee("committee_member")
        opened(campaign)
        running(campaign)
        _fill(campaign)
        campaign.release()
        return campaign

    def _consent(self, campaign: Campaign, model: str) -> int:
        association = next(m.association_id for m in campaign.work().models if m.name == model)
        campaign.client("model_owner").associations.consent(association)
        return association

    def test_others_see_only_models_whose_owner_consented(self, asking: Campaign) -> None:
        assert (_board(asking, "stranger").rows, _board(asking, "stranger").withheld) == ([], 2)
        self._consent(asking, "alpha")
        assert _ranks(_board(asking, "stranger")) == [("alpha", 2)]
        assert _board(asking, "stranger").withheld == 1

    def test_a_consent_that_is_revoked_hides_it_again(self, asking: Campaign) -> None:
        association = self._consent(asking, "alpha")
        asking.client("model_owner").associations.revoke_consent(association)
        assert _board(asking, "stranger").rows == []

    def test_owners_see_their_own_and_the_committee_sees_all(self, asking: Campaign) -> None:
        assert len(_board(asking, "model_owner").rows) == 2
        assert len(_board(asking, released=True).rows) == 2
