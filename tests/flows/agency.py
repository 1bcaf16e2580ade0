"""A hospital whose flows really run: warm, on the real Prefect server, asked for and woken by the agent's own loop."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import pytest
from sqlmodel import select

from agents.loop import LocalLoop
from agents.prefect_api import MISSING, PrefectApi
from agents.store import gates, jobs
from agents.store.datasets import add_dataset, find_dataset
from agents.store.executions import list_executions, scores_in
from agents.store.people import add_person
from agents.store.tables import (
    LIVE_JOBS,
    Dataset,
    Execution,
    Gate,
    GateState,
    Job,
    JobKind,
    OutboxItem,
    Person,
    Role,
    Score,
    ScoreState,
)
from api.schemas.benchmarks import Verdict
from api.schemas.border import PayloadKind
from flows.deployments import SITE, site_flows
from flows.warm import WarmRunner
from tests.hospital import Hospital, without_prefect

ENDED: Final = frozenset({"CANCELLED", "COMPLETED", "CRASHED", "FAILED", MISSING})
LONG_S: Final = 240.0
Until = Callable[..., None]


@dataclass
class Agency:
    """A site's agent in this process, but for its own server: make it with `agency(...)`."""

    here: Hospital
    api: PrefectApi
    until: Until
    operator: Person = field(init=False)
    operator_token: str = field(init=False)
    _runner: WarmRunner | None = None
    _loop: LocalLoop | None = None

    def __post_init__(self) -> None:
        with self.here.site.store.write() as session:
            self.operator, self.operator_token = add_person(
                session, email="op@north.example", name="Operator", role=Role.OPERATOR
            )

    def start(self) -> None:
        site = self.here.site
        lock = site.home.path / "flows.lock"
        self._runner = WarmRunner(site_flows(), deployment=SITE, api_url=self.api.url, lock=lock)
        self._runner.start()
        self._loop = LocalLoop(site, self.api, self._runner.nudge)
        self._loop.ticker.start()

    def stop(self) -> None:
        if self._loop is not None:
            self._loop.ticker.stop()
        if self._runner is not None:
            self._runner.stop()
        self._loop = self._runner = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """The agent is stopped, and started again after the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    # What people do.

    def prepare(self, name: str) -> Job:
        raw = self.here.raw
        with self.here.site.store.write() as session:
            add_dataset(
                session,
                name=name,
                title="Dataset",
                benchmark_id=1,
                data_path=raw / "data",
                labels_path=raw / "labels",
                requested_by=self.here.owner.id or 0,
            )
        return self.order(JobKind.PREPARE, name)

    def register_at_once(self, name: str) -> None:
        """A registered dataset without a flow run: where another flow is under test."""
        # The agent would find the job, and run it a second time.
        with self.away(), pytest.MonkeyPatch.context() as patch:
            without_prefect(self.here, patch)
            self.here.prepare(name)
        self.here.site.border.flush()
        self.here.offer()

    def evaluate(self, *models: int, name: str, retry_failed: bool = False) -> Job:
        parameters = {"benchmark_id": 1, "dataset": name, "models": list(models), "retry_failed": retry_failed}
        return self.order(JobKind.EVALUATE, name, **parameters)

    def order(self, kind: JobKind, subject: str, **parameters: Any) -> Job:
        with self.here.site.store.write() as session:
            return jobs.ask(
                session, kind, subject=subject, parameters=parameters, requested_by=self.operator.id, only_one=False
            )

    def gate(self, job: Job, *, limit_s: float = LONG_S) -> Gate:
        """The gate at which a job's flow run has come to rest."""
        found: list[Gate] = []

        def waits() -> bool:
            current = self.job(job)
            assert current.state in LIVE_JOBS, f"{current.kind} ended as {current.state}: {current.message}"
            with self.here.site.store.read() as session:
                gate = gates.gate_of_run(session, current.flow_run_id)
            found[:] = [] if gate is None else [gate]
            rests = gate is not None and gate.state == GateState.WAITING and self.state(job) == "PAUSED"
            return rests and not self.holds(job)

        self.until(waits, f"the gate of {job.kind.value} {job.subject}", limit_s=limit_s)
        return found[0]

    def decide(
        self,
        gate: Gate,
        verdict: Verdict = Verdict.APPROVE,
        *,
        person: Person | None = None,
        withheld: list[str] | None = None,
        reason: str = "looked at it",
    ) -> None:
        with self.here.site.store.write() as session:
            gates.decide(
                session,
                gate_id=gate.id,
                digest=gate.digest,
                verdict=verdict,
                person=person or self.here.owner,
                reason=reason,
                withheld=withheld,
            )

    def approve(self, job: Job, **options: Any) -> Job:
        """The job's end, after its gate was approved."""
        self.decide(self.gate(job), **options)
        return self.end(job)

    def run(self, *models: int, name: str, **options: Any) -> Job:
        """The end of an evaluation that was approved."""
        return self.approve(self.evaluate(*models, name=name, **options))

    def type(self, *words: str, agent: bool = True) -> subprocess.CompletedProcess[str]:
        """Type a command at the site, as its operator; with `agent`, it finds Prefect as a running agent says where it is."""
        home = self.here.site.home
        if agent:
            home.prefect_url_file.write_text(self.api.url + "\n")
        else:
            home.prefect_url_file.unlink(missing_ok=True)
        return subprocess.run(
            [sys.executable, "-c", "from cli.main import main; main()", *words],
            env={**os.environ, "ASSAY_SITE_HOME": str(home.path), "ASSAY_SITE_TOKEN": self.operator_token},
            capture_output=True,
            text=True,
            check=False,
        )

    # What came of it.

    def job(self, job: Job) -> Job:
        with self.here.site.store.read() as session:
            return jobs.find_job(session, job.id)

    def end(self, job: Job, *, limit_s: float = LONG_S) -> Job:
        """The job when it has ended, and its flow run with it."""
        self.until(
            lambda: self.job(job).state not in LIVE_JOBS and self.state(job) in ENDED,
            f"the end of {job.kind.value} {job.subject}",
            limit_s=limit_s,
        )
        return self.job(job)

    def holds(self, job: Job) -> bool:
        """Whether anything of a job's flow run lives in this process."""
        executor = None if self._runner is None else self._runner._executor
        return executor is not None and self.job(job).flow_run_id in {str(live) for live in executor.live}

    def state(self, job: Job) -> str:
        flow_run = self.job(job).flow_run_id
        return "NONE" if flow_run is None else self.api.state(flow_run)[0]

    def release_of(self, name: str) -> Job:
        """The release that the agent asks for by itself when all that was evaluated is through."""
        found: list[Job] = []

        def asked() -> bool:
            with self.here.site.store.read() as session:
                live = jobs.live_jobs(session, JobKind.RELEASE)
            found[:] = [job for job in live if job.subject == name]
            return bool(found)

        self.until(asked, f"the release of {name}")
        return found[0]

    def dataset(self, name: str) -> Dataset:
        with self.here.site.store.read() as session:
            return find_dataset(session, name)

    def executions(self, name: str) -> dict[str, Execution]:
        """By the model's name, the newest of each."""
        with self.here.site.store.read() as session:
            return {row.model_name: row for row in list_executions(session) if row.dataset_name == name}

    def scores(self, name: str, *states: ScoreState) -> list[Score]:
        with self.here.site.store.read() as session:
            return [score for score in scores_in(session, *(states or ScoreState)) if score.dataset_name == name]

    def queued(self, kind: PayloadKind) -> list[OutboxItem]:
        with self.here.site.store.read() as session:
            return list(session.exec(select(OutboxItem).where(OutboxItem.kind == kind)))

    def task_runs(self, job: Job) -> list[dict[str, Any]]:
        """The task runs of a job's flow run, as Prefect has them."""
        wanted = {"flow_runs": {"id": {"any_": [self.job(job).flow_run_id]}}, "sort": "EXPECTED_START_TIME_ASC"}
        answer = httpx2.post(f"{self.api.url}/task_runs/filter", json=wanted, trust_env=False)
        answer.raise_for_status()
        return list(answer.json())

    def steps(self) -> Counter[str]:
        """How often each task of a cube ran at this site: every attempt leaves a log of its own, for ever."""
        names = (path.stem for path in self.here.site.home.folder("logs").glob("*.log"))
        return Counter(name.rsplit("-", 3)[1] for name in names)


@contextmanager
def agency(here: Hospital, api: PrefectApi, until: Until) -> Iterator[Agency]:
    """A started agency; what its flow runs left undone is cancelled at its end."""
    made = Agency(here, api, until)
    made.start()
    try:
        yield made
    finally:
        with here.site.store.read() as session:
            left = [job.flow_run_id for job in jobs.live_jobs(session) if job.flow_run_id]
        for flow_run in left:
            api.cancel(flow_run)
        made.stop()
