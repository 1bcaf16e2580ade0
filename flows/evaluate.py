"""Site flow `evaluate`: run approved models on a dataset here, as wide as the site's slots."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from prefect import flow

from agents.errors import AgentError, DatasetChangedError, StepFailedError
from agents.measured import execution_folder, score_folder
from agents.planner import Unit, find_benchmark, outstanding, shown_for, units
from agents.site import Site, current_site
from agents.store.datasets import dataset_by_registration
from agents.store.executions import begin_step, end_step, note_waiting, save_score
from agents.store.tables import Dataset, Execution, Job, Score
from api.schemas.border import ErrorClass, ProbeOutcome, Step
from api.schemas.records import BenchmarkWork, DatasetWork
from api.storage.columns import now
from cubes.digests import tag_non_finite
from flows.alone import alone
from flows.describe import describe_evaluation
from flows.gates import hold
from flows.job_runs import SiteGateBook, report, run_job, set_outcome
from flows.pipeline import Prepared, evaluate, infer, predictions_are_whole, verify, weaker_probe
from flows.sealing import step

GATE = "run_models"


@flow(name="evaluate", persist_result=False)
async def evaluate_flow(job_id: str) -> None:
    """Ask: run these models here? Then run what is outstanding; a failing model stops nobody."""
    await run_job(job_id, _evaluate)


async def _evaluate(site: Site, job: Job) -> None:
    parameters = job.parameters
    benchmark, dataset = _subject(site, parameters)
    wanted = set(parameters["models"])
    # What is shown and what runs are one and the same list: the registry may ask for something else a moment later.
    plan = [unit for unit in units(benchmark, dataset) if unit.model.model_id in wanted]
    decision = await hold(
        SiteGateBook(site),
        name=GATE,
        title=f"Run these models on dataset {dataset.name}?",
        subject=dataset.name,
        show=lambda: shown_for(benchmark, dataset, plan, site.settings.endpoints),
        describe=describe_evaluation,
    )
    chosen = [unit for unit in plan if str(unit.model.model_id) not in decision.withheld]
    with site.store.read() as session:
        todo = outstanding(session, chosen, retry_failed=parameters.get("retry_failed", False))
    tally = {"total": len(chosen), "done": len(chosen) - len(todo), "failed": 0}
    report(site, job.id, **tally)
    line = Line()
    succeeded = await asyncio.gather(*(_run_one(unit, job.id, tally, line) for unit in todo))
    failed = [unit.model.name for unit, ok in zip(todo, succeeded, strict=True) if not ok]
    reused, withheld = len(chosen) - len(todo), len(plan) - len(chosen)
    set_outcome(site, job.id, {"ran": len(todo), "reused": reused, "withheld": withheld, "failed": failed})


@step("execution")
async def execution(unit: Unit, label: str, begun: Callable[[], None]) -> None:
    """One model on one dataset: infer, unless its predictions are here, then evaluate.

    Args:
        unit: which.
        label: for people.
        begun: called when its first step has a slot.

    Raises:
        StepFailedError: a step failed; class and exit code are recorded and queued for the registry.
        DatasetChangedError: the dataset is not what was registered.
    """
    site = current_site()
    with site.store.read() as session:
        dataset = dataset_by_registration(session, unit.dataset.dataset_id)
    prepared = Prepared(Path(dataset.folder or ""))
    folder = execution_folder(site.home, unit.identity)
    folder.mkdir(mode=0o700, exist_ok=True)
    started = now()

    def waits(why: str) -> None:
        with site.store.write() as session:
            note_waiting(session, row, why)

    # Another model, benchmark or job may be this very execution: one infers, the others find what it left.
    async with alone(folder, waits=begun):
        inferred = await asyncio.to_thread(predictions_are_whole, folder)
        row = _begin(site, unit, dataset, Step.EVALUATE if inferred else Step.INFER)
        with _recorded(site, row):
            await asyncio.to_thread(verify, dataset.name, prepared, unit.dataset.root)
            if not inferred:
                await infer(unit.model.cube, prepared, folder, label, begun=begun, waits=waits)
                _end(site, row)
                row = _begin(site, unit, dataset, Step.EVALUATE)
    scores = score_folder(site.home, unit.identity, unit.score)
    with _recorded(site, row):
        async with alone(scores, waits=begun):
            metrics = await evaluate(
                unit.benchmark.metrics_cube,
                folder / "predictions",
                prepared,
                schemas=unit.benchmark.metrics,
                folder=scores,
                label=label,
                begun=begun,
                waits=waits,
            )
        score = _score(unit, dataset, metrics, weaker_probe(folder, site.require_isolation()))
        score.started_at, score.cases = started, prepared.cases
    with site.store.write() as session:
        save_score(session, score)
        end_step(session, row)


@contextmanager
def _recorded(site: Site, row: Execution) -> Iterator[None]:
    """What breaks off in the block is the end of a step, with its class."""
    try:
        yield
    except DatasetChangedError as error:
        _end(site, row, error=ErrorClass.DATASET_CHANGED, message=str(error))
        raise
    except StepFailedError as error:
        _end(site, row, error=error.error_class, exit_code=error.exit_code, message=str(error))
        raise
    except Exception as error:
        _end(site, row, error=ErrorClass.INTERNAL, message=f"{type(error).__name__}: {error}")
        raise


class Line:
    """Executions come up one after the other, each when the one before has a slot.

    So the committee's order is kept, however wide they run; and whoever waits for a slot is made ready meanwhile.
    """

    def __init__(self) -> None:
        self._next = asyncio.Lock()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Callable[[], None]]:
        """Wait to be next; what it gives lets the following one come up, as the block's end does."""
        await self._next.acquire()
        passed = False

        def pass_on() -> None:
            nonlocal passed
            if not passed:
                passed = True
                self._next.release()

        try:
            yield pass_on
        finally:
            pass_on()


