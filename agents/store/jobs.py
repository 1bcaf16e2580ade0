"""Jobs: what the site is asked to do, one flow run each."""

from typing import Any

from sqlmodel import Session, col, select

from agents.errors import ConflictError, NotFoundError
from agents.store.gates import close_gates_of
from agents.store.tables import LIVE_JOBS, Job, JobKind, JobState
from api.storage.columns import now


def ask(
    session: Session,
    kind: JobKind,
    *,
    subject: str,
    parameters: dict[str, Any],
    requested_by: int | None,
    only_one: bool = True,
) -> Job:
    """Queue a job.

    Raises:
        ConflictError: a job of that kind about the same subject is under way (with `only_one`).
    """
    query = select(Job).where(Job.kind == kind, Job.subject == subject, col(Job.state).in_(LIVE_JOBS))
    if only_one and (live := session.exec(query).first()) is not None:
        raise ConflictError(f"a {kind.value} job about {subject!r} is under way already: {live.id}")
    job = Job(kind=kind, subject=subject, parameters=parameters, requested_by=requested_by)
    session.add(job)
    session.flush()
    return job


def find_job(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise NotFoundError(f"there is no job {job_id!r} at this site: see `assay job list`")
    return job


def find_job_by_beginning(session: Session, reference: str) -> Job:
    """A job by its identifier or an unambiguous beginning of at least four characters, as people type it.

    Raises:
        NotFoundError: no such job, or several begin like this.
    """
    query = select(Job).where(col(Job.id).startswith(reference, autoescape=True)).limit(2)
    found = list(session.exec(query)) if len(reference) >= 4 else []  # noqa: PLR2004 - shorter is a typo, not a reference
    if len(found) != 1:
        problem = "several jobs begin with" if found else "there is no job"
        raise NotFoundError(f"{problem} {reference!r} at this site: see `assay job list`")
    return found[0]


def list_jobs(session: Session, *, limit: int = 50) -> list[Job]:
    return list(session.exec(select(Job).order_by(col(Job.created_at).desc()).limit(limit)))


def live_jobs(session: Session, kind: JobKind | None = None) -> list[Job]:
    query = select(Job).where(col(Job.state).in_(LIVE_JOBS)).order_by(col(Job.created_at))
    if kind is not None:
        query = query.where(Job.kind == kind)
    return list(session.exec(query))


def job_of_run(session: Session, flow_run_id: str) -> Job | None:
    """The job that a flow run is the work of."""
    return session.exec(select(Job).where(Job.flow_run_id == flow_run_id)).first()


def to_start(session: Session) -> list[Job]:
    """Jobs that have no flow run yet."""
    query = select(Job).where(Job.state == JobState.QUEUED, col(Job.flow_run_id).is_(None))
    return list(session.exec(query.order_by(col(Job.created_at))))


def mark_started(session: Session, job_id: str, flow_run_id: str) -> None:
    job = find_job(session, job_id)
    if job.state == JobState.QUEUED:
        job.state = JobState.RUNNING
    job.flow_run_id = flow_run_id
    session.add(job)


def report(session: Session, job_id: str, **progress: Any) -> None:
    """Note how far a job has come, for people who watch."""
    job = find_job(session, job_id)
    job.progress = {**job.progress, **progress}
    session.add(job)


def finish(
    session: Session, job_id: str, state: JobState, *, message: str = "", outcome: dict[str, Any] | None = None
) -> None:
    """End a job; gates that its flow run left open are closed. A job that has ended stays as it ended."""
    job = find_job(session, job_id)
    if job.state not in LIVE_JOBS:
        return
    job.state, job.message, job.outcome, job.finished_at = state, message, outcome or {}, now()
    session.add(job)
    if job.flow_run_id is not None:
        close_gates_of(session, job.flow_run_id)
