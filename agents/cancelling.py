"""Ending a job that is under way: its flow run first, and with it the step that runs; then what is kept of it."""

import time
from typing import Final

from agents.errors import ConflictError
from agents.loop import ENDED_RUNS, end_job
from agents.prefect_api import PrefectApi, PrefectError
from agents.store import Store, gates, jobs
from agents.store.tables import LIVE_JOBS, Job, JobState

_LOOK_EVERY_S: Final = 0.1


def cancel_job(store: Store, prefect: PrefectApi | None, job: Job, *, by: str, timeout_s: float = 30.0) -> Job:
    """End a job: nothing of it runs any more when this returns, and nobody is asked about it.

    Args:
        store: the site's.
        prefect: the site's Prefect server; None for a job of which nothing runs: one without a flow run, or one that rests.
        job: which.
        by: who wants it, name and address; kept with the job.
        timeout_s: how long to wait for the end of what runs.

    Raises:
        ConflictError: it has ended by itself, or its flow run goes on: the agent that runs it is away.
        PrefectError: Prefect's server does not answer, and the job does not rest.
    """
    message = f"cancelled by {by}"
    if job.state in LIVE_JOBS and prefect is not None and job.flow_run_id is not None:
        _end_or_leave(store, prefect, job.flow_run_id, timeout_s)
    with store.write() as session:
        current = jobs.find_job(session, job.id)
        if job.flow_run_id is None and current.flow_run_id is not None and current.state in LIVE_JOBS:
            raise ConflictError(f"job {job.id[:8]!r} has begun this very moment: cancel it once more")
        end_job(session, job.id, JobState.CANCELLED, message)
        if current.state != JobState.CANCELLED:
            raise ConflictError(f"job {job.id[:8]!r} has ended as {current.state.value!r}: there is nothing to cancel")
        if job.state in LIVE_JOBS:  # the agent may have seen the run's end first, and does not know whose wish it was
            current.message = message
            session.add(current)
        return current


def _end_or_leave(store: Store, prefect: PrefectApi, flow_run_id: str, timeout_s: float) -> None:
    """End a flow run; one that rests, where Prefect is away, the agent ends as soon as it is back."""
    try:
        _end_flow_run(prefect, flow_run_id, timeout_s)
    except PrefectError:
        with store.read() as session:
            if not gates.rests(session, flow_run_id):
                raise


def _end_flow_run(prefect: PrefectApi, flow_run_id: str, timeout_s: float) -> None:
    prefect.cancel(flow_run_id)
    until = time.monotonic() + timeout_s
    while prefect.state(flow_run_id)[0] not in ENDED_RUNS:
        if time.monotonic() >= until:
            raise ConflictError(
                f"flow run {flow_run_id} still runs after {timeout_s:g} s: is the agent there? It is ended when that is back"
            )
        time.sleep(_LOOK_EVERY_S)
