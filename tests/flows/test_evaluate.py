"""`evaluate` to its end: what was approved runs, in the committee's order, as wide as the slots, once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agents.asking import ask_for_executions
from agents.errors import ConflictError
from agents.store import gates
from agents.store.tables import Job, JobState, ScoreState
from api.schemas.benchmarks import Verdict
from api.schemas.border import ErrorClass, ExecutionEvent, ExecutionState, PayloadKind, Step
from api.schemas.cubes import CubeRef
from tests.flows.agency import Agency
from tests.watching import found

WAITING = """
import pathlib, time
pathlib.Path("/predictions/began").write_text("")
while not pathlib.Path("/predictions/go").exists():
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def registered(north: Agency) -> Agency:
    """With a dataset `d1` that is registered."""
    north.register_at_once("d1")
    return north


@pytest.fixture
def model(registered: Agency) -> Callable[..., CubeRef]:
    """A model that nobody has seen before."""

    def make(program: str = "") -> CubeRef:
        here = registered.here
        return here.model(f"# {here._packs}\n{program}{here.program_text}")

    return make


@pytest.fixture(autouse=True)
def _asked_and_answered(registered: Agency) -> Iterator[None]:
    """The agent asks by itself to release what a test has made: it is told no, so that the next test's is its own."""
    yield
    while registered.scores("d1", ScoreState.NEW):
        job = registered.release_of("d1")
        registered.decide(registered.gate(job), Verdict.REJECT)
        registered.end(job)


class TestRun:
    def test_models_that_were_approved_are_scored(self, registered: Agency, model: Callable[..., CubeRef]) -> None:
        registered.here.offer(model(), model())
        job = registered.evaluate(1, 2, name="d1")
        gate = registered.gate(job)
        assert [item["item"] for item in gate.shown["items"]] == ["1", "2"]
        assert registered.approve(job).outcome == {"ran": 2, "reused": 0, "withheld": 0, "failed": []}
        scores = registered.scores("d1", ScoreState.NEW)
        assert sorted(score.model_name for score in scores) == ["model-1", "model-2"]  # each as it ends
        assert all(0 <= score.metrics["auroc"] <= 1 and score.probe["isolation"] == "isolated" for score in scores)
        names = {run["name"] for run in registered.task_runs(job)}
        assert {f"{task} model-2 on d1" for task in ("execution", "infer", "evaluate")} <= names

    def test_a_failing_model_is_recorded_and_stops_nobody(
        self, registered: Agency, model: Callable[..., CubeRef]
    ) -> None:
        registered.here.offer(model("raise SystemExit(7)\n"), model())
        job = registered.run(1, 2, name="d1")
        assert (job.state, job.outcome["failed"]) == (JobState.DONE, ["model-1"])
        failed = registered.executions("d1")["model-1"]
        assert (failed.state, failed.step, failed.error_class, failed.exit_code) == (
            ExecutionState.FAILED,
            Step.INFER,
            ErrorClass.EXIT_CODE,
            7,
        )
        assert registered.executions("d1")["model-2"].state == ExecutionState.SUCCEEDED
        events = [
            ExecutionEvent.model_validate_json(item.body) for item in registered.queued(PayloadKind.EXECUTION_EVENT)
        ]
        (told,) = [event for event in events if event.execution == failed.identity and event.exit_code is not None]
        assert (told.error_class, told.exit_code) == (ErrorClass.EXIT_CODE, 7)

    def test_a_model_that_the_data_owner_left_out_does_not_run(
        self, registered: Agency, model: Callable[..., CubeRef]
    ) -> None:
        registered.here.offer(model(), model())
        before = registered.steps()
        job = registered.approve(registered.evaluate(1, 2, name="d1"), withheld=["1"])
        assert job.outcome == {"ran": 1, "reused": 0, "withheld": 1, "failed": []}
        assert (registered.steps() - before)["infer"] == 1

    def test_a_rejection_runs_nothing(self, registered: Agency, model: Callable[..., CubeRef]) -> None:
        registered.here.offer(model())
        before = registered.steps()
        job = registered.evaluate(1, name="d1")
        registered.decide(registered.gate(job), Verdict.REJECT, reason="unknown model owner")
        ended = registered.end(job)
        assert (ended.state, "unknown model owner" in ended.message) == (JobState.REJECTED, True)
        assert registered.steps() == before


