"""Flow `compatibility`: the whole pipeline on a benchmark's public demo dataset, before an association is asked for."""

import asyncio
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml
from prefect import flow

from agents.errors import InvalidInputError
from agents.manifest import build_manifest
from agents.orders import CompatibilityOrder
from agents.site import Site
from agents.store.tables import Job
from api.schemas.benchmarks import Compatibility
from api.storage.columns import now
from cubes.packing import UnpackLimits, unpack
from flows.alone import alone
from flows.job_runs import report, run_job, set_outcome
from flows.pipeline import (
    Prepared,
    compute_statistics,
    evaluate,
    infer,
    preparation_folder,
    prepare,
    sanity_check,
)


@flow(name="compatibility", persist_result=False)
async def compatibility_flow(job_id: str) -> None:
    """Prepare, check, count, infer and evaluate the demo dataset; nothing is asked and nothing leaves."""
    await run_job(job_id, _try_out)


async def _try_out(site: Site, job: Job) -> None:
    order = CompatibilityOrder.model_validate(job.parameters)
    work = Path(await asyncio.to_thread(mkdtemp, prefix="compatibility-", dir=site.home.folder("attempts")))
    try:
        metrics = await _run(site, job.id, order, work, order.model.name)
    finally:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
    outcome = Compatibility(
        demo_dataset_digest=order.demo_dataset_digest,
        model_digest=order.model.pack_digest,
        metrics_digest=order.metrics_cube.pack_digest,
        metrics=metrics,
        finished_at=now(),
    )
    set_outcome(site, job.id, outcome.model_dump(mode="json"))


async def _run(site: Site, job_id: str, order: CompatibilityOrder, work: Path, name: str) -> dict[str, float]:
    async with alone(site.home.folder("demo")):
        raw = await asyncio.to_thread(_demo_dataset, site, order.demo_dataset_digest)
    manifest = await asyncio.to_thread(build_manifest, raw)
    report(site, job_id, step="prepare")
    prepared: Prepared = await prepare(order.preparator, raw, preparation_folder(order.preparator, manifest), name)
    report(site, job_id, step="sanity_check")
    await sanity_check(order.preparator, prepared, name)
    report(site, job_id, step="statistics")
    await compute_statistics(order.preparator, prepared, name)
    report(site, job_id, step="infer")
    predictions = await infer(order.model, prepared, work, name)
    report(site, job_id, step="evaluate")
    return await evaluate(order.metrics_cube, predictions, prepared, schemas=order.metrics, folder=work, label=name)


def _demo_dataset(site: Site, digest: str) -> dict[str, Path]:
    """The raw folders of a demo dataset, fetched and unpacked once."""
    folder = site.home.folder("demo") / digest.removeprefix("sha256:")[:12]
    if not folder.exists():
        archive = folder.with_suffix(".tar")
        try:
            site.carried.fetch(digest, archive)
            unpack(archive, folder, UnpackLimits())
        finally:
            archive.unlink(missing_ok=True)
    return _raw_folders(folder)


def _raw_folders(folder: Path) -> dict[str, Path]:
    paths: Any = yaml.safe_load((folder / "paths.yaml").read_text(encoding="utf-8"))
    if not isinstance(paths, dict):
        raise InvalidInputError("the demo dataset's paths.yaml is not a mapping: it names data_path and labels_path")
    found: dict[str, Path] = {}
    for part, key in (("data", "data_path"), ("labels", "labels_path")):
        target = (folder / str(paths.get(key, ""))).resolve()
        if not target.is_dir() or not target.is_relative_to(folder.resolve()) or target == folder.resolve():
            raise InvalidInputError(f"the demo dataset's paths.yaml names no folder of its own under {key!r}")
        found[part] = target
    return found
