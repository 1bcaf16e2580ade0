"""The agent's two loops: one towards the registry, one towards the site's own Prefect server.

They are apart so that a registry that does not answer never delays a decision made in the hospital.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import version
from typing import Any, Final, TypeVar

import structlog
from sqlmodel import Session, col, select

from agents.asking import ask_for_executions, ask_for_releases
from agents.errors import NotFoundError, StepFailedError
from agents.planner import is_offered
from agents.prefect_api import MISSING, PrefectApi, PrefectError
from agents.progress import EVERY, queue_progress
from agents.site import Site
from agents.store import gates, jobs, outbox
from agents.store.changes import Changes
from agents.store.datasets import find_dataset, update_dataset
from agents.store.executions import end_step, running_executions
from agents.store.tables import (
    LIVE_JOBS,
    DatasetState,
    Decision,
    Gate,
    Job,
    JobKind,
    JobState,
    OutboxItem,
    OutboxState,
    Score,
)
from agents.ticker import Ticker
from api.schemas.border import ErrorClass, Heartbeat, PayloadKind
from api.schemas.sign_in import benchmark_tag
from api.storage.columns import now

_T = TypeVar("_T")
ENDED_RUNS: Final = {
    "CANCELLED": JobState.CANCELLED,
    "CRASHED": JobState.FAILED,
    "FAILED": JobState.FAILED,
    # A flow ends its job before it completes: a job still under way here had its run set to this by hand.
    "COMPLETED": JobState.FAILED,
    MISSING: JobState.FAILED,
}
_LOOK_AT_RUNS_S: Final = 5.0
_UNREGISTERED: Final = (DatasetState.PREPARING, DatasetState.OUTSTANDING, DatasetState.PREPARED)
_LONGEST_REASON: Final = 2_000


class RegistryLoop:
    """Asks the registry what there is to do, sends what lies in the outbox, says that the site lives."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._next_pull = self._next_heartbeat = self._next_progress = 0.0
        self._log = structlog.get_logger().bind(loop="registry")
        self.ticker = Ticker("registry", min(1.0, site.settings.poll_s), self.tick)

    def tick(self) -> None:
        """One round.

        Raises:
            api.client.RegistryError: the registry is away or refuses; the ticker waits longer then.
        """
        moment = time.monotonic()
        if moment >= self._next_heartbeat:
            queue_heartbeat(self._site)
            self._next_heartbeat = moment + self._site.settings.heartbeat_s
        if moment >= self._next_progress:
            queue_progress(self._site)
            self._next_progress = moment + EVERY.total_seconds()
        self._site.border.flush()
        if moment >= self._next_pull:
            self.pull()
            self._next_pull = moment + self._site.settings.poll_s

    def pull(self) -> None:
        """Ask what there is to do, and hold the registry's history against what this site remembers of it."""
        _work, contradiction = self._site.border.pull_work()
        if contradiction is not None:
            self._log.error("the registry's history changed", detail=str(contradiction))


def queue_heartbeat(site: Site) -> None:
    """Queue a heartbeat, unless the last one still waits or no probe was run yet."""
    try:
        probe = site.last_probe()
    except StepFailedError:
        return
    with site.store.write() as session:
        if _heartbeat_waits(session):
            return
        sent_at = now()
        heartbeat = Heartbeat(
            sent_at=sent_at,
            agent_version=version("assay"),
            running=len(jobs.live_jobs(session)),
            waiting_gates=len(gates.list_gates(session)),
            probe=probe,
        )
        key = f"heartbeat-{sent_at.timestamp():.6f}"
        outbox.enqueue(session, PayloadKind.HEARTBEAT, heartbeat, subject=site.settings.site, key=key)


