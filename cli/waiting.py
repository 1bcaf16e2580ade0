"""Waiting for a site's job: until it has ended, or until a person is asked."""

from typing import TYPE_CHECKING, Any

from cli.errors import FailedError, RejectedError
from cli.progress import wait_until

if TYPE_CHECKING:
    from agents.store import Store
    from agents.store.tables import Gate, Job


def wait_for_job(store: "Store", job_id: str, *, through_gates: bool, timeout_s: float) -> "tuple[Job, Gate | None]":
    """The job when it has ended, or with the gate where it waits for a person.

    Args:
        store: the site's.
        job_id: its whole identifier.
        through_gates: wait on while a person decides.
        timeout_s: for how long.

    Raises:
        TimedOutError: it took longer.
    """
    from agents.store.gates import gate_of_run
    from agents.store.jobs import find_job
    from agents.store.tables import LIVE_JOBS

    def look() -> tuple[Any, str]:
        with store.read() as session:
            job = find_job(session, job_id)
            gate = gate_of_run(session, job.flow_run_id)
        ended = job.state not in LIVE_JOBS
        if ended or (gate is not None and not through_gates):
            return (job, None if ended else gate), ""
        return None, describe_progress(job, gate)

    with store.read() as session:
        job = find_job(session, job_id)
    found: tuple[Job, Gate | None] = wait_until(look, f"{job.kind.value} {job.subject}", timeout_s)
    return found


def describe_progress(job: "Job", gate: "Gate | None") -> str:
    """How far a job has come, in a few words."""
    if gate is not None:
        return f"waits for a decision at gate {gate.id[:8]}"
    progress = job.progress
    if progress.get("total"):
        failed = f", {progress['failed']} failed" if progress.get("failed") else ""
        return f"{progress['done']} of {progress['total']} done{failed}"
    return str(progress.get("step", job.state.value)).replace("_", " ")


def require_good_end(job: "Job") -> None:
    """Pass when a job is done.

    Raises:
        RejectedError, FailedError: a person said no, or it failed or was cancelled.
    """
    from agents.store.tables import JobState

    what = f"{job.kind.value} {job.subject}"
    if job.state == JobState.REJECTED:
        raise RejectedError(f"{what}: {job.message}")
    if job.state != JobState.DONE:
        raise FailedError(f"{what} {job.state.value}: {job.message}")
