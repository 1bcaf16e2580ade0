"""A model owner's workbench: models against a benchmark's demo dataset, on the owner's own host."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_hex
from tempfile import mkdtemp
from typing import Final

from agents.home import SiteSettings, create_home
from agents.orders import CompatibilityOrder
from agents.site import Site
from agents.store import jobs
from agents.store.tables import LIVE_JOBS, Job, JobKind, JobState
from api.client import RegistryClient
from api.schemas.benchmarks import BenchmarkPublic, Compatibility
from api.schemas.cubes import CubePublic, CubeRef, ModelPublic
from cli import profiles
from cli.processes.site_process import prefect_database, running_site
from flows.server.databases import drop_prefect_database

DATABASE_VARIABLE: Final = "ASSAY_BENCH_DATABASE_URL"
"""A PostgreSQL to use for the time of the check; an embedded one when it is not set."""
_LOOK_EVERY_S: Final = 0.2


def check_models(
    client: RegistryClient, benchmark: BenchmarkPublic, models: Sequence[ModelPublic], *, tell: Callable[[str], None]
) -> list[Compatibility | str]:
    """Run each model through the whole pipeline on the demo dataset, in a temporary site of one's own.

    Args:
        client: as the models' owner.
        benchmark: whose cubes and demo dataset.
        models: all of them are tried, whatever the others do.
        tell: told how far it is.

    Returns:
        For each model what was measured, or why nothing was.
    """
    orders = [_order(client, benchmark, model) for model in models]
    url, token = profiles.current().registry()
    folder = Path(mkdtemp(prefix="assay-bench-"))
    settings = SiteSettings(
        site=f"workbench-{token_hex(4)}",
        registry_url=url,
        start_evaluations=False,
        prefect_database_url=os.environ.get(DATABASE_VARIABLE),
    )
    try:
        home = create_home(folder / "home", settings, token)
        tell("starting the workbench")
        with running_site(home.path, with_registry=False) as running:
            return _run_all(running.site, orders, tell)
    finally:
        if settings.prefect_database_url is not None:
            drop_prefect_database(settings.prefect_database_url, prefect_database(settings.site))
        shutil.rmtree(folder, ignore_errors=True)


def _run_all(site: Site, orders: list[CompatibilityOrder], tell: Callable[[str], None]) -> list[Compatibility | str]:
    with site.store.write() as session:
        asked = [
            jobs.ask(
                session,
                JobKind.COMPATIBILITY,
                subject=order.model.name,
                parameters=order.model_dump(mode="json"),
                requested_by=None,
                only_one=False,
            ).id
            for order in orders
        ]
    while True:
        with site.store.read() as session:
            found = [jobs.find_job(session, job_id) for job_id in asked]
        live = [job for job in found if job.state in LIVE_JOBS]
        tell(f"{len(found) - len(live)} of {len(found)} models" + "".join(f", {_where(job)}" for job in live[:2]))
        if not live:
            return [_outcome(job) for job in found]
        time.sleep(_LOOK_EVERY_S)


def _where(job: Job) -> str:
    return f"{job.subject}: {job.progress.get('step', 'waiting')}"


def _outcome(job: Job) -> Compatibility | str:
    if job.state == JobState.DONE:
        return Compatibility.model_validate(job.outcome)
    return job.message or f"ended as {job.state.value}"


def _order(client: RegistryClient, benchmark: BenchmarkPublic, model: ModelPublic) -> CompatibilityOrder:
    return CompatibilityOrder(
        demo_dataset_digest=benchmark.demo_dataset_digest,
        preparator=_ref(client.cubes.get(benchmark.preparator_cube_id)),
        metrics_cube=_ref(client.cubes.get(benchmark.metrics_cube_id)),
        metrics=benchmark.metrics,
        model=_ref(client.cubes.get(model.cube_id)),
    )


def _ref(cube: CubePublic) -> CubeRef:
    return CubeRef.model_validate(cube.model_dump(include=set(CubeRef.model_fields)))