class LocalLoop:
    """Starts jobs as flow runs, wakes flow runs whose gate was decided, and asks for what is outstanding.

    Args:
        site: whose jobs and gates.
        prefect: the site's Prefect server.
        nudge: told the identifier of each flow run that was made or woken; a runner in this process starts it at once.
    """

    def __init__(self, site: Site, prefect: PrefectApi, nudge: Callable[[str], None] = lambda _flow_run: None) -> None:
        self._site, self._prefect, self._nudge = site, prefect, nudge
        self._changes = Changes(site.store.path)
        self._log = structlog.get_logger().bind(loop="local")
        self._next_look = 0.0
        self._unfinished = True
        self.ticker = Ticker("local", 0.05, self.tick)

    def tick(self) -> None:
        """One round, unless nothing has changed since the last one. Each part has its turn, whatever another meets.

        Raises:
            agents.errors.AgentError: the first problem that a part met.
        """
        look = time.monotonic() >= self._next_look
        if not (self._changes.seen() or self._unfinished or look):
            return
        self._unfinished = True  # until this round is through
        parts = [self._wake_decided, self._ask, self._start_jobs]
        if look:
            self._next_look = time.monotonic() + _LOOK_AT_RUNS_S
            parts += [self._end_unanswered, self._end_unwanted, self._look_at_runs, self._end_resting]
        self._unfinished = not _each(lambda part: part(), parts)

    def _ask(self) -> bool:
        if self._site.settings.start_evaluations:
            ask_for_executions(self._site)
        ask_for_releases(self._site)
        return True

    def _start_jobs(self) -> bool:
        with self._site.store.read() as session:
            waiting = jobs.to_start(session)
        return _each(self._start, waiting)

    def _start(self, job: Job) -> bool:
        with self._site.store.read() as session:
            benchmarks = benchmarks_of(session, job)
        flow_run = self._prefect.create_flow_run(
            f"{job.kind.value}/{self._site.settings.prefect_deployment}",
            {"job_id": job.id},
            idempotency_key=job.id,
            name=f"{job.kind.value} {job.subject}",
            tags=[job.kind.value, *map(benchmark_tag, benchmarks)],
        )
        with self._site.store.write() as session:
            jobs.mark_started(session, job.id, flow_run)
        self._nudge(flow_run)
        return True

    def _wake_decided(self) -> bool:
        """Wake what was decided; whether all of it is awake now."""
        with self._site.store.read() as session:
            found = [(gate, gates.valid_decision(session, gate.id)) for gate in gates.to_wake(session)]
        self._end_void([gate for gate, decision in found if decision is None])
        return _each(self._wake, [(gate, decision) for gate, decision in found if decision is not None])

    def _end_void(self, decided: list[Gate]) -> None:
        """A decision counts no longer when whoever made it may not decide any more, and nobody can make it again there."""
        for gate in decided:
            with self._site.store.write() as session:
                gates.mark_woken(session, gate.id)
                job = jobs.job_of_run(session, gate.flow_run_id)
                if job is not None:
                    why = f"what was decided no longer counts, ask for it again: {gate.title}"
                    end_job(session, job.id, JobState.CANCELLED, why)
                    self._log.warning("a decision counts no longer", gate=gate.id, title=gate.title)

    def _wake(self, decided: tuple[Gate, Decision]) -> bool:
        gate, decision = decided
        try:
            # One that is still on its way to its rest is not woken: it looks for its decision by itself, or rests soon.
            awake = self._prefect.resume(gate.flow_run_id, answer(gate, decision))
        except PrefectError:
            awake = False
        awake = awake or self._prefect.state(gate.flow_run_id)[0] in ENDED_RUNS
        if awake:
            with self._site.store.write() as session:
                gates.mark_woken(session, gate.id)
            self._nudge(gate.flow_run_id)
        return awake

    def _look_at_runs(self) -> bool:
        """Jobs whose flow run ended without saying so: cancelled by a person in Prefect's pages, crashed, or lost."""
        with self._site.store.read() as session:
            started = [job for job in jobs.live_jobs(session) if job.flow_run_id is not None]
        return _each(self._look_at, started)

    def _end_unanswered(self) -> bool:
        """Questions that nobody answered in time end what waited for them: it may be asked for again."""
        with self._site.store.write() as session:
            for gate in gates.expire(session):
                self._log.warning("a gate has expired", gate=gate.id, title=gate.title)
                job = jobs.job_of_run(session, gate.flow_run_id)
                if job is not None:
                    why = f"nobody answered until {gate.expires_at:%Y-%m-%d %H:%M} UTC: {gate.title}"
                    end_job(session, job.id, JobState.CANCELLED, why)
        return True

    def _end_unwanted(self) -> bool:
        """Evaluations that wait for a person while the registry no longer has their dataset or models in the benchmark."""
        with self._site.store.write() as session:
            resting = [
                job for job in jobs.live_jobs(session, JobKind.EVALUATE) if gates.rests(session, job.flow_run_id)
            ]
            if not resting or not self._site.home.work_file.exists():
                return True
            work = self._site.work()
            for job in resting:
                if not is_offered(work, job.parameters):
                    end_job(
                        session, job.id, JobState.CANCELLED, "it is no longer in the benchmark: withdrawn or closed"
                    )
        return True

    def _end_resting(self) -> bool:
        """Flow runs that still rest although their job has ended: also one that ended while Prefect was away."""
        ended: list[str] = []
        resting = self._prefect.resting([kind.value for kind in JobKind])
        with self._site.store.read() as session:
            for flow_run, parameters in resting:
                job = session.get(Job, str(parameters.get("job_id")))
                if job is not None and job.flow_run_id == flow_run and job.state not in LIVE_JOBS:
                    ended.append(flow_run)
        return _each(self._prefect.cancel, ended)

    def _look_at(self, job: Job) -> bool:
        kind, name = self._prefect.state(job.flow_run_id or "")
        if kind in ENDED_RUNS:
            with self._site.store.write() as session:
                end_job(session, job.id, ENDED_RUNS[kind], f"its flow run ended as {name}")
        return True


