"""What is outstanding: never what is done, never what failed, unless somebody asks."""

from collections.abc import Callable

import pytest

from agents.endpoints.settings import EndpointSettings
from agents.planner import Unit, find_benchmark, outstanding, plan_digest, shown_for, units
from agents.store import Store
from agents.store.executions import begin_step, end_step, save_score
from agents.store.tables import Execution, Score
from api.schemas.border import ErrorClass, Step
from api.schemas.records import SiteWork
from api.storage.columns import now
from flows.describe import describe_evaluation

Work = Callable[..., SiteWork]


def _units(work: SiteWork) -> list[Unit]:
    benchmark = work.benchmarks[0]
    return units(benchmark, benchmark.datasets[0])


def _run(store: Store, unit: Unit, *, fails_at: Step | None = None) -> None:
    row = Execution(
        identity=unit.identity,
        score=unit.score,
        benchmark_id=1,
        model_id=unit.model.model_id,
        model_name=unit.model.name,
        model_digest=unit.model.cube.pack_digest,
        dataset_id=7,
        dataset_name="d1",
    )
    with store.write() as session:
        for step in (Step.INFER, Step.EVALUATE):
            row = begin_step(session, row, step)
            if fails_at == step:
                end_step(session, row, error=ErrorClass.EXIT_CODE, exit_code=1)
                return
            end_step(session, row)
        save_score(session, _score(unit))


def _score(unit: Unit) -> Score:
    return Score(
        identity=unit.score,
        execution=unit.identity,
        benchmark_id=1,
        model_id=unit.model.model_id,
        model_name=unit.model.name,
        model_digest=unit.model.cube.pack_digest,
        metrics_digest=unit.benchmark.metrics_cube.pack_digest,
        dataset_id=7,
        dataset_name="d1",
        dataset_root=unit.dataset.root,
        cases=3,
        metrics={"auroc": 1.0},
        probe={},
        started_at=now(),
        finished_at=now(),
    )


def _names(store: Store, work: SiteWork, *, retry_failed: bool = False) -> list[str]:
    with store.read() as session:
        return [unit.model.name for unit in outstanding(session, _units(work), retry_failed=retry_failed)]


class TestOutstanding:
    def test_everything_at_first_in_the_order_of_the_committee(self, store: Store, work: Work) -> None:
        assert _names(store, work("b", "a", "c")) == ["b", "a", "c"]

    def test_what_is_scored_is_not(self, store: Store, work: Work) -> None:
        _run(store, _units(work("a", "b"))[0])
        assert _names(store, work("a", "b")) == ["b"]

    def test_a_new_metrics_cube_makes_scores_outstanding_again(self, store: Store, work: Work) -> None:
        _run(store, _units(work("a"))[0])
        assert _names(store, work("a", metrics="metrics-2")) == ["a"]

    @pytest.mark.parametrize("step", [Step.INFER, Step.EVALUATE])
    def test_what_failed_is_tried_again_only_when_asked(self, store: Store, work: Work, step: Step) -> None:
        _run(store, _units(work("a"))[0], fails_at=step)
        assert _names(store, work("a")) == []
        assert _names(store, work("a"), retry_failed=True) == ["a"]

    def test_a_new_metrics_cube_is_tried_where_the_old_one_failed(self, store: Store, work: Work) -> None:
        _run(store, _units(work("a"))[0], fails_at=Step.EVALUATE)
        assert _names(store, work("a", metrics="metrics-2")) == ["a"]

    def test_a_new_metrics_cube_does_not_revive_a_model_that_failed(self, store: Store, work: Work) -> None:
        _run(store, _units(work("a"))[0], fails_at=Step.INFER)
        assert _names(store, work("a", metrics="metrics-2")) == []


class TestIdentity:
    def test_rescoring_keeps_the_execution(self, work: Work) -> None:
        (before,), (after,) = _units(work("a")), _units(work("a", metrics="metrics-2"))
        assert before.identity == after.identity
        assert before.score != after.score

    def test_another_model_is_another_execution(self, work: Work) -> None:
        first, second = _units(work("a", "b"))
        assert first.identity != second.identity


class TestShown:
    def test_running_changes_nothing_of_what_was_approved(self, store: Store, work: Work) -> None:
        """A flow that starts again after a crash must find its decision still valid."""
        asked = work("a", "b")
        benchmark = asked.benchmarks[0]
        before = plan_digest(benchmark, benchmark.datasets[0], _units(asked))
        _run(store, _units(asked)[0])
        assert plan_digest(benchmark, benchmark.datasets[0], _units(asked)) == before

    def test_a_model_that_was_withdrawn_changes_it(self, work: Work) -> None:
        benchmark = work("a", "b").benchmarks[0]
        less = work("a").benchmarks[0]
        assert plan_digest(benchmark, benchmark.datasets[0], _units(work("a", "b"))) != plan_digest(
            less, less.datasets[0], _units(work("a"))
        )

    def test_it_names_digests_and_owners(self, work: Work) -> None:
        benchmark = work("a").benchmarks[0]
        shown = shown_for(benchmark, benchmark.datasets[0], _units(work("a")))
        assert shown["dataset"]["root"] == benchmark.datasets[0].root
        assert shown["items"][0]["cube"]["pack_digest"] == benchmark.models[0].cube.pack_digest
        assert shown["items"][0]["organization"] == "org"

    def test_it_names_the_one_host_that_a_model_may_ask(self, work: Work) -> None:
        """What such a model is given leaves the hospital."""
        benchmark = work("a", "b").benchmarks[0]
        pack = benchmark.models[0].cube.pack_digest
        endpoint = EndpointSettings(url="https://model.example:8443/v1/chat", cubes=(pack,))
        chosen = _units(work("a", "b"))
        first, second = shown_for(benchmark, benchmark.datasets[0], chosen, {"model": endpoint})["items"]
        assert first["asks"] == ["model.example:8443"]
        assert "asks" not in second
        shown = shown_for(benchmark, benchmark.datasets[0], chosen, {"model": endpoint})
        assert "model.example:8443" in describe_evaluation(shown)
        assert "somebody else" not in describe_evaluation(shown_for(benchmark, benchmark.datasets[0], chosen))


def test_a_benchmark_that_is_not_offered(work: Work) -> None:
    assert find_benchmark(work("a"), 99) is None