class TestOutstanding:
    def test_a_second_run_does_only_what_is_new(self, registered: Agency, model: Callable[..., CubeRef]) -> None:
        old, broken = model(), model("raise SystemExit(1)\n")
        registered.here.offer(old, broken)
        registered.run(1, 2, name="d1")
        registered.here.offer(old, broken, model())
        before = registered.steps()
        assert registered.run(1, 2, 3, name="d1").outcome == {"ran": 1, "reused": 2, "withheld": 0, "failed": []}
        assert registered.steps() - before == {"infer": 1, "evaluate": 1}

    def test_another_metrics_cube_scores_again_and_infers_nothing(
        self, registered: Agency, model: Callable[..., CubeRef]
    ) -> None:
        models = model(), model()
        registered.here.offer(*models)
        registered.run(1, 2, name="d1")
        before = registered.steps()
        registered.here.offer(*models, metrics_cube=registered.here.other_metrics("replaced"))
        assert registered.run(1, 2, name="d1").outcome["ran"] == 2
        assert registered.steps() - before == {"evaluate": 2}

    def test_the_agent_asks_for_what_is_outstanding_once(
        self, registered: Agency, model: Callable[..., CubeRef]
    ) -> None:
        registered.here.offer(model())
        (job,) = ask_for_executions(registered.here.site)
        assert ask_for_executions(registered.here.site) == []
        assert registered.approve(job).outcome["ran"] == 1
        assert ask_for_executions(registered.here.site) == []


class TestRefuse:
    def test_a_dataset_that_changed_after_its_registration(
        self, registered: Agency, model: Callable[..., CubeRef]
    ) -> None:
        registered.here.offer(model())
        labels = Path(registered.dataset("d1").folder or "") / "labels" / "labels.csv"
        before = labels.read_bytes()
        labels.write_bytes(before.replace(b",1", b",0", 1))
        try:
            job = registered.run(1, name="d1")
        finally:
            labels.write_bytes(before)
        assert job.outcome["failed"] == ["model-1"]
        failed = registered.executions("d1")["model-1"]
        assert failed.error_class == ErrorClass.DATASET_CHANGED
        root = registered.dataset("d1").root
        assert f"registered root {root}, found sha256:" in failed.message
        assert "labels/labels.csv" in failed.message

    def test_a_dataset_that_the_committee_took_out(self, registered: Agency) -> None:
        job = registered.end(registered.evaluate(1, name="never-approved"))
        assert job.state == JobState.FAILED
        assert "'never-approved' is not (or no longer) in benchmark 1" in job.message


class TestWidth:
    def test_as_wide_as_the_slots_in_the_committee_s_order(
        self, registered: Agency, model: Callable[..., CubeRef], until: Callable[..., None]
    ) -> None:
        """Two slots: the two most wanted begin and nobody else; whoever ends makes room for the next."""
        here = registered.here
        work = here.offer(*(model(WAITING) for _ in range(5)))
        ranked = [
            work.models[place].model_copy(update={"priority": 9 - rank}) for rank, place in enumerate((3, 0, 4, 2, 1))
        ]
        here.registry.work = here.registry.work.model_copy(
            update={"benchmarks": [work.model_copy(update={"models": ranked})]}
        )
        here.site.border.pull_work()
        wanted = [each.name for each in ranked]
        job = registered.evaluate(*range(1, 6), name="d1")
        registered.decide(registered.gate(job))
        attempts = here.site.home.path / "attempts"

        def running() -> dict[str, Path]:
            return {path.parents[1].name.split("-on-")[0]: path.parent for path in found(attempts, "*/*/began")}

        for ended in range(5):
            expected = set(wanted[ended : ended + 2])
            until(lambda expected=expected: running().keys() == expected, f"{sorted(expected)} to run")
            (running()[wanted[ended]] / "go").write_text("")
        assert registered.end(job).outcome["failed"] == []


