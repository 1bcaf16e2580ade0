"""`assay job`: what a site is asked to do."""

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.connect import AtSite, site_store
from cli.options import DAY_S, Json, Limit, Timeout, noun
from cli.output import Column, emit_done, emit_list, plain, say, when
from cli.render import emit_one
from cli.waiting import describe_progress, require_good_end, wait_for_job

if TYPE_CHECKING:
    from sqlmodel import Session

    from agents.prefect_api import PrefectApi
    from agents.store.tables import Job

app = noun("Jobs of a site: list, show, wait, cancel.")
JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's identifier, or at least its first four characters.")
]

_COLUMNS = (
    Column("job", "id", lambda value: str(value)[:8]),
    Column("kind", "kind"),
    Column("about", "subject"),
    Column("state", "state"),
    Column("progress", "progress_text"),
    Column("asked for (UTC)", "created_at", when),
)


@app.command("list")
def list_jobs(
    *,
    live: Annotated[bool, typer.Option("--live", help="Only those that have not ended.")] = False,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Jobs of the site, newest first."""
    from agents.store import jobs

    with site_store() as here, here.store.read() as session:
        found = jobs.live_jobs(session)[::-1][:limit] if live else jobs.list_jobs(session, limit=limit)
        records = [_record(session, job) for job in found]
    emit_list(records, _COLUMNS, as_json=as_json, empty="No jobs.")


@app.command()
def show(job: JobId, *, as_json: Json = False) -> None:
    """One job: parameters, progress, outcome, and why it failed."""
    with site_store() as here, here.store.read() as session:
        emit_one(_record(session, _find(session, job)), as_json=as_json)


@app.command()
def wait(
    job: JobId,
    *,
    through_gates: Annotated[
        bool, typer.Option("--through-gates", help="Wait on while a person decides; else return when one is asked.")
    ] = False,
    timeout: Timeout = DAY_S,
    as_json: Json = False,
) -> None:
    """Wait until a job has ended, or until a person is asked. Exit code 9: rejected, 10: failed, 12: timed out."""
    with site_store() as here:
        with here.store.read() as session:
            job_id = _find(session, job).id
        tell_end(here, job_id, through_gates=through_gates, timeout_s=timeout, as_json=as_json)


@app.command()
def cancel(job: JobId, *, as_json: Json = False) -> None:
    """End a job. Steps that run are ended; nothing that waited for a decision is asked any more."""
    from agents.store.tables import LIVE_JOBS
    from cli.errors import ConflictError

    with site_store("start") as here:
        with here.store.read() as session:
            found = _find(session, job)
        if found.state not in LIVE_JOBS:
            raise ConflictError(f"job {found.id[:8]!r} has ended as {found.state.value!r}: there is nothing to cancel")
        ended = _cancel(here, found)
        emit_done(ended, f"{ended.kind.value} {ended.subject}: {ended.state.value}.", as_json=as_json)


def tell_end(here: AtSite, job_id: str, *, through_gates: bool, timeout_s: float, as_json: bool) -> None:
    """Wait for a job and say how it ended, or where it asks a person."""
    job, gate = wait_for_job(here.store, job_id, through_gates=through_gates, timeout_s=timeout_s)
    if as_json:
        emit_one({**plain(job), "gate_id": None if gate is None else gate.id}, as_json=True)
    elif gate is not None:
        say(f"{gate.title} A data owner decides:\n  assay gate show {gate.id[:8]}")
    else:
        say(f"{job.kind.value} {job.subject}: {job.state.value}.")
    if gate is None:
        require_good_end(job)


def _cancel(here: AtSite, job: "Job") -> "Job":
    from agents.cancelling import cancel_job

    with ExitStack() as stack:
        found = _prefect(here, job) if job.flow_run_id is not None else None
        prefect = None if found is None else stack.enter_context(closing(found))
        return cancel_job(here.store, prefect, job, by=here.person.label)


def _prefect(here: AtSite, job: "Job") -> "PrefectApi | None":
    """The site's Prefect server; none is needed for a job that rests: its flow run ends when the agent is back."""
    from agents.prefect_api import PrefectApi
    from agents.store.gates import rests
    from cli import profiles
    from cli.errors import NotSetUpError

    try:
        url = here.home.prefect_url_file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        with here.store.read() as session:
            if rests(session, job.flow_run_id):
                return None
        raise NotSetUpError("the site's Prefect server is not running: start the agent, which ends what runs") from None
    return PrefectApi(url, {"Authorization": f"Bearer {profiles.current().person()}"})


def _find(session: "Session", reference: str) -> "Job":
    from agents.store.jobs import find_job_by_beginning

    return find_job_by_beginning(session, reference)


def _record(session: "Session", job: "Job") -> dict[str, Any]:
    from agents.store.gates import gate_of_run

    gate = gate_of_run(session, job.flow_run_id)
    progress = describe_progress(job, gate) if job.finished_at is None else job.message or "-"
    return {**plain(job), "gate_id": None if gate is None else gate.id, "progress_text": progress}
