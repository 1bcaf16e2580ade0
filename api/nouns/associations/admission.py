"""What must hold before a model or a dataset may be in a benchmark; checked when it is asked for and when it is approved."""

from datetime import timedelta
from typing import Final

from sqlmodel import Session, col, select

from api.core.errors import ConflictError
from api.nouns.associations.tables import Association
from api.nouns.benchmarks.states import MACHINE, Action
from api.nouns.benchmarks.tables import Benchmark
from api.nouns.cubes.tables import Cube
from api.nouns.datasets.tables import Dataset
from api.nouns.models.tables import Model
from api.schemas.benchmarks import AssociationState, Compatibility
from api.storage.columns import now
from cubes.digests import short
from cubes.metrics import MetricSchema

CLOCKS_DIFFER: Final = timedelta(hours=1)
_REPORT: Final = "Run the compatibility flow for this benchmark and this model, and send its report."


def check(session: Session, association: Association) -> None:
    """Refuse what does not fit the benchmark as both are now.

    Raises:
        ConflictError: says what does not fit.
    """
    benchmark = session.get_one(Benchmark, association.benchmark_id)
    MACHINE.next(benchmark.state, Action.ASSOCIATE, f"benchmark {benchmark.name!r}")
    if association.dataset_id is not None:
        _check_dataset(session, benchmark, session.get_one(Dataset, association.dataset_id))
    elif association.compatibility is None:
        raise ConflictError(f"the model for {benchmark.name!r} comes without a compatibility report.", _REPORT)
    else:
        report = Compatibility.model_validate(association.compatibility)
        check_report(session, benchmark, session.get_one(Model, association.model_id), report)


def check_report(session: Session, benchmark: Benchmark, model: Model, report: Compatibility) -> None:
    """Whether a compatibility report is about exactly this model and this benchmark.

    Raises:
        ConflictError: another digest, another set of metrics, a number out of range, or a time to come.
    """
    wanted = {
        "demo dataset": (report.demo_dataset_digest, benchmark.demo_dataset_digest),
        "model": (report.model_digest, session.get_one(Cube, model.cube_id).pack_digest),
        "metrics cube": (report.metrics_digest, session.get_one(Cube, benchmark.metrics_cube_id).pack_digest),
    }
    for what, (found, registered) in wanted.items():
        if found != registered:
            raise ConflictError(
                f"the compatibility report is about the {what} {short(found)!r}, registered is {short(registered)!r}.",
                _REPORT,
            )
    if problem := metrics_problem([MetricSchema.model_validate(m) for m in benchmark.metrics], report.metrics):
        raise ConflictError(f"the compatibility report: {problem}.", _REPORT)
    if report.finished_at > now() + CLOCKS_DIFFER:
        raise ConflictError(
            f"the compatibility report is of {report.finished_at:%Y-%m-%d %H:%M}, which is to come.", _REPORT
        )


def metrics_problem(schemas: list[MetricSchema], metrics: dict[str, float]) -> str:
    """What is wrong with a set of metrics; empty when it is exactly the benchmark's, each within its range or NaN."""
    known = {schema.name: schema for schema in schemas}
    if different := sorted(set(known) ^ set(metrics)):
        what = "is missing" if different[0] in known else "is none of the benchmark's metrics"
        return f"{different[0]!r} {what}"
    for name, schema in known.items():
        if not schema.allows(metrics[name]):
            return f"{name!r} is {metrics[name]}, outside {schema.minimum} to {schema.maximum}"
    return ""


def _check_dataset(session: Session, benchmark: Benchmark, dataset: Dataset) -> None:
    preparator = session.get_one(Cube, benchmark.preparator_cube_id)
    if dataset.preparator_digest != preparator.pack_digest:
        raise ConflictError(
            f"dataset {dataset.name!r} was prepared by {short(dataset.preparator_digest)!r},"
            f" {benchmark.name!r} asks for {short(preparator.pack_digest)!r}.",
            f"Prepare the data with {preparator.name!r} and register them again.",
        )
    if dataset.cases < benchmark.minimum_cases:
        raise ConflictError(
            f"dataset {dataset.name!r} has {dataset.cases} cases, {benchmark.name!r} asks for {benchmark.minimum_cases}.",
            "Add cases, prepare and register the data again.",
        )
    _is_not_in_already(session, benchmark, dataset)


def _is_not_in_already(session: Session, benchmark: Benchmark, dataset: Dataset) -> None:
    """The same data, or an earlier version of the same dataset, must not count twice."""
    query = select(Dataset).join(Association, col(Association.dataset_id) == col(Dataset.id))
    approved = query.where(
        Association.benchmark_id == benchmark.id,
        Association.state == AssociationState.APPROVED,
        col(Dataset.id) != dataset.id,
    )
    for other in session.exec(approved):
        if same := _what_is_the_same(dataset, other):
            raise ConflictError(
                f"dataset {other.id} ({other.name!r}) with the same {same} is in {benchmark.name!r} already.",
                "Withdraw it first: no case counts twice.",
            )


def _what_is_the_same(one: Dataset, other: Dataset) -> str:
    """What two datasets share that would make their cases count twice; empty when there is nothing."""
    if (other.site_id, other.name) == (one.site_id, one.name):
        return "name"
    if other.root == one.root:
        return "contents"
    # Other labels or metadata, or another site, make no other patients of them.
    return "data" if other.data_root == one.data_root else ""
