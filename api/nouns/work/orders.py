"""What the registry asks of a site: which benchmarks there are, and which approved models run on its approved datasets."""

from collections.abc import Iterable

from sqlmodel import Session, col, select

from api.access.acting import key
from api.core.audit import AuditLog
from api.nouns.associations.tables import Association
from api.nouns.benchmarks.tables import Benchmark
from api.nouns.cubes.tables import Cube
from api.nouns.datasets.tables import Dataset
from api.nouns.models.tables import Model
from api.nouns.people.tables import Organization
from api.nouns.sites.tables import Site
from api.schemas.benchmarks import AssociationState, BenchmarkState
from api.schemas.cubes import CubeRef
from api.schemas.records import BenchmarkWork, DatasetWork, ModelWork, SiteWork
from cubes.metrics import MetricSchema


def work_of(session: Session, audit: AuditLog, site: Site) -> SiteWork:
    """Everything that is asked of a site now."""
    query = select(Benchmark).where(Benchmark.state == BenchmarkState.APPROVED).order_by(col(Benchmark.id))
    benchmarks = list(session.exec(query))
    cubes = _cubes(session, benchmarks)
    models, datasets = _models(session), _datasets(session, key(site.id))
    return SiteWork(
        site_id=key(site.id),
        benchmarks=[_work(b, cubes, datasets.get(key(b.id), []), models.get(key(b.id), [])) for b in benchmarks],
        audit_head=audit.head(session),
    )


def cube_ref(cube: Cube) -> CubeRef:
    """What a site needs to fetch and run a cube."""
    return CubeRef.model_validate(cube.model_dump(include=set(CubeRef.model_fields)))


def _work(
    benchmark: Benchmark, cubes: dict[int, CubeRef], datasets: list[DatasetWork], models: list[ModelWork]
) -> BenchmarkWork:
    return BenchmarkWork(
        benchmark_id=key(benchmark.id),
        name=benchmark.name,
        title=benchmark.title,
        minimum_cases=benchmark.minimum_cases,
        metrics=[MetricSchema.model_validate(metric) for metric in benchmark.metrics],
        preparator=cubes[benchmark.preparator_cube_id],
        metrics_cube=cubes[benchmark.metrics_cube_id],
        demo_dataset_digest=benchmark.demo_dataset_digest,
        image_keys=benchmark.image_keys,
        datasets=datasets,
        models=models,
    )


def _cubes(session: Session, benchmarks: Iterable[Benchmark]) -> dict[int, CubeRef]:
    wanted = {number for b in benchmarks for number in (b.preparator_cube_id, b.metrics_cube_id)}
    rows = session.exec(select(Cube).where(col(Cube.id).in_(wanted)))
    return {key(cube.id): cube_ref(cube) for cube in rows}


def _datasets(session: Session, site_id: int) -> dict[int, list[DatasetWork]]:
    query = (
        select(Association, Dataset)
        .join(Dataset, col(Dataset.id) == col(Association.dataset_id))
        .where(Dataset.site_id == site_id, Association.state == AssociationState.APPROVED)
        .order_by(col(Dataset.id))
    )
    found: dict[int, list[DatasetWork]] = {}
    for association, dataset in session.exec(query):
        work = DatasetWork(
            association_id=key(association.id), dataset_id=key(dataset.id), name=dataset.name, root=dataset.root
        )
        found.setdefault(association.benchmark_id, []).append(work)
    return found


def _models(session: Session) -> dict[int, list[ModelWork]]:
    """Approved models of each benchmark: the committee's priority first, then the order in which they came."""
    query = (
        select(Association, Model, Cube, Organization)
        .join(Model, col(Model.id) == col(Association.model_id))
        .join(Cube, col(Cube.id) == col(Model.cube_id))
        .join(Organization, col(Organization.id) == col(Model.organization_id))
        .where(Association.state == AssociationState.APPROVED)
        .order_by(col(Association.priority).desc(), col(Model.id))
    )
    found: dict[int, list[ModelWork]] = {}
    for association, model, cube, organization in session.exec(query):
        work = ModelWork(
            association_id=key(association.id),
            model_id=key(model.id),
            name=model.name,
            title=model.title,
            organization=organization.title,
            cube=cube_ref(cube),
            priority=association.priority,
        )
        found.setdefault(association.benchmark_id, []).append(work)
    return found
