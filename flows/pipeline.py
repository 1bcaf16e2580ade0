"""The five steps as Prefect tasks: prepare, sanity check, statistics, infer, evaluate.

Each is idempotent by what it leaves on disk, named by content: a flow that wakes up, or starts again after a crash, walks
through what is done without running it again.
"""

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.errors import InvalidInputError, StepFailedError
from agents.home import write_private
from agents.manifest import Manifest, build_manifest
from agents.measured import keep_more
from agents.runtimes.protocol import CubeBundle
from agents.site import Site, current_site
from agents.staging import PLACES, Stage, is_staged, output_places, read_stage, write_stage
from agents.steps import StepOutputs, make_ready, run_step
from agents.verification import dataset_parts
from api.schemas.border import ErrorClass, Isolation, ProbeOutcome
from api.schemas.cubes import CubeRef
from cubes.contract import TaskName
from cubes.digests import digest_of, short
from cubes.errors import ReportError
from cubes.metrics import MetricSchema
from cubes.reports import read_metrics, read_more, read_statistics
from flows.alone import alone
from flows.sealing import step
from flows.watching import watching

PARTS = {"data": "data_path", "labels": "labels_path", "metadata": "metadata_path"}
_RESULTS = {TaskName.INFER: "output_path", TaskName.EVALUATE: "output_path", TaskName.RUN_SCRIPT: "results_path"}
"""A task to where it writes."""
_SCORED = {TaskName.EVALUATE: ("predictions", "labels"), TaskName.RUN_SCRIPT: ("data_path", "labels_path")}
"""A task that scores to its names for predictions and labels."""


def _nothing() -> None:
    """Nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared dataset on disk: `data`, `labels`, perhaps `metadata`, and beside them manifest and statistics."""

    folder: Path

    @property
    def parts(self) -> dict[str, Path]:
        """Part name to folder. A cube without labels of its own keeps them with the data."""
        return dataset_parts(self.folder)

    @property
    def is_whole(self) -> bool:
        """The manifest is written last: with it, everything is there."""
        return (self.folder / "manifest.json").exists()

    @property
    def inputs(self) -> dict[str, Path]:
        return {PARTS[part]: path for part, path in self.parts.items()}

    @property
    def manifest(self) -> Manifest:
        return Manifest.model_validate_json((self.folder / "manifest.json").read_text(encoding="utf-8"))

    @property
    def statistics(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "statistics.json").read_text(encoding="utf-8")))

    @property
    def cases(self) -> int:
        """As the statistics say under `cases`; a cube that does not count has as many cases as data files."""
        cases = self.statistics.get("cases")
        if isinstance(cases, int) and not isinstance(cases, bool):
            return cases
        return len(self.manifest.parts["data"])


def preparation_folder(cube: CubeRef, raw: Manifest) -> Path:
    """Where the outcome of this preparator on these raw files lies, whoever asks."""
    identity = digest_of({"cube": cube.pack_digest, "parameters": cube.parameters_digest, "raw": raw.root})
    return current_site().home.folder("prepared") / short(identity)


@step("prepare")
async def prepare(cube: CubeRef, raw: dict[str, Path], folder: Path, label: str) -> Prepared:
    """Raw folders (`data`, `labels`) to a prepared dataset with its manifest.

    A staged preparator goes on with what it left in the folder; the manifest is written once that is sane.

    Raises:
        StepFailedError: the preparator failed.
    """
    prepared = Prepared(folder)
    async with alone(folder):
        if not prepared.is_whole:
            site = current_site()
            bundle = await make_ready(site, cube)
            inputs = {"data_path": raw["data"], "labels_path": raw["labels"]}
            if is_staged(bundle.contract):
                await _run_stage(site, bundle, inputs, prepared, label)
            else:
                outputs = await run_step(site, bundle, TaskName.PREPARE, inputs, label, listener=watching(site))
                await asyncio.to_thread(_keep_prepared, outputs, prepared)
    return prepared


@step("sanity_check")
async def sanity_check(cube: CubeRef, prepared: Prepared, label: str) -> None:
    """Let the preparator look over what it made; what is sane is whole.

    Raises:
        StepFailedError: the data are not sane.
    """
    async with alone(prepared.folder):
        if (prepared.folder / "sane").exists():
            return
        site = current_site()
        bundle = await make_ready(site, cube)
        listener = watching(site)
        (await run_step(site, bundle, TaskName.SANITY_CHECK, prepared.inputs, label, listener=listener)).discard()
        if not prepared.is_whole:
            await asyncio.to_thread(_seal, prepared)
        write_private(prepared.folder / "sane", "")


@step("statistics")
async def compute_statistics(cube: CubeRef, prepared: Prepared, label: str) -> dict[str, Any]:
    """The statistics of a prepared dataset, as the preparator reports them.

    Raises:
        StepFailedError: the step failed, or its report cannot be read.
    """
    async with alone(prepared.folder):
        if not (prepared.folder / "statistics.json").exists():
            site = current_site()
            bundle = await make_ready(site, cube)
            listener = watching(site)
            outputs = await run_step(site, bundle, TaskName.STATISTICS, prepared.inputs, label, listener=listener)
            try:
                statistics = read_statistics(outputs.volumes["output_path"])
            except ReportError as error:
                raise StepFailedError(str(error), ErrorClass.OUTPUT_MALFORMED, 0) from error
            finally:
                outputs.discard()
            write_private(prepared.folder / "statistics.json", json.dumps(statistics))
    return prepared.statistics


