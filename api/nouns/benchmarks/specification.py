"""Whether a benchmark's specification holds together: its cubes, its metrics, its demo dataset."""

from collections.abc import Sequence

from sqlmodel import Session

from api.access.acting import Act
from api.core.errors import InvalidInputError
from api.nouns.blobs.rules import require_sent
from api.nouns.cubes.tables import Cube
from api.nouns.models.tables import Model
from api.schemas.benchmarks import BenchmarkCreate
from api.schemas.cubes import CubeKind
from cubes.metrics import MetricSchema


def check(act: Act, new: BenchmarkCreate, *, known_demo_dataset: str | None = None) -> None:
    """Refuse what could never run.

    Raises:
        InvalidInputError: a cube or model that is not there or of another kind, metrics that the metrics cube does not
            report, or a demo dataset that the person did not upload.
    """
    cube_of(act.session, new.preparator_cube_id, CubeKind.DATA_PREPARATOR)
    check_metrics_cube(act.session, new.metrics_cube_id, new.metrics)
    if new.reference_model_id is not None and act.session.get(Model, new.reference_model_id) is None:
        raise InvalidInputError(f"there is no model {new.reference_model_id!r}.", "Register the reference model first.")
    if new.demo_dataset_digest != known_demo_dataset:
        require_sent(act, new.demo_dataset_digest, "the demo dataset")


def check_metrics_cube(session: Session, cube_id: int, metrics: Sequence[MetricSchema]) -> None:
    """The cube reports every metric, and means the same by it. A contract without metrics promises nothing.

    Raises:
        InvalidInputError: names the metric.
    """
    cube = cube_of(session, cube_id, CubeKind.METRICS)
    reported = {m.name: m for m in map(MetricSchema.model_validate, cube.contract.get("metrics") or [])}
    for metric in metrics if reported else ():
        found = reported.get(metric.name)
        if found is None:
            raise InvalidInputError(
                f"the metrics cube {cube.name!r} does not report {metric.name!r}.",
                f"It reports {', '.join(sorted(reported))}.",
            )
        if (found.direction, found.decomposable) != (metric.direction, metric.decomposable):
            raise InvalidInputError(
                f"{metric.name!r} has another direction or decomposability than in the contract of {cube.name!r}.",
                f"The cube says direction {found.direction.value!r}, decomposable {found.decomposable}.",
            )


def cube_of(session: Session, cube_id: int, kind: CubeKind) -> Cube:
    """A cube of a kind.

    Raises:
        InvalidInputError: there is none, or it is of another kind.
    """
    cube = session.get(Cube, cube_id)
    wanted = kind.value.replace("_", " ")
    if cube is None:
        raise InvalidInputError(f"there is no cube {cube_id!r}.", f"Register the {wanted} cube first.")
    if cube.kind != kind:
        raise InvalidInputError(
            f"the cube {cube.name!r} is a {cube.kind.value.replace('_', ' ')}, not a {wanted}.",
            "Name one of the right kind: see `assay cube list`.",
        )
    return cube
