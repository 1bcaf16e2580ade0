"""What the site's flows share: a job's life around a flow's body, and the site's gates."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from prefect import get_run_logger
from prefect.runtime import flow_run as this_run

from agents.errors import AgentError
from agents.home import GateSettings
from agents.site import Site, current_site
from agents.store import gates, jobs
from agents.store.tables import LIVE_JOBS, Job, JobState
from flows.gates import Decision, GateRejected
from flows.pools.leaving import steps_outlive
from flows.sealing import SealedError


class SiteGateBook:
    """The site's store as the gates see it."""

    def __init__(self, site: Site) -> None:
        self._store, self._settings = site.store, site.settings.gates

    def open_gate(self, *, name: str, title: str, subject: str, shown: dict[str, Any], flow_run_id: str) -> str:
        with self._store.write() as session:
            return gates.open_gate(
                session,
                name=name,
                title=title,
                subject=subject,
                shown=shown,
                flow_run_id=flow_run_id,
                settings=self._settings.get(name, GateSettings()),
            ).id

    def decision(self, gate_id: str) -> Decision | None:
        with self._store.read() as session:
            row = gates.valid_decision(session, gate_id)
        if row is None:
            return None
        return Decision(
            gate_id=gate_id,
            verdict=row.verdict.value,
            person=row.person,
            decided_at=row.decided_at,
            digest=row.digest,
            reason=row.reason,
            withheld=tuple(row.withheld),
        )

    def suspended(self, gate_id: str) -> None:
        with self._store.write() as session:
            gates.mark_waiting(session, gate_id)


async def run_job(job_id: str, body: Callable[[Site, Job], Awaitable[None]]) -> None:
    """A flow's whole work: the job is running inside, and has ended afterwards, however the body ended.

    A rejected gate ends the job as rejected and the flow in peace. A suspension passes through: the job goes on later.
    A job that has ended stays as it ended, whoever starts its flow run again.

    Raises:
        SealedError: the body failed; the job has its message, and Prefect learns the class alone.
    """
    site = current_site()
    job = await asyncio.to_thread(_started, site, job_id)
    if job.state not in LIVE_JOBS:
        get_run_logger().info("the job ended as %s before: nothing is done again", job.state.value)
        return
    try:
        with steps_outlive(site):
            await body(site, job)
    except GateRejected as rejection:
        _finish(site, job_id, JobState.REJECTED, str(rejection))
        return
    except Exception as error:  # noqa: BLE001 - raised below, where no traceback leads back to it
        failure = error
    else:
        _finish(site, job_id, JobState.DONE)
        return
    said = str(failure) if isinstance(failure, AgentError) else f"{type(failure).__name__}: {failure}"
    _finish(site, job_id, JobState.FAILED, said)
    raise SealedError(failure)


def _started(site: Site, job_id: str) -> Job:
    with site.store.write() as session:
        jobs.mark_started(session, job_id, str(this_run.get_id()))
        return jobs.find_job(session, job_id)


def _finish(site: Site, job_id: str, state: JobState, message: str = "") -> None:
    with site.store.write() as session:
        outcome = jobs.find_job(session, job_id).outcome
        jobs.finish(session, job_id, state, message=message, outcome=outcome)


def set_outcome(site: Site, job_id: str, outcome: dict[str, Any]) -> None:
    """What the job found; shown with it when it has ended."""
    with site.store.write() as session:
        job = jobs.find_job(session, job_id)
        job.outcome = outcome
        session.add(job)


def report(site: Site, job_id: str, **progress: Any) -> None:
    with site.store.write() as session:
        jobs.report(session, job_id, **progress)


def site_decision(name: str, decision: Decision) -> dict[str, Any]:
    """A decision as it travels with a payload (api.schemas.border.SiteDecision)."""
    return {
        "gate": name,
        "verdict": decision.verdict,
        "person": decision.person,
        "decided_at": decision.decided_at,
        "digest": decision.digest,
        "reason": decision.reason,
    }