@step("infer")
async def infer(
    cube: CubeRef,
    prepared: Prepared,
    folder: Path,
    label: str,
    *,
    begun: Callable[[], None] = _nothing,
    waits: Callable[[str], None] | None = None,
) -> Path:
    """A model's predictions for a prepared dataset. The step gets the data and never the labels.

    Predictions that are whole already need no step: ask `predictions_are_whole` before.

    Args:
        cube: the model.
        prepared: the dataset.
        folder: of the execution.
        label: for people.
        begun: called when the step has its slot.
        waits: called with why it does not run yet.

    Returns:
        The folder of predictions below `folder`.

    Raises:
        StepFailedError: the model failed.
    """
    site = current_site()
    bundle = await make_ready(site, cube)
    task = _task_of(bundle, TaskName.INFER)
    inputs = {"data_path": prepared.parts["data"]}
    outputs = await run_step(site, bundle, task, inputs, label, begun=begun, listener=watching(site, waits))
    try:
        outputs.keep(_RESULTS[task], folder / "predictions")
    finally:
        outputs.discard()
    manifest = await asyncio.to_thread(build_manifest, {"data": folder / "predictions"})
    write_private(folder / "probe.json", outputs.probe.model_dump_json())
    write_private(folder / "predictions.json", manifest.model_dump_json())
    return folder / "predictions"


@step("evaluate")
async def evaluate(
    cube: CubeRef,
    predictions: Path,
    prepared: Prepared,
    *,
    schemas: list[MetricSchema],
    folder: Path,
    label: str,
    begun: Callable[[], None] = _nothing,
    waits: Callable[[str], None] | None = None,
) -> dict[str, float]:
    """The benchmark's metrics of predictions against labels. What else is measured stays in `folder`, at the site.

    Raises:
        StepFailedError: the metrics cube failed, or its report does not fit the benchmark's metrics.
    """
    site = current_site()
    bundle = await make_ready(site, cube)
    task = _task_of(bundle, TaskName.EVALUATE)
    inputs = dict(zip(_SCORED[task], (predictions, prepared.parts["labels"]), strict=True))
    listener = watching(site, waits)
    outputs = await run_step(site, bundle, task, inputs, label, begun=begun, listener=listener)
    try:
        report = outputs.volumes[_RESULTS[task]]
        metrics = read_metrics(report, schemas)
        keep_more(folder, read_more(report, schemas))
        if "local_outputs_path" in outputs.volumes:
            outputs.keep("local_outputs_path", folder / "local_outputs")
    except ReportError as error:
        raise StepFailedError(str(error), ErrorClass.OUTPUT_MALFORMED, 0) from error
    finally:
        outputs.discard()
    return metrics


def _task_of(bundle: CubeBundle, task: TaskName) -> TaskName:
    """The task that a cube has for a step: its own, or a script's only one. A script that reads labels scores, no other does."""
    tasks = bundle.contract.tasks
    if task in tasks or TaskName.RUN_SCRIPT not in tasks:
        return task
    scores = "labels_path" in tasks[TaskName.RUN_SCRIPT].input_volumes
    return TaskName.RUN_SCRIPT if scores == (task == TaskName.EVALUATE) else task


def predictions_are_whole(folder: Path) -> bool:
    """Whether `folder` holds predictions that are, byte for byte, what `infer` left there."""
    try:
        manifest = Manifest.model_validate_json((folder / "predictions.json").read_text(encoding="utf-8"))
        ProbeOutcome.model_validate_json((folder / "probe.json").read_bytes())
        return build_manifest({"data": folder / "predictions"}).root == manifest.root
    except (OSError, ValueError, InvalidInputError):
        return False


def weaker_probe(folder: Path, probe: ProbeOutcome) -> ProbeOutcome:
    """What stands on a score: the probe under which its predictions were made, if steps were not isolated then.

    Whom the model could ask stands there in any case.
    """
    then = ProbeOutcome.model_validate_json((folder / "probe.json").read_bytes())
    weaker = probe if then.isolation == Isolation.ISOLATED else then
    return weaker.model_copy(update={"only_host": then.only_host})


def verify(name: str, prepared: Prepared, registered_root: str, *, full: bool = False) -> None:
    """Compare the whole dataset with what was registered; with `full`, every byte of it, whatever was seen before.

    Raises:
        DatasetChangedError: with both roots.
    """
    current_site().verify(name, prepared.folder, registered_root, full=full)


async def _run_stage(site: Site, bundle: CubeBundle, inputs: dict[str, Path], prepared: Prepared, label: str) -> None:
    """Run `prepare` on what it has made so far."""
    folder = prepared.folder
    (folder / "sane").unlink(missing_ok=True)
    places = output_places(folder, bundle.contract.tasks[TaskName.PREPARE])
    listener = watching(site)
    (await run_step(site, bundle, TaskName.PREPARE, inputs, label, outputs=places, listener=listener)).discard()
    write_stage(folder, Stage(runs=read_stage(folder).runs + 1))


def _seal(prepared: Prepared) -> None:
    write_private(prepared.folder / "manifest.json", build_manifest(prepared.parts).model_dump_json())


def _keep_prepared(outputs: StepOutputs, prepared: Prepared) -> None:
    try:
        shutil.rmtree(prepared.folder, ignore_errors=True)
        prepared.folder.mkdir(mode=0o700, parents=True)
        for volume, part in PLACES.items():
            if volume in outputs.volumes:
                outputs.keep(volume, prepared.folder / part)
    finally:
        outputs.discard()
    _seal(prepared)
