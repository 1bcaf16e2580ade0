"""Site flow `prepare`: raw data to a registered dataset, with a gate before anything is said about it outside."""

import asyncio
from pathlib import Path
from typing import Any

from prefect import flow
from sqlmodel import Session

from agents.errors import HomeError
from agents.manifest import build_manifest
from agents.planner import find_benchmark
from agents.site import Site
from agents.store import outbox
from agents.store.datasets import find_dataset, update_dataset
from agents.store.gates import decision_of
from agents.store.tables import DatasetState, Job
from api.schemas.border import DatasetRegistration, PayloadKind, SiteDecision
from api.schemas.records import BenchmarkWork
from cubes.digests import short
from flows.describe import describe_registration
from flows.gates import Decision, GateRejected, hold
from flows.job_runs import SiteGateBook, report, run_job, site_decision
from flows.pipeline import Prepared, compute_statistics, preparation_folder, verify
from flows.staged import prepared_with_people

GATE = "register_dataset"


@flow(name="prepare", persist_result=False)
async def prepare_flow(job_id: str) -> None:
    """Prepare, check, count; then ask: register this dataset, with these statistics?"""
    await run_job(job_id, _prepare_dataset)


async def _prepare_dataset(site: Site, job: Job) -> None:
    name = job.subject
    try:
        benchmark, prepared = await _prepare(site, job)
        decision = await hold(
            SiteGateBook(site),
            name=GATE,
            title=f"Register dataset {name} with these statistics?",
            subject=name,
            show=lambda: _shown(site, name, benchmark, prepared),
            describe=describe_registration,
        )
    except GateRejected as rejection:
        _set_state(site, name, DatasetState.REJECTED, str(rejection))
        raise
    except Exception as error:
        _set_state(site, name, DatasetState.FAILED, str(error))
        raise
    _register(site, decision)


async def _prepare(site: Site, job: Job) -> tuple[BenchmarkWork, Prepared]:
    job_id, name = job.id, job.subject
    with site.store.read() as session:
        dataset = find_dataset(session, name)
    benchmark = find_benchmark(site.work(), dataset.benchmark_id)
    if benchmark is None:
        raise HomeError(f"the registry does not offer benchmark {dataset.benchmark_id} to this site: is it approved?")
    raw = {"data": Path(dataset.data_path), "labels": Path(dataset.labels_path)}
    raw_manifest = await asyncio.to_thread(build_manifest, raw)
    folder = preparation_folder(benchmark.preparator, raw_manifest)
    prepared = await prepared_with_people(site, job, benchmark.preparator, raw, folder)
    report(site, job_id, step="statistics")
    statistics = await compute_statistics(benchmark.preparator, prepared, name)
    with site.store.write() as session:
        _update(
            session,
            name,
            folder=str(folder),
            root=prepared.manifest.root,
            cases=prepared.cases,
            statistics=statistics,
            preparator_digest=benchmark.preparator.pack_digest,
            state=DatasetState.PREPARED,
        )
    report(site, job_id, step="gate")
    return benchmark, prepared


async def _shown(site: Site, name: str, benchmark: BenchmarkWork, prepared: Prepared) -> dict[str, Any]:
    """What would be registered now, read from disk again: what changed since the last look is another digest."""
    manifest = prepared.manifest
    await asyncio.to_thread(verify, name, prepared, manifest.root, full=True)
    with site.store.read() as session:
        dataset = find_dataset(session, name)
    return {
        "benchmark": {"id": benchmark.benchmark_id, "name": benchmark.name, "title": benchmark.title},
        "dataset": {"name": name, "title": dataset.title, "cases": prepared.cases},
        "preparator": {"name": benchmark.preparator.name, "pack_digest": benchmark.preparator.pack_digest},
        "roots": {
            "dataset": manifest.root,
            **{part: manifest.root_of(part) for part in ("data", "labels", "metadata")},
        },
        "sanity_check": "passed",
        "statistics": prepared.statistics,
    }


def _register(site: Site, decision: Decision) -> None:
    """Queue the registration: exactly what was shown, nothing that is read anew."""
    shown, roots = decision.shown, decision.shown["roots"]
    registration = DatasetRegistration(
        name=shown["dataset"]["name"],
        title=shown["dataset"]["title"],
        benchmark_id=shown["benchmark"]["id"],
        preparator_digest=shown["preparator"]["pack_digest"],
        root=roots["dataset"],
        data_root=roots["data"],
        labels_root=roots["labels"],
        metadata_root=roots["metadata"],
        cases=shown["dataset"]["cases"],
        statistics=shown["statistics"],
        decision=SiteDecision.model_validate(site_decision(GATE, decision)),
    )
    with site.store.write() as session:
        outbox.enqueue(
            session,
            PayloadKind.DATASET,
            registration,
            subject=registration.name,
            key=f"dataset-{short(registration.root)}-{decision.gate_id}",
            decision=decision_of(session, decision.gate_id),
        )


def _set_state(site: Site, name: str, state: DatasetState, message: str) -> None:
    with site.store.write() as session:
        _update(session, name, state=state, message=message[:20_000])


def _update(session: Session, name: str, **changes: Any) -> None:
    """Change a dataset, unless this very run has registered it before it broke off."""
    if find_dataset(session, name).state != DatasetState.REGISTERED:
        update_dataset(session, name, **changes)
