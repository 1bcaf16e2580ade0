"""Executions that a person orders: what is outstanding, or what failed, on the datasets they name."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session

from agents.asking import ask_to_run, models_under_way
from agents.errors import NotFoundError
from agents.planner import Unit, outstanding, plan_digest, units
from agents.site import Site
from agents.store.tables import Job
from api.schemas.cubes import CubeRef
from cubes.digests import Digest
from cubes.metrics import MetricSchema


@dataclass(frozen=True, slots=True)
class Choice:
    """Which executions are meant; what is None is not narrowed."""

    benchmark: str | None = None
    dataset: str | None = None
    model: str | None = None

    def takes(self, unit: Unit) -> bool:
        return (
            self.benchmark in {None, unit.benchmark.name, str(unit.benchmark.benchmark_id)}
            and self.dataset in {None, unit.dataset.name}
            and self.model in {None, unit.model.name, str(unit.model.model_id)}
        )


def chosen_units(site: Site, choice: Choice) -> list[Unit]:
    """All executions that the registry asks of this site and that are meant.

    Raises:
        HomeError: the site has not heard from its registry yet.
        NotFoundError: the registry asks for none of these here.
    """
    found = [
        unit
        for benchmark in site.work().benchmarks
        for dataset in benchmark.datasets
        for unit in units(benchmark, dataset)
        if choice.takes(unit)
    ]
    if not found and choice != Choice():
        raise NotFoundError(
            f"no approved model and dataset of this site fit {_named(choice)}: see `assay association list`"
        )
    return found


def list_outstanding(site: Site, choice: Choice, *, retry_failed: bool = False) -> list[Unit]:
    """Those of them that have no score yet, nor a job that will bring it."""
    with site.store.read() as session:
        return list(_outstanding(session, chosen_units(site, choice), retry_failed=retry_failed))


def order_executions(site: Site, choice: Choice, *, requested_by: int | None, retry_failed: bool = False) -> list[Job]:
    """Queue one `evaluate` job for each benchmark and dataset that has executions outstanding.

    A person still decides at the gate of each. Asking twice queues nothing new.
    """
    chosen = chosen_units(site, choice)
    with site.store.write() as session:
        groups: dict[tuple[int, str], list[Unit]] = {}
        for unit in _outstanding(session, chosen, retry_failed=retry_failed):
            groups.setdefault((unit.benchmark.benchmark_id, unit.dataset.name), []).append(unit)
        return [
            ask_to_run(
                session,
                todo,
                plan=plan_digest(todo[0].benchmark, todo[0].dataset, todo),
                requested_by=requested_by,
                retry_failed=retry_failed,
            )
            for todo in groups.values()
        ]


def _outstanding(session: Session, chosen: list[Unit], *, retry_failed: bool) -> Iterator[Unit]:
    for unit in outstanding(session, chosen, retry_failed=retry_failed):
        under_way = models_under_way(session, unit.benchmark.benchmark_id, unit.dataset.name)
        if unit.model.model_id not in under_way:
            yield unit


def _named(choice: Choice) -> str:
    named = {"benchmark": choice.benchmark, "dataset": choice.dataset, "model": choice.model}
    return ", ".join(f"{word} {value!r}" for word, value in named.items() if value is not None)


class CompatibilityOrder(BaseModel):
    """What a compatibility job is asked: one model against one benchmark's cubes and demo dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    demo_dataset_digest: Digest
    preparator: CubeRef
    metrics_cube: CubeRef
    metrics: list[MetricSchema]
    model: CubeRef
