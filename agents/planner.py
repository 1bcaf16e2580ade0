"""What is outstanding: which models have yet to run on which datasets, and in which order."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from sqlmodel import Session

from agents.endpoints.settings import EndpointSettings, hosts_of
from agents.store.executions import find_execution, find_score
from api.schemas.border import ExecutionState, Step
from api.schemas.cubes import CubeRef
from api.schemas.records import BenchmarkWork, DatasetWork, ModelWork, SiteWork
from cubes.digests import ExecutionIdentity, ScoreIdentity, digest_of, execution_identity, score_identity

_NONE: Final[Mapping[str, EndpointSettings]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Unit:
    """One model on one dataset under one metrics cube."""

    benchmark: BenchmarkWork
    dataset: DatasetWork
    model: ModelWork
    identity: ExecutionIdentity
    score: ScoreIdentity

    def shown(self, endpoints: Mapping[str, EndpointSettings]) -> dict[str, Any]:
        """What the data owner is asked to let run, and whom it may ask: nothing in it changes when the unit has run."""
        hosts = hosts_of(endpoints, self.model.cube.pack_digest)
        return {
            "item": str(self.model.model_id),
            "model": self.model.name,
            "title": self.model.title,
            "organization": self.model.organization,
            "cube": _cube(self.model.cube),
            "priority": self.model.priority,
            "execution": self.identity,
            **({"asks": hosts} if hosts else {}),
        }


def units(benchmark: BenchmarkWork, dataset: DatasetWork) -> list[Unit]:
    """All models of a benchmark on one dataset, in the order in which the committee wants them."""
    return [_unit(benchmark, dataset, model) for model in benchmark.models]


def outstanding(session: Session, candidates: list[Unit], *, retry_failed: bool = False) -> list[Unit]:
    """Those that have no score yet. What failed is left out, unless it is asked for."""
    return [unit for unit in candidates if _is_outstanding(session, unit, retry_failed=retry_failed)]


def find_benchmark(work: SiteWork, benchmark_id: int) -> BenchmarkWork | None:
    return next((item for item in work.benchmarks if item.benchmark_id == benchmark_id), None)


def is_offered(work: SiteWork, parameters: Mapping[str, Any]) -> bool:
    """Whether the registry still asks for (some of) what an `evaluate` job is about."""
    benchmark = find_benchmark(work, parameters["benchmark_id"])
    if benchmark is None or parameters["dataset"] not in {dataset.name for dataset in benchmark.datasets}:
        return False
    return not {model.model_id for model in benchmark.models}.isdisjoint(parameters["models"])


def shown_for(
    benchmark: BenchmarkWork,
    dataset: DatasetWork,
    chosen: list[Unit],
    endpoints: Mapping[str, EndpointSettings] = _NONE,
) -> dict[str, Any]:
    """What the gate "run these models here?" shows.

    Args:
        benchmark: for which.
        dataset: on which.
        chosen: what would run.
        endpoints: of the site; a model that may ask one sends patients' data there.
    """
    return {
        "benchmark": {"id": benchmark.benchmark_id, "name": benchmark.name, "title": benchmark.title},
        "dataset": {"id": dataset.dataset_id, "name": dataset.name, "root": dataset.root},
        "metrics_cube": _cube(benchmark.metrics_cube),
        "items": [unit.shown(endpoints) for unit in chosen],
    }


def plan_digest(benchmark: BenchmarkWork, dataset: DatasetWork, chosen: list[Unit]) -> str:
    return digest_of(shown_for(benchmark, dataset, chosen))


def _unit(benchmark: BenchmarkWork, dataset: DatasetWork, model: ModelWork) -> Unit:
    identity = execution_identity(
        model=model.cube.pack_digest,
        parameters=model.cube.parameters_digest,
        additional_files=model.cube.additional_files_digest,
        dataset_root=dataset.root,
    )
    metrics = benchmark.metrics_cube
    score = score_identity(
        identity,
        metrics=metrics.pack_digest,
        parameters=metrics.parameters_digest,
        additional_files=metrics.additional_files_digest,
    )
    return Unit(benchmark, dataset, model, identity, score)


def _is_outstanding(session: Session, unit: Unit, *, retry_failed: bool) -> bool:
    benchmark_id, model_id = unit.benchmark.benchmark_id, unit.model.model_id
    if find_score(session, unit.score, benchmark_id, model_id) is not None:
        return False
    execution = find_execution(session, unit.identity, benchmark_id, model_id)
    if execution is None or execution.state != ExecutionState.FAILED or retry_failed:
        return True
    # A new metrics cube deserves its own try on predictions that exist.
    return execution.step == Step.EVALUATE and execution.score != unit.score


def _cube(ref: CubeRef) -> dict[str, Any]:
    return {
        "name": ref.name,
        "pack_digest": ref.pack_digest,
        "parameters_digest": ref.parameters_digest,
        "additional_files_digest": ref.additional_files_digest,
        **({"attachments": [each.model_dump(mode="json") for each in ref.attachments]} if ref.attachments else {}),
    }
