"""Leaderboards: as they are now for the committee, as they were released for everybody else."""

from collections.abc import Sequence

from sqlmodel import Session, col, func, select

from api.access.acting import Act, key
from api.access.belongings import models_of
from api.access.identity import Principal
from api.core.errors import ConflictError, NotFoundError
from api.core.rows import find, lock
from api.nouns.associations.tables import Association
from api.nouns.benchmarks.access import is_on_committee
from api.nouns.benchmarks.states import Action, step
from api.nouns.benchmarks.tables import Benchmark
from api.nouns.datasets.tables import Dataset
from api.nouns.gates import rules as gates
from api.nouns.gates.tables import Gate
from api.nouns.leaderboard.ranking import Contest, Measured, Place, method, rank
from api.nouns.leaderboard.tables import Release
from api.nouns.models.tables import Model
from api.nouns.results.tables import Result
from api.nouns.sites.tables import Site
from api.schemas.benchmarks import AssociationPolicy, AssociationState, GateKind, Leaderboard
from api.schemas.border import Isolation
from cubes.digests import untag_non_finite
from cubes.metrics import MetricSchema


def leaderboard_for(session: Session, principal: Principal, benchmark_id: int, *, released: bool) -> Leaderboard:
    """A leaderboard as a party may see it.

    Raises:
        NotFoundError: nothing was released yet.
    """
    benchmark = find(session, Benchmark, benchmark_id)
    inside = principal.service or is_on_committee(session, principal, benchmark_id)
    last = last_release(session, benchmark_id)
    if inside and not released:
        return _with_release(current(session, benchmark), last)
    if last is None:
        raise NotFoundError(
            f"the leaderboard of {benchmark.name!r} was not released yet.", "Its committee asks for the release."
        )
    board = Leaderboard.model_validate(last.leaderboard)
    return board if inside or not benchmark.model_owner_consent else _consented(session, principal, board)


def current(session: Session, benchmark: Benchmark, *, up_to: int | None = None) -> Leaderboard:
    """The leaderboard by approved models, approved datasets and the present metrics cube, and by results until `up_to`."""
    return made_of(session, benchmark, counted(session, benchmark, up_to=up_to))


def made_of(session: Session, benchmark: Benchmark, results: Sequence[Result]) -> Leaderboard:
    """The leaderboard that `counted` results make."""
    schemas = [MetricSchema.model_validate(metric) for metric in benchmark.metrics]
    datasets = _datasets(session, key(benchmark.id))
    contest = Contest(
        metrics=schemas,
        primary=next(schema for schema in schemas if schema.name == benchmark.primary_metric),
        models=_models(session, key(benchmark.id)),
        datasets=datasets,
        measured=[_measured(result) for result in results],
    )
    places = contest.measured_datasets
    return Leaderboard(
        benchmark_id=key(benchmark.id),
        benchmark_name=benchmark.name,
        primary_metric=benchmark.primary_metric,
        metrics=schemas,
        method={schema.name: method(schema) for schema in schemas},
        not_counted=contest.not_counted,
        sites=len({place.site_id for place in places}),
        cases=sum(place.cases for place in places),
        unmeasured=len(datasets) - len(places),
        withheld=0,
        released_at=None,
        rows=rank(contest),
    )


def counted(session: Session, benchmark: Benchmark, *, up_to: int | None = None) -> list[Result]:
    """The results that `current` is made of: the newest of each approved model on each approved dataset.

    Under the present metrics cube alone: scores of two do not mix.
    """
    query = select(Result).where(
        Result.benchmark_id == benchmark.id, Result.metrics_cube_id == benchmark.metrics_cube_id
    )
    if up_to is not None:
        query = query.where(col(Result.id) <= up_to)
    newest = {(r.model_id, r.dataset_id): r for r in session.exec(query.order_by(col(Result.id)))}
    models, datasets = _models(session, key(benchmark.id)), _datasets(session, key(benchmark.id))
    return [r for r in newest.values() if r.model_id in models and r.dataset_id in datasets]


def ask_release(act: Act, benchmark_id: int) -> Gate:
    """Ask the rest of the committee to make the present leaderboard visible.

    Raises:
        ConflictError: not approved or closed, no results yet, or asked already.
    """
    benchmark = lock(act.session, Benchmark, benchmark_id)
    step(benchmark, Action.RELEASE)
    if not newest_result(act.session, benchmark_id):
        raise ConflictError(f"{benchmark.name!r} has no results yet.", "Wait for the sites to send some.")
    policies = (AssociationPolicy.model_validate(p) for p in (benchmark.model_policy, benchmark.dataset_policy))
    act.note("leaderboard.release_asked", f"benchmark:{benchmark_id}")
    return gates.open_gate(
        act,
        GateKind.LEADERBOARD,
        benchmark_id,
        benchmark,
        title=f"Release the leaderboard of the benchmark {benchmark.name}?",
        quorum=max(policy.quorum for policy in policies),
    )


def newest_result(session: Session, benchmark_id: int) -> int:
    """The number of the newest result; 0 when there is none."""
    return session.exec(select(func.max(Result.id)).where(Result.benchmark_id == benchmark_id)).one() or 0


def last_release(session: Session, benchmark_id: int) -> Release | None:
    """What was last released of a benchmark."""
    query = select(Release).where(Release.benchmark_id == benchmark_id).order_by(col(Release.id).desc())
    return session.exec(query).first()


def _with_release(board: Leaderboard, last: Release | None) -> Leaderboard:
    """Say when exactly these rows were released, if they were."""
    if last is None:
        return board
    frozen, beside = Leaderboard.model_validate(last.leaderboard), {"released_at", "unmeasured"}
    same = board.model_dump(mode="json", exclude=beside) == frozen.model_dump(mode="json", exclude=beside)
    return board.model_copy(update={"released_at": frozen.released_at}) if same else board


def _consented(session: Session, principal: Principal, board: Leaderboard) -> Leaderboard:
    """Without the models whose owners have not consented; ranks stay what they are among all."""
    consenting = select(col(Association.model_id)).where(
        Association.benchmark_id == board.benchmark_id, col(Association.consented_at).is_not(None)
    )
    shown = {*session.scalars(consenting), *session.scalars(models_of(principal))}
    rows = [row for row in board.rows if row.model_id in shown]
    return board.model_copy(update={"rows": rows, "withheld": len(board.rows) - len(rows)})


def _models(session: Session, benchmark_id: int) -> dict[int, str]:
    query = (
        select(Model)
        .join(Association, col(Association.model_id) == col(Model.id))
        .where(Association.benchmark_id == benchmark_id, Association.state == AssociationState.APPROVED)
    )
    return {key(model.id): model.name for model in session.exec(query)}


def _datasets(session: Session, benchmark_id: int) -> dict[int, Place]:
    query = (
        select(Dataset, Site)
        .join(Association, col(Association.dataset_id) == col(Dataset.id))
        .join(Site, col(Site.id) == col(Dataset.site_id))
        .where(Association.benchmark_id == benchmark_id, Association.state == AssociationState.APPROVED)
    )
    return {
        key(dataset.id): Place(f"{site.name}/{dataset.name}", dataset.site_id, dataset.cases)
        for dataset, site in session.exec(query)
    }


def _measured(result: Result) -> Measured:
    return Measured(
        model_id=result.model_id,
        dataset_id=result.dataset_id,
        metrics=untag_non_finite(result.metrics),
        isolated=result.isolation == Isolation.ISOLATED,
    )