async def _run_one(unit: Unit, job_id: str, tally: dict[str, int], line: Line) -> bool:
    try:
        async with line.place() as begun:
            await execution(unit, f"{unit.model.name} on {unit.dataset.name}", begun)
    except Exception:  # noqa: BLE001 - recorded by the task with its class; the other models go on
        tally["failed"] += 1
        return False
    else:
        return True
    finally:
        tally["done"] += 1
        report(current_site(), job_id, **tally)


def _subject(site: Site, parameters: dict[str, Any]) -> tuple[BenchmarkWork, DatasetWork]:
    benchmark = find_benchmark(site.work(), parameters["benchmark_id"])
    datasets = [] if benchmark is None else benchmark.datasets
    dataset = next((item for item in datasets if item.name == parameters["dataset"]), None)
    if benchmark is None or dataset is None:
        raise AgentError(
            f"dataset {parameters['dataset']!r} is not (or no longer) in benchmark {parameters['benchmark_id']}:"
            " request its association, and let the committee approve it"
        )
    return benchmark, dataset


def _begin(site: Site, unit: Unit, dataset: Dataset, step: Step) -> Execution:
    row = Execution(
        identity=unit.identity,
        score=unit.score,
        benchmark_id=unit.benchmark.benchmark_id,
        model_id=unit.model.model_id,
        model_name=unit.model.name,
        model_digest=unit.model.cube.pack_digest,
        dataset_id=unit.dataset.dataset_id,
        dataset_name=dataset.name,
        step=step,
    )
    with site.store.write() as session:
        return begin_step(session, row, step)


def _end(
    site: Site, row: Execution, *, error: ErrorClass | None = None, exit_code: int | None = None, message: str = ""
) -> None:
    with site.store.write() as session:
        end_step(session, row, error=error, exit_code=exit_code, message=message)


def _score(unit: Unit, dataset: Dataset, metrics: dict[str, float], probe: ProbeOutcome) -> Score:
    return Score(
        identity=unit.score,
        execution=unit.identity,
        benchmark_id=unit.benchmark.benchmark_id,
        model_id=unit.model.model_id,
        model_name=unit.model.name,
        model_digest=unit.model.cube.pack_digest,
        metrics_digest=unit.benchmark.metrics_cube.pack_digest,
        dataset_id=unit.dataset.dataset_id,
        dataset_name=dataset.name,
        dataset_root=unit.dataset.root,
        cases=0,
        metrics=tag_non_finite(metrics),
        probe=probe.model_dump(mode="json"),
        started_at=now(),
        finished_at=now(),
    )
