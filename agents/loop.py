"""The agent's two loops: one towards the registry, one towards the site's own Prefect server.

They are apart so that a registry that does not answer never delays a decision made in the hospital.
"""

import time
from collections.abc import Iterable
from importlib.metadata import version
from typing import Final

import structlog
from sqlmodel import Session, col, select

from agents.border import conflicting_head
from agents.errors import HomeError
from agents.planner import Unit, outstanding, plan_digest, units
from agents.prefect_api import PrefectApi
from agents.site import Site
from agents.store import gates, jobs, outbox
from agents.store.executions import scores_in
from agents.store.tables import Dataset, DatasetState, Job, JobKind, JobState, OutboxItem, OutboxState, ScoreState
from agents.ticker import Ticker
from api.schemas.border import Heartbeat, PayloadKind
from api.schemas.records import BenchmarkWork, DatasetWork
from api.storage.columns import now

_ENDED: Final = {
    "CANCELLED": JobState.CANCELLED,
    "CRASHED": JobState.FAILED,
    "FAILED": JobState.FAILED,
    "COMPLETED": JobState.DONE,
}
_LOOK_AT_RUNS_S: Final = 5.0


class RegistryLoop:
    """Asks the registry what there is to do, sends what lies in the outbox, says that the site lives."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._next_pull = self._next_heartbeat = 0.0
        self._log = structlog.get_logger().bind(loop="registry")
        self.ticker = Ticker("registry", min(1.0, site.settings.poll_s), self.tick)

    def tick(self) -> None:
        """One round.

        Raises:
            api.client.RegistryError: the registry is away or refuses; the ticker waits longer then.
        """
        moment = time.monotonic()
        if moment >= self._next_heartbeat:
            self._queue_heartbeat()
            self._next_heartbeat = moment + self._site.settings.heartbeat_s
        self._site.border.flush()
        if moment >= self._next_pull:
            self.pull()
            self._next_pull = moment + self._site.settings.poll_s

    def pull(self) -> None:
        """Ask what there is to do, and hold the registry's history against what this site remembers of it."""
        work = self._site.border.pull_work()
        with self._site.store.read() as session:
            kept = conflicting_head(session, work.audit_head)
        if kept is not None:
            self._log.error("the registry's audit log does not continue the one seen before", sequence=kept.sequence)

    def _queue_heartbeat(self) -> None:
        with self._site.store.write() as session:
            if _heartbeat_waits(session):
                return
            sent_at = now()
            heartbeat = Heartbeat(
                sent_at=sent_at,
                agent_version=version("assay"),
                running=len(jobs.live_jobs(session)),
                waiting_gates=len(gates.list_gates(session)),
                probe=self._site.last_probe(),
            )
            key = f"heartbeat-{sent_at.timestamp():.6f}"
            outbox.enqueue(session, PayloadKind.HEARTBEAT, heartbeat, subject=self._site.settings.site, key=key)


class LocalLoop:
    """Starts jobs as flow runs, wakes flow runs whose gate was decided, and asks for what is outstanding."""

    def __init__(self, site: Site, prefect: PrefectApi) -> None:
        self._site, self._prefect = site, prefect
        self._next_look = 0.0
        self.ticker = Ticker("local", 0.3, self.tick)

    def tick(self) -> None:
        """One round.

        Raises:
            agents.errors.PrefectError: the site's Prefect server did not answer.
        """
        if self._site.settings.start_evaluations:
            ask_for_executions(self._site)
        ask_for_releases(self._site)
        self._start_jobs()
        self._wake_decided()
        if time.monotonic() >= self._next_look:
            self._look_at_runs()
            self._next_look = time.monotonic() + _LOOK_AT_RUNS_S

    def _start_jobs(self) -> None:
        with self._site.store.read() as session:
            waiting = jobs.to_start(session)
        for job in waiting:
            flow_run = self._prefect.create_flow_run(
                f"{job.kind.value}/site",
                {"job_id": job.id},
                idempotency_key=job.id,
                name=f"{job.kind.value} {job.subject}",
                tags=[job.kind.value],
            )
            with self._site.store.write() as session:
                jobs.mark_started(session, job.id, flow_run)

    def _wake_decided(self) -> None:
        with self._site.store.read() as session:
            ready = [gate for gate in gates.to_wake(session) if gates.valid_decision(session, gate.id) is not None]
        for gate in ready:
            kind, _name = self._prefect.state(gate.flow_run_id)
            awake = kind in _ENDED or (kind == "PAUSED" and self._prefect.resume(gate.flow_run_id))
            if awake:
                with self._site.store.write() as session:
                    gates.mark_woken(session, gate.id)

    def _look_at_runs(self) -> None:
        """Jobs whose flow run ended without saying so: cancelled by a person in Prefect's pages, or crashed."""
        with self._site.store.read() as session:
            started = [job for job in jobs.live_jobs(session) if job.flow_run_id is not None]
        for job in started:
            kind, name = self._prefect.state(job.flow_run_id or "")
            if kind in _ENDED:
                with self._site.store.write() as session:
                    jobs.finish(session, job.id, _ENDED[kind], message=f"its flow run ended as {name}")


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
        taken = {score for job in jobs.live_jobs(session, JobKind.RELEASE) for score in job.parameters["scores"]}
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


def _ask(session: Session, benchmark: BenchmarkWork, dataset: DatasetWork) -> list[Job]:
    under_way = _models_under_way(session, benchmark.benchmark_id, dataset.name)
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


def _models_under_way(session: Session, benchmark_id: int, dataset: str) -> set[int]:
    live: Iterable[Job] = jobs.live_jobs(session, JobKind.EVALUATE)
    return {
        model
        for job in live
        if job.parameters["benchmark_id"] == benchmark_id and job.parameters["dataset"] == dataset
        for model in job.parameters["models"]
    }


def _was_asked(session: Session, plan: str) -> bool:
    """Whether exactly this was asked before: a person who said no is not asked the same again."""
    done = session.exec(select(Job).where(Job.kind == JobKind.EVALUATE))
    return any(job.parameters.get("plan") == plan for job in done)


def _is_registered(session: Session, dataset: DatasetWork) -> bool:
    query = select(Dataset).where(Dataset.registered_id == dataset.dataset_id, Dataset.root == dataset.root)
    found = session.exec(query).first()
    return found is not None and found.state == DatasetState.REGISTERED


def _heartbeat_waits(session: Session) -> bool:
    query = select(OutboxItem.id).where(
        OutboxItem.kind == PayloadKind.HEARTBEAT, col(OutboxItem.state) == OutboxState.QUEUED
    )
    return session.exec(query).first() is not None
