"""Jobs: one at a time about a subject, found as people name them, ended once."""

import pytest

from agents.errors import ConflictError, NotFoundError
from agents.store import Store, gates, jobs
from agents.store.tables import GateState, JobKind, JobState


def _ask(store: Store, subject: str = "d", **changes: object) -> str:
    with store.write() as session:
        return jobs.ask(session, JobKind.PREPARE, subject=subject, parameters={}, requested_by=None, **changes).id  # type: ignore[arg-type]  # `only_one` alone


class TestAsk:
    def test_one_about_a_subject_at_a_time(self, store: Store) -> None:
        first = _ask(store)
        with pytest.raises(ConflictError, match=first):
            _ask(store)

    def test_again_once_it_has_ended(self, store: Store) -> None:
        first = _ask(store)
        with store.write() as session:
            jobs.finish(session, first, JobState.FAILED)
        assert _ask(store) != first


class TestFind:
    def test_by_its_beginning(self, store: Store) -> None:
        job = _ask(store)
        with store.read() as session:
            assert jobs.find_job_by_beginning(session, job[:8]).id == job
            assert jobs.find_job_by_beginning(session, job).id == job

    @pytest.mark.parametrize("reference", ["", "abc", "____", "zzzzzzzz"])
    def test_what_is_not_there(self, store: Store, reference: str) -> None:
        _ask(store)
        with store.read() as session, pytest.raises(NotFoundError, match="assay job list"):
            jobs.find_job_by_beginning(session, reference)

    def test_several_that_begin_alike(self, store: Store) -> None:
        with store.write() as session:
            for subject, letter in (("a", "1"), ("b", "2")):
                job = jobs.ask(session, JobKind.PREPARE, subject=subject, parameters={}, requested_by=None)
                job.id = "abcd" + letter * 28
        with store.read() as session, pytest.raises(NotFoundError, match="several jobs"):
            jobs.find_job_by_beginning(session, "abcd")


class TestFinish:
    def test_closes_what_it_still_asked_and_stays_as_it_ended(self, store: Store) -> None:
        job = _ask(store)
        with store.write() as session:
            jobs.mark_started(session, job, "run-1")
            gate = gates.open_gate(session, name="n", title="t", subject="d", shown={"x": 1}, flow_run_id="run-1")
            assert gates.gate_of_run(session, "run-1") is gate
            jobs.finish(session, job, JobState.CANCELLED, message="by somebody")
            jobs.finish(session, job, JobState.DONE)
            assert gate.state == GateState.SUPERSEDED
            assert gates.gate_of_run(session, "run-1") is None
            ended = jobs.find_job(session, job)
            assert (ended.state, ended.message) == (JobState.CANCELLED, "by somebody")

    def test_a_job_without_a_run_waits_at_no_gate(self, store: Store) -> None:
        with store.read() as session:
            assert gates.gate_of_run(session, None) is None
