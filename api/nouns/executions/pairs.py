"""What a site may tell of: approved models on its own approved datasets, each by the digests that are registered."""

from dataclasses import dataclass

from sqlmodel import Session, col, select

from api.core.errors import ConflictError
from api.core.rows import find
from api.nouns.associations.tables import Association
from api.nouns.benchmarks.states import MACHINE, Action
from api.nouns.benchmarks.tables import Benchmark
from api.nouns.cubes.tables import Cube
from api.nouns.datasets.tables import Dataset
from api.nouns.models.tables import Model
from api.nouns.work.receiving import Receiving
from api.schemas.benchmarks import AssociationState
from cubes.digests import ExecutionIdentity, ScoreIdentity, execution_identity, score_identity


@dataclass(frozen=True, slots=True)
class Pair:
    """One model on one dataset in one benchmark, as they are registered."""

    benchmark: Benchmark
    model: Model
    dataset: Dataset
    cube: Cube
    metrics_cube: Cube

    @property
    def execution(self) -> ExecutionIdentity:
        return execution_identity(
            model=self.cube.pack_digest,
            parameters=self.cube.parameters_digest,
            additional_files=self.cube.additional_files_digest,
            dataset_root=self.dataset.root,
        )

    @property
    def score(self) -> ScoreIdentity:
        return score_identity(
            self.execution,
            metrics=self.metrics_cube.pack_digest,
            parameters=self.metrics_cube.parameters_digest,
            additional_files=self.metrics_cube.additional_files_digest,
        )


def approved_pair(receiving: Receiving, *, benchmark_id: int, model_id: int, dataset_id: int) -> Pair:
    """A pair that both sides approved.

    Raises:
        NotFoundError: no such benchmark or model, or no such dataset of the site's.
        ConflictError: the benchmark is not approved, or one of the two is not approved in it.
    """
    session, dataset = receiving.act.session, receiving.own_dataset(dataset_id)
    benchmark, model = find(session, Benchmark, benchmark_id), find(session, Model, model_id)
    MACHINE.next(benchmark.state, Action.RUN, f"benchmark {benchmark.name!r}")
    for what, name, condition in (
        ("model", model.name, col(Association.model_id) == model_id),
        ("dataset", dataset.name, col(Association.dataset_id) == dataset_id),
    ):
        query = select(Association.id).where(
            condition, Association.benchmark_id == benchmark_id, Association.state == AssociationState.APPROVED
        )
        if session.exec(query).first() is None:
            raise ConflictError(
                f"{what} {name!r} is not approved in benchmark {benchmark.name!r}.",
                "Only approved models on approved datasets count: see `assay association list`.",
            )
    return _pair(session, benchmark, model, dataset)


def _pair(session: Session, benchmark: Benchmark, model: Model, dataset: Dataset) -> Pair:
    return Pair(
        benchmark=benchmark,
        model=model,
        dataset=dataset,
        cube=session.get_one(Cube, model.cube_id),
        metrics_cube=session.get_one(Cube, benchmark.metrics_cube_id),
    )
