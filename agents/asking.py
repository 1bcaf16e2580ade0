"""What an agent asks for by itself: that models run which are outstanding, that results go which nobody looked at yet.

Asking is all it does: each job stops at a gate until a person has decided.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from sqlmodel import Session, col, select

from agents.errors import HomeError
from agents.planner import Unit, outstanding, plan_digest, units
from agents.site import Site
from agents.store import jobs
from agents.store.executions import scores_in
from agents.store.tables import LIVE_JOBS, Dataset, DatasetState, Job, JobKind, JobState, ScoreState
from api.schemas.records import BenchmarkWork, DatasetWork
from api.storage.columns import now

_RETRY_RELEASE: Final = timedelta(minutes=5)


def ask_for_executions(site: Site) -> list[Job]:
    """Queue an `evaluate` job for each dataset that has models outstanding and not yet asked about."""
    try:
        work = site.work()
    except HomeError:
        return []
    asked: list[Job] = []
    for benchmark in work.benchmarks:
        for dataset in benchmark.datasets:
            with site.store.write() as session:
                if _is_registered(session, dataset):
                    asked += _ask(session, benchmark, dataset)
    return asked


def ask_for_releases(site: Site) -> list[Job]:
    """Queue a `release` job for each dataset whose executions are through and whose scores nobody was asked about."""
    with site.store.write() as session:
        busy = {job.subject for job in jobs.live_jobs(session, JobKind.EVALUATE) if job.progress.get("total")}
        taken = _asked_about(session)
        fresh: dict[str, list[int]] = {}
        for score in scores_in(session, ScoreState.NEW):
            if score.dataset_name not in busy and score.id not in taken:
                fresh.setdefault(score.dataset_name, []).append(score.id or 0)
        return [
            jobs.ask(
                session,
                JobKind.RELEASE,
                subject=name,
                parameters={"scores": scores},
                requested_by=None,
                only_one=False,
            )
            for name, scores in fresh.items()
        ]


def _asked_about(session: Session) -> set[int]:
    """Scores that a job asks about, that a person ended the asking about, or whose job failed a moment ago."""
    query = select(Job).where(
        Job.kind == JobKind.RELEASE,
        col(Job.state).in_((*LIVE_JOBS, JobState.CANCELLED))
        | ((col(Job.state) == JobState.FAILED) & (col(Job.finished_at) > now() - _RETRY_RELEASE)),
    )
    return {score for job in session.exec(query) for score in job.parameters["scores"]}


def _ask(session: Session, benchmark: BenchmarkWork, dataset: DatasetWork) -> list[Job]:
    under_way = models_under_way(session, benchmark.benchmark_id, dataset.name)
    todo = [u for u in outstanding(session, units(benchmark, dataset)) if u.model.model_id not in under_way]
    if not todo:
        return []
    plan = plan_digest(benchmark, dataset, todo)
    if _was_asked(session, plan):
        return []
    return [ask_to_run(session, todo, plan=plan, requested_by=None)]


def ask_to_run(
    session: Session, todo: list[Unit], *, plan: str, requested_by: int | None, retry_failed: bool = False
) -> Job:
    """Queue one `evaluate` job for models on one dataset."""
    first = todo[0]
    return jobs.ask(
        session,
        JobKind.EVALUATE,
        subject=first.dataset.name,
        parameters={
            "benchmark_id": first.benchmark.benchmark_id,
            "dataset": first.dataset.name,
            "models": [unit.model.model_id for unit in todo],
            "plan": plan,
            "retry_failed": retry_failed,
        },
        requested_by=requested_by,
        only_one=False,
    )


def models_under_way(session: Session, benchmark_id: int, dataset: str) -> set[int]:
    """Models that a job which has not ended will run on a dataset."""
    live: Iterable[Job] = jobs.live_jobs(session, JobKind.EVALUATE)
    return {
        model
        for job in live
        if job.parameters["benchmark_id"] == benchmark_id and job.parameters["dataset"] == dataset
        for model in job.parameters["models"]
    }


def _was_asked(session: Session, plan: str) -> bool:
    """Whether exactly this was asked before: a person who said no is not asked the same again."""
    same = col(Job.parameters)["plan"].as_string() == plan
    return session.exec(select(Job.id).where(Job.kind == JobKind.EVALUATE, same)).first() is not None


def _is_registered(session: Session, dataset: DatasetWork) -> bool:
    query = select(Dataset).where(Dataset.registered_id == dataset.dataset_id, Dataset.root == dataset.root)
    found = session.exec(query).first()
    return found is not None and found.state == DatasetState.REGISTERED