def _each(act: Callable[[_T], bool], items: Iterable[_T]) -> bool:
    """Act on each, whatever happens with the others; whether all went well.

    Raises:
        Exception: the first that was met, after the last was tried.
    """
    problem: Exception | None = None
    done = True
    for item in items:
        try:
            done = act(item) and done
        except Exception as error:  # noqa: BLE001 - raised below, once the others had their turn
            problem = problem or error
    if problem is not None:
        raise problem
    return done


def answer(gate: Gate, decision: Decision) -> dict[str, Any]:
    """A recorded decision as an answer to its gate's form in Prefect; the flow believes the record alone."""
    given: dict[str, Any] = {
        "verdict": decision.verdict.value,
        "reason": decision.reason[:_LONGEST_REASON],
        "digest": decision.digest,
    }
    return {**given, "withhold": decision.withheld} if gate.shown.get("items") else given


def benchmarks_of(session: Session, job: Job) -> list[int]:
    """The benchmarks that a job is about: whoever may see their runs finds it among them."""
    if job.kind == JobKind.PREPARE:
        return [find_dataset(session, job.subject).benchmark_id]
    if job.kind == JobKind.RELEASE:
        scores = session.exec(select(Score.benchmark_id).where(col(Score.id).in_(job.parameters.get("scores", []))))
        return sorted(set(scores))
    named = job.parameters.get("benchmark_id")
    return [] if named is None else [named]


def end_job(session: Session, job_id: str, state: JobState, message: str) -> None:
    """End a job whose flow can no longer do it itself, and what it had under way."""
    job = jobs.find_job(session, job_id)
    if job.state not in LIVE_JOBS:
        return
    jobs.finish(session, job_id, state, message=message)
    if job.kind == JobKind.PREPARE:
        with suppress(NotFoundError):  # asked for, and never begun
            if find_dataset(session, job.subject).state in _UNREGISTERED:
                update_dataset(session, job.subject, state=DatasetState.FAILED, message=message)
    if job.kind == JobKind.EVALUATE:
        parameters = job.parameters
        for execution in running_executions(session, parameters["benchmark_id"], parameters["dataset"]):
            if execution.model_id in parameters["models"]:
                end_step(session, execution, error=ErrorClass.CANCELLED, message=message)


def _heartbeat_waits(session: Session) -> bool:
    query = select(OutboxItem.id).where(
        OutboxItem.kind == PayloadKind.HEARTBEAT, col(OutboxItem.state) == OutboxState.QUEUED
    )
    return session.exec(query).first() is not None