class TestAway:
    def test_a_decision_while_the_agent_is_away_is_acted_upon_when_it_is_back(
        self, registered: Agency, model: Callable[..., CubeRef]
    ) -> None:
        registered.here.offer(model())
        job = registered.evaluate(1, name="d1")
        gate = registered.gate(job)
        with registered.away():
            registered.decide(gate)
            assert registered.state(job) == "PAUSED"
        assert registered.end(job).outcome["ran"] == 1

    def test_what_ran_when_the_agent_stopped_is_run_when_it_is_back(
        self, registered: Agency, model: Callable[..., CubeRef], until: Callable[..., None]
    ) -> None:
        here = registered.here
        here.offer(model(), model(WAITING))
        job = registered.evaluate(1, 2, name="d1")
        registered.decide(registered.gate(job))
        attempts = here.site.home.path / "attempts"

        def waits() -> list[Path]:
            return found(attempts, "model-2-*/*/began")

        until(lambda: waits() and registered.scores("d1", ScoreState.NEW), "the second model to wait")
        before = registered.steps()
        with registered.away():
            assert registered.state(job) == "SCHEDULED"
            assert list(attempts.glob("*/*/began")) == []
        until(waits, "the second model to begin again")
        (began,) = waits()
        (began.parent / "go").write_text("")
        assert registered.end(job).outcome == {"ran": 1, "reused": 1, "withheld": 0, "failed": []}
        assert registered.steps() - before == {"infer": 1, "evaluate": 1}


class TestPastTheGate:
    """Somebody moves a job's flow run by Prefect's own means: nothing runs by it."""

    @pytest.fixture
    def waiting(self, registered: Agency, model: Callable[..., CubeRef]) -> Job:
        """An evaluation that rests at its gate."""
        registered.here.offer(model())
        job = registered.evaluate(1, name="d1")
        registered.gate(job)
        return job

    def test_a_run_that_was_set_to_completed_is_a_failed_job(self, registered: Agency, waiting: Job) -> None:
        gate, before = registered.gate(waiting), registered.steps()
        completed = {"state": {"type": "COMPLETED", "name": "Completed"}, "force": True}
        _post(registered, f"/flow_runs/{gate.flow_run_id}/set_state", completed)
        ended = registered.end(waiting)
        assert (ended.state, ended.message) == (JobState.FAILED, "its flow run ended as Completed")
        assert registered.steps() == before
        with pytest.raises(ConflictError, match="superseded"):
            registered.decide(gate)

    def test_a_run_that_was_deleted_is_a_failed_job(self, registered: Agency, waiting: Job) -> None:
        gate, before = registered.gate(waiting), registered.steps()
        httpx2.delete(f"{registered.api.url}/flow_runs/{gate.flow_run_id}", trust_env=False).raise_for_status()
        ended = registered.end(waiting)
        assert (ended.state, ended.message) == (JobState.FAILED, "its flow run ended as Missing")
        assert registered.steps() == before

    def test_a_second_run_of_the_same_job_asks_for_itself(
        self, registered: Agency, waiting: Job, until: Callable[..., None]
    ) -> None:
        first, before = registered.gate(waiting), registered.steps()
        second = registered.api.create_flow_run("evaluate/site", {"job_id": waiting.id}, idempotency_key="by hand")
        until(lambda: registered.api.state(second)[0] == "PAUSED", "the second run to rest")
        registered.decide(first)
        until(lambda: registered.job(waiting).state == JobState.DONE, "the first run's end")
        assert registered.api.state(second)[0] == "PAUSED"
        with registered.here.site.store.read() as session:
            asked = gates.gate_of_run(session, second)
        assert asked is not None
        registered.decide(asked)
        until(lambda: registered.api.state(second)[0] == "COMPLETED", "the second run's end")
        assert registered.steps() - before == {"infer": 1, "evaluate": 1}

    def test_another_model_in_the_place_of_the_one_that_was_shown(
        self, registered: Agency, waiting: Job, model: Callable[..., CubeRef]
    ) -> None:
        first, before = registered.gate(waiting), registered.steps()
        registered.here.offer(model())
        registered.decide(first)
        registered.until(lambda: registered.gate(waiting).id != first.id, "a new question")
        assert registered.steps() == before
        registered.decide(registered.gate(waiting), Verdict.REJECT)
        registered.end(waiting)


def _post(registered: Agency, path: str, body: dict[str, Any]) -> None:
    httpx2.post(registered.api.url + path, json=body, trust_env=False).raise_for_status()
