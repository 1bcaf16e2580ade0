"""`assay job cancel`: what runs is ended, what waited is asked no more, and it is kept who wanted that."""

import json
from collections.abc import Callable

import pytest

from agents.cancelling import cancel_job
from agents.errors import ConflictError
from agents.store.tables import DatasetState, GateState, JobState
from api.schemas.border import ErrorClass, ExecutionEvent, ExecutionState, PayloadKind
from api.schemas.cubes import CubeKind
from tests.faults.test_kill import HANGING, HANGING_PROGRAM, RUN
from tests.flows.agency import Agency
from tests.watching import found, processes

BY = "cancelled by Operator <op@north.example>"
PATIENT = f"patient_{RUN}.py"
HANG = "import pathlib, time; pathlib.Path('/predictions/began').write_text(''); time.sleep(3600)"


@pytest.fixture(scope="module")
def registered(north: Agency) -> Agency:
    """With a dataset `d1` that is registered."""
    north.register_at_once("d1")
    return north


class TestRunning:
    def test_the_step_is_ended_and_nothing_stays(self, registered: Agency, until: Callable[..., None]) -> None:
        here = registered.here
        patient = HANGING.replace("deadline_s: 15", "deadline_s: 600").replace(HANGING_PROGRAM, PATIENT)
        here.offer(here.program(CubeKind.MODEL, patient, **{PATIENT: HANG}))
        job = registered.evaluate(1, name="d1")
        registered.decide(registered.gate(job))
        attempts = here.site.home.path / "attempts"
        until(lambda: found(attempts, "*/*/began"), "the model to begin")
        assert processes(PATIENT)

        done = registered.type("job", "cancel", job.id[:8], "--json")

        assert done.returncode == 0, done.stderr
        assert (json.loads(done.stdout)["state"], json.loads(done.stdout)["message"]) == ("cancelled", BY)
        assert registered.state(job) == "CANCELLED"
        until(lambda: not processes(PATIENT), "the step's end")
        until(lambda: [path for path in attempts.iterdir() if path.is_dir()] == [], "its folder to go")
        ended = registered.executions("d1")["model-1"]
        assert (ended.state, ended.error_class, ended.message) == (ExecutionState.FAILED, ErrorClass.CANCELLED, BY)
        told = [
            ExecutionEvent.model_validate_json(item.body) for item in registered.queued(PayloadKind.EXECUTION_EVENT)
        ]
        assert told[-1].error_class == ErrorClass.CANCELLED
        assert registered.scores("d1") == []

    def test_what_was_cancelled_may_be_asked_for_again(self, registered: Agency) -> None:
        here = registered.here
        here.offer(here.model())
        job = registered.evaluate(1, name="d1")
        registered.gate(job)
        registered.type("job", "cancel", job.id)
        assert registered.run(1, name="d1").outcome["ran"] == 1


class TestWaiting:
    def test_nobody_is_asked_any_more(self, registered: Agency) -> None:
        registered.here.offer(registered.here.model("# waiting\n" + registered.here.program_text))
        job = registered.evaluate(1, name="d1")
        gate = registered.gate(job)
        assert registered.type("job", "cancel", job.id).returncode == 0
        assert (registered.end(job).state, registered.end(job).message) == (JobState.CANCELLED, BY)
        with pytest.raises(ConflictError, match="superseded"):
            registered.decide(gate)
        assert gate.state == GateState.WAITING

    def test_a_dataset_that_was_being_prepared_says_why_it_is_not(self, north: Agency) -> None:
        job = north.prepare("given-up")
        north.gate(job)
        with north.away():
            assert north.type("job", "cancel", job.id).returncode == 0
        assert (north.dataset("given-up").state, north.dataset("given-up").message) == (DatasetState.FAILED, BY)

    def test_a_second_time_is_a_conflict(self, north: Agency) -> None:
        job = north.prepare("given-up-twice")
        north.gate(job)
        north.type("job", "cancel", job.id)
        again = north.type("job", "cancel", job.id)
        assert (again.returncode, "has ended as 'cancelled'" in again.stderr) == (6, True)


class TestAway:
    def test_what_nobody_runs_is_not_said_to_have_ended(self, registered: Agency) -> None:
        """A run that the server takes to be running, whose agent is away: it is ended when the agent is back."""
        job = registered.prepare("stuck")
        registered.gate(job)
        with registered.away():
            found = registered.job(job)
            body = {"state": {"type": "RUNNING", "name": "Running"}, "force": True}
            registered.api._client.post(f"{registered.api.url}/flow_runs/{found.flow_run_id}/set_state", json=body)
            with pytest.raises(ConflictError, match="is the agent there"):
                cancel_job(registered.here.site.store, registered.api, found, by="x", timeout_s=0.5)
            assert registered.job(job).state == JobState.RUNNING
        assert registered.end(job).state == JobState.CANCELLED
