"""Who sees a result: the committee always, the data owner their own, the model's owner once a release counted it."""

from sqlalchemy import ColumnElement, and_, exists, or_
from sqlmodel import Session, col

from api.access.belongings import committees_of, datasets_of, models_of
from api.access.identity import Principal
from api.access.matrix import Role
from api.access.relations import relates
from api.access.sides import Sides, either, roles_towards
from api.core.rows import find
from api.nouns.datasets.tables import Dataset
from api.nouns.leaderboard.tables import ReleaseResult
from api.nouns.models.tables import Model
from api.nouns.results.tables import Result
from api.schemas.records import ResultPublic
from cubes.digests import untag_non_finite


def visible(principal: Principal) -> ColumnElement[bool]:
    return either(principal, _sides(principal))


def public(session: Session, result: Result) -> ResultPublic:
    dataset = session.get_one(Dataset, result.dataset_id)
    names = {"model_name": session.get_one(Model, result.model_id).name, "dataset_name": dataset.name}
    values = result.model_dump(exclude={"metrics_cube_id", "metrics"})
    metrics = untag_non_finite(result.metrics)
    return ResultPublic.model_validate({**values, **names, "site_id": dataset.site_id, "metrics": metrics})


@relates("result_id")
def _result(session: Session, principal: Principal, number: int) -> set[Role]:
    find(session, Result, number)
    return roles_towards(session, col(Result.id), number, _sides(principal))


def _sides(principal: Principal) -> Sides:
    released = exists().where(col(ReleaseResult.result_id) == col(Result.id))
    return {
        Role.COMMITTEE: col(Result.benchmark_id).in_(committees_of(principal)),
        Role.OWNER: or_(
            col(Result.dataset_id).in_(datasets_of(principal)),
            and_(col(Result.model_id).in_(models_of(principal)), released),
        ),
    }
