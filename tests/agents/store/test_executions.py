"""Every change of an execution queues exactly one event, and no event carries a message."""

import pytest

from agents.errors import ConflictError, NotFoundError
from agents.store import Store, jobs, outbox
from agents.store.executions import begin_step, end_step, list_executions
from agents.store.tables import Execution, JobKind, JobState
from api.schemas.border import ErrorClass, ExecutionEvent, ExecutionState, Step

DIGEST = "sha256:" + "a" * 64
SECRET = "patient Jane Roe, line 12"


def _row() -> Execution:
    return Execution(
        identity=DIGEST,
        score=DIGEST,
        benchmark_id=1,
        model_id=2,
        model_name="m",
        model_digest=DIGEST,
        dataset_id=3,
        dataset_name="d",
    )


def _events(store: Store) -> list[ExecutionEvent]:
    with store.read() as session:
        return [ExecutionEvent.model_validate_json(item.body) for item in outbox.due(session)]


class TestEvents:
    def test_one_for_each_change(self, store: Store) -> None:
        with store.write() as session:
            row = begin_step(session, _row(), Step.INFER)
            end_step(session, row)
        assert [(e.step, e.state) for e in _events(store)] == [
            (Step.INFER, ExecutionState.RUNNING),
            (Step.INFER, ExecutionState.SUCCEEDED),
        ]

    def test_a_failure_carries_class_and_exit_code_and_no_text(self, store: Store) -> None:
        with store.write() as session:
            row = begin_step(session, _row(), Step.INFER)
            end_step(session, row, error=ErrorClass.EXIT_CODE, exit_code=3, message=SECRET)
        last = _events(store)[-1]
        assert (last.error_class, last.exit_code) == (ErrorClass.EXIT_CODE, 3)
        with store.read() as session:
            assert all(SECRET.encode() not in item.body for item in outbox.due(session))
            assert [execution.message for execution in list_executions(session)] == [SECRET]

    def test_a_second_try_counts(self, store: Store) -> None:
        for _ in range(2):
            with store.write() as session:
                row = begin_step(session, _row(), Step.INFER)
                end_step(session, row, error=ErrorClass.DEADLINE)
        assert [event.attempt for event in _events(store)] == [1, 1, 2, 2]

    def test_nothing_is_queued_when_the_transaction_fails(self, store: Store) -> None:
        with pytest.raises(RuntimeError), store.write() as session:
            begin_step(session, _row(), Step.INFER)
            raise RuntimeError
        assert _events(store) == []


class TestJobs:
    def test_the_same_work_is_not_queued_twice(self, store: Store) -> None:
        with store.write() as session:
            jobs.ask(session, JobKind.PREPARE, subject="d", parameters={}, requested_by=1)
            with pytest.raises(ConflictError, match="under way"):
                jobs.ask(session, JobKind.PREPARE, subject="d", parameters={}, requested_by=1)

    def test_what_ended_stays_as_it_ended(self, store: Store) -> None:
        with store.write() as session:
            job = jobs.ask(session, JobKind.PREPARE, subject="d", parameters={}, requested_by=1)
            jobs.finish(session, job.id, JobState.REJECTED, message="no")
            jobs.finish(session, job.id, JobState.DONE)
            assert (job.state, job.message) == (JobState.REJECTED, "no")

    def test_a_started_job_is_not_started_again(self, store: Store) -> None:
        with store.write() as session:
            job = jobs.ask(session, JobKind.PREPARE, subject="d", parameters={}, requested_by=1)
            jobs.mark_started(session, job.id, "run")
            assert jobs.to_start(session) == []
            assert [j.id for j in jobs.live_jobs(session)] == [job.id]

    def test_progress_adds_up(self, store: Store) -> None:
        with store.write() as session:
            job = jobs.ask(session, JobKind.PREPARE, subject="d", parameters={}, requested_by=1)
            jobs.report(session, job.id, done=1)
            jobs.report(session, job.id, total=2)
            assert job.progress == {"done": 1, "total": 2}

    def test_an_unknown_job_is_an_error(self, store: Store) -> None:
        with store.read() as session, pytest.raises(NotFoundError):
            jobs.find_job(session, "nope")
