"""Results: made by what is registered, let go by a person, seen by those they concern."""

import math
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from api.core.database import transaction
from api.schemas.benchmarks import Verdict
from api.schemas.border import PayloadKind
from api.schemas.cubes import CubeKind
from cubes.digests import digest_bytes
from tests.api.campaign import GOOD, PROBE, Campaign, approval, refused


class TestSend:
    def test_it_is_kept_with_everything_that_made_it(self, campaign: Campaign) -> None:
        number = campaign.send_result("north", "alpha")
        found = campaign.client("benchmark_owner").results.get(number)
        assert (found.metrics, found.cases, found.isolation) == (GOOD, 100, "isolated")
        assert (found.decision.person, found.probe.runtime) == ("Nora North <nora@north.example>", "process")

    def test_it_stands_in_the_audit_log_with_who_let_it_go(self, campaign: Campaign) -> None:
        campaign.send_result("north", "alpha")
        entry = campaign.client("administrator").audit.entries(action="result.received").items[-1]
        assert (entry.actor, entry.detail["decision"]["person"]) == ("site north", "Nora North <nora@north.example>")

    def test_what_is_not_a_number_survives(self, campaign: Campaign) -> None:
        number = campaign.send_result("north", "alpha", {**GOOD, "auroc": math.nan})
        assert math.isnan(campaign.client("benchmark_owner").results.get(number).metrics["auroc"])
        assert campaign.client("administrator").audit.verify().intact

    def test_the_same_numbers_again_are_the_same_result(self, campaign: Campaign) -> None:
        result = campaign.result("north", "alpha")
        numbers = {campaign.send("north", PayloadKind.RESULT, result, f"result-{n}") for n in range(3)}
        assert len(numbers) == 1

    def test_other_numbers_for_the_same_score_are_refused(self, campaign: Campaign) -> None:
        campaign.send_result("north", "alpha")
        with refused(409, "has other numbers for the score .* A result does not change"):
            campaign.send_result("north", "alpha", {**GOOD, "auroc": 0.99})

    def test_a_model_with_parameters_has_its_own_identity(self, campaign: Campaign) -> None:
        number = campaign.send_result("north", "beta")
        assert campaign.client("benchmark_owner").results.get(number).model_name == "beta"

    @pytest.mark.parametrize("part", ["model_digest", "metrics_digest", "dataset_root", "execution", "score"])
    def test_another_digest_than_the_registered_one_is_refused(self, campaign: Campaign, part: str) -> None:
        what = {"metrics_digest": "metrics cube"}.get(part, part.split("_", maxsplit=1)[0])
        wrong = {part: digest_bytes(b"x")}
        with refused(409, f"the result is of the {what} .*, registered is"):
            campaign.send("north", PayloadKind.RESULT, campaign.result("north", "alpha").model_copy(update=wrong))

    @pytest.mark.parametrize(
        ("metrics", "message"),
        [
            ({"auroc": 0.5}, "'accuracy' is missing"),
            ({**GOOD, "dice": 1.0}, "'dice' is none of the benchmark's metrics"),
            ({**GOOD, "auroc": 1.01}, "'auroc' is 1.01, outside 0"),
            ({**GOOD, "auroc": math.inf}, "'auroc' is inf, outside 0"),
        ],
    )
    def test_metrics_that_are_not_the_benchmarks_are_refused(
        self, campaign: Campaign, metrics: dict[str, float], message: str
    ) -> None:
        with refused(422, message):
            campaign.send_result("north", "alpha", metrics)

    @pytest.mark.parametrize(
        ("changes", "status", "message"),
        [
            ({"cases": 99}, 409, "the result counts 99 cases, dataset 'cases' has 100"),
            ({"decision": approval("release_results", verdict="reject")}, 422, "did not approve this"),
            ({"decision": approval("register_dataset")}, 422, "not 'release_results'"),
            ({"probe": {**PROBE, "checks": {"no_network": False}}}, 422, "its checks say otherwise"),
            ({"probe": {**PROBE, "checks": {}}}, 422, "its checks say otherwise"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, campaign: Campaign, changes: dict[str, Any], status: int, message: str
    ) -> None:
        with refused(status, message):
            campaign.send_result("north", "alpha", **changes)

    def test_another_sites_dataset_is_not_there(self, campaign: Campaign) -> None:
        result = campaign.result("south", "alpha")
        with refused(404, "site 'north' has no dataset"):
            campaign.send("north", PayloadKind.RESULT, result)

    def test_a_model_that_left_is_refused(self, campaign: Campaign) -> None:
        result = campaign.result("north", "alpha")
        campaign.client("model_owner").associations.withdraw(campaign.work().models[0].association_id, "no")
        with refused(409, "model 'alpha' is not approved in benchmark 'fna'"):
            campaign.send("north", PayloadKind.RESULT, result)

    def test_a_score_of_the_metrics_cube_before_is_refused(self, campaign: Campaign) -> None:
        result = campaign.result("north", "alpha")
        other = campaign.add_cube("metrics-2", CubeKind.METRICS)
        campaign.client("benchmark_owner").benchmarks.replace_metrics_cube(campaign.benchmark_id, other.id)
        with refused(409, "the result is of the metrics cube"):
            campaign.send("north", PayloadKind.RESULT, result)

    def test_a_new_metrics_cube_gives_a_result_beside_the_old_one(self, campaign: Campaign) -> None:
        first = campaign.send_result("north", "alpha")
        other = campaign.add_cube("metrics-2", CubeKind.METRICS)
        campaign.client("benchmark_owner").benchmarks.replace_metrics_cube(campaign.benchmark_id, other.id)
        second = campaign.send_result("north", "alpha", {**GOOD, "auroc": 0.7})
        found = campaign.client("benchmark_owner").results.list().items
        assert [r.id for r in found] == [first, second]
        assert found[0].execution == found[1].execution

    def test_the_database_itself_refuses_to_change_it(self, campaign: Campaign) -> None:
        campaign.send_result("north", "alpha")
        for statement in ("UPDATE result SET cases = 1", "DELETE FROM result"):
            with (
                pytest.raises(DatabaseError, match="append-only"),
                transaction(campaign.registry.app.state.engine, write=True) as session,
            ):
                session.connection().execute(text(statement))


class TestSee:
    @pytest.mark.parametrize("party", ["benchmark_owner", "committee_member", "data_owner", "service"])
    def test_committee_and_hospital_always_do(self, campaign: Campaign, party: str) -> None:
        number = campaign.send_result("north", "alpha")
        assert campaign.client(party).results.get(number).metrics == GOOD
        assert campaign.client(party).results.list().total == 1

    @pytest.mark.parametrize("party", ["other_data_owner", "stranger", "administrator", "model_owner"])
    def test_nobody_else_does(self, campaign: Campaign, party: str) -> None:
        number = campaign.send_result("north", "alpha")
        assert campaign.client(party).results.list().total == 0
        with refused(403, "It takes committee or owner or service"):
            campaign.client(party).results.get(number)

    def test_the_models_owner_does_once_it_was_released(self, campaign: Campaign) -> None:
        released = campaign.send_result("north", "alpha")
        campaign.release()
        later = campaign.send_result("south", "alpha")
        client = campaign.client("model_owner")
        assert [r.id for r in client.results.list().items] == [released]
        with refused(403, "It takes committee or owner"):
            client.results.get(later)

    def test_what_a_release_does_not_count_stays_where_it_was(self, campaign: Campaign) -> None:
        """Of a dataset that was withdrawn, and of the metrics cube before."""
        campaign.send_result("north", "alpha", {**GOOD, "auroc": 0.11})
        before = campaign.send_result("south", "alpha", {**GOOD, "auroc": 0.22})
        campaign.client("data_owner").associations.withdraw(campaign.work().datasets[0].association_id, "consent")
        other = campaign.add_cube("metrics-2", CubeKind.METRICS)
        campaign.client("benchmark_owner").benchmarks.replace_metrics_cube(campaign.benchmark_id, other.id)
        counted = campaign.send_result("south", "alpha", {**GOOD, "auroc": 0.77})
        gate = campaign.client("benchmark_owner").benchmarks.release(campaign.benchmark_id)
        assert gate.shown["results"] == [counted]
        campaign.pass_gate(gate, "committee_member")
        client = campaign.client("model_owner")
        assert [r.id for r in client.results.list().items] == [counted]
        with refused(403, "It takes committee or owner"):
            client.results.get(before)

    def test_a_no_shows_nobody_anything(self, campaign: Campaign) -> None:
        campaign.send_result("north", "alpha")
        gate = campaign.client("benchmark_owner").benchmarks.release(campaign.benchmark_id)
        campaign.pass_gate(gate, "committee_member", verdict=Verdict.REJECT)
        assert campaign.client("model_owner").results.list().items == []

    def test_a_release_shows_others_no_single_result(self, campaign: Campaign) -> None:
        campaign.send_result("north", "alpha")
        campaign.release()
        for party in ("stranger", "other_data_owner", "administrator"):
            assert campaign.client(party).results.list().total == 0

    @pytest.mark.parametrize(
        ("filters", "total"), [({"site_id": 1}, 1), ({"model_id": 2}, 0), ({"isolation": "not_isolated"}, 1)]
    )
    def test_filters_are_the_servers(self, campaign: Campaign, filters: dict[str, Any], total: int) -> None:
        campaign.send_result("north", "alpha")
        campaign.send_result("south", "alpha", isolated=False)
        assert campaign.client("benchmark_owner").results.list(limit=1, **filters).total == total
