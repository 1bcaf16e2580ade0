"""Jobs of a site: seen, waited for, ended."""

import threading
from collections.abc import Callable

import pytest

from agents.store import jobs
from agents.store.tables import JobKind, JobState, Role
from tests.cli.support import Assay, Here


@pytest.mark.usefixtures("owner")
class TestList:
    def test_says_how_far_each_is(self, assay: Assay, here: Here) -> None:
        waiting, working = here.job(run="run-1"), here.job(JobKind.EVALUATE, run="run-2")
        gate = here.gate({"x": 1}, run="run-1")
        with here.store.write() as session:
            jobs.report(session, working.id, total=5, done=3, failed=1)
        out = assay("job", "list").out
        assert f"waits for a decision at gate {gate.id[:8]}" in out
        assert "3 of 5 done, 1 failed" in out
        assert [item["id"] for item in assay("job", "list", "--json").json] == [working.id, waiting.id]

    def test_live_leaves_out_what_has_ended(self, assay: Assay, here: Here) -> None:
        ended, live = here.job(run=None), here.job(run=None)
        with here.store.write() as session:
            jobs.finish(session, ended.id, JobState.DONE)
        assert [item["id"] for item in assay("job", "list", "--live", "--json").json] == [live.id]


@pytest.mark.usefixtures("owner")
class TestShow:
    def test_by_its_beginning(self, assay: Assay, here: Here) -> None:
        job = here.job(benchmark_id=4)
        assert "benchmark_id  4" in assay("job", "show", job.id[:6]).out
        assert assay("job", "show", job.id, "--json").json["parameters"] == {"benchmark_id": 4}

    def test_what_is_not_there_is_five(self, assay: Assay) -> None:
        assert assay("job", "show", "ffff").code == 5


@pytest.mark.usefixtures("owner")
class TestWait:
    @pytest.mark.parametrize(
        ("state", "code"),
        [(JobState.DONE, 0), (JobState.REJECTED, 9), (JobState.FAILED, 10), (JobState.CANCELLED, 10)],
    )
    def test_the_code_says_how_it_ended(self, assay: Assay, here: Here, state: JobState, code: int) -> None:
        job = here.job()
        with here.store.write() as session:
            jobs.finish(session, job.id, state, message="because of this")
        ended = assay("job", "wait", job.id)
        assert ended.code == code
        assert ("because of this" in ended.err) == (code != 0)

    def test_returns_when_a_person_is_asked(self, assay: Assay, here: Here) -> None:
        job, gate = here.job(), here.gate({"x": 1}, title="Register this?")
        out = assay("job", "wait", job.id).out
        assert "Register this?" in out
        assert f"assay gate show {gate.id[:8]}" in out
        assert assay("job", "wait", job.id, "--json").json["gate_id"] == gate.id

    def test_goes_through_gates_when_told_to(self, assay: Assay, here: Here) -> None:
        job = here.job()
        here.gate({"x": 1})

        def end() -> None:
            with here.store.write() as session:
                jobs.finish(session, job.id, JobState.DONE)

        timer = threading.Timer(0.5, end)
        timer.start()
        try:
            assert assay("job", "wait", job.id, "--through-gates", "--timeout", "60", "--json").json["state"] == "done"
        finally:
            timer.join()

    def test_gives_up_after_the_time_given(self, assay: Assay, here: Here) -> None:
        ended = assay("job", "wait", here.job(run=None).id, "--timeout", "0")
        assert ended.code == 12
        assert "queued" in ended.err


@pytest.mark.usefixtures("operator")
class TestCancel:
    def test_what_has_not_started_ends_at_once(self, assay: Assay, here: Here) -> None:
        job = here.job(run=None)
        done = assay("job", "cancel", job.id, "--json").json
        assert done["state"] == "cancelled"
        assert "operator@north.example" in done["message"]

    def test_what_has_ended_is_six(self, assay: Assay, here: Here) -> None:
        job = here.job(run=None)
        assay("job", "cancel", job.id)
        assert assay("job", "cancel", job.id).code == 6

    def test_what_runs_needs_the_agent(self, assay: Assay, here: Here) -> None:
        ended = assay("job", "cancel", here.job().id)
        assert ended.code == 11
        assert "agent" in ended.err

    def test_a_prefect_that_is_away_is_eight_and_the_job_goes_on(self, assay: Assay, here: Here) -> None:
        job = here.job()
        here.home.prefect_url_file.write_text("http://127.0.0.1:9/api", encoding="utf-8")
        assert assay("job", "cancel", job.id).code == 8
        assert assay("job", "show", job.id, "--json").json["state"] == "running"

    def test_a_viewer_may_not(self, assay: Assay, here: Here, signed_in: Callable[[Role], None]) -> None:
        signed_in(Role.VIEWER)
        assert assay("job", "cancel", here.job().id).code == 4
