"""Who sees an execution: the data owner, the committee, and the model's owner for their own model."""

from sqlalchemy import ColumnElement, or_
from sqlmodel import Session, col

from api.access.belongings import committees_of, datasets_of, models_of
from api.access.identity import Principal
from api.access.matrix import Role
from api.access.relations import relates
from api.access.sides import Sides, either, roles_towards
from api.core.rows import find
from api.nouns.datasets.tables import Dataset
from api.nouns.executions.tables import Execution
from api.nouns.models.tables import Model
from api.schemas.records import ExecutionPublic


def visible(principal: Principal) -> ColumnElement[bool]:
    return either(principal, _sides(principal))


def public(session: Session, execution: Execution) -> ExecutionPublic:
    dataset = session.get_one(Dataset, execution.dataset_id)
    names = {"model_name": session.get_one(Model, execution.model_id).name, "dataset_name": dataset.name}
    return ExecutionPublic.model_validate({**execution.model_dump(), **names, "site_id": dataset.site_id})


@relates("execution_id")
def _execution(session: Session, principal: Principal, number: int) -> set[Role]:
    find(session, Execution, number)
    return roles_towards(session, col(Execution.id), number, _sides(principal))


def _sides(principal: Principal) -> Sides:
    return {
        Role.COMMITTEE: col(Execution.benchmark_id).in_(committees_of(principal)),
        Role.OWNER: or_(
            col(Execution.dataset_id).in_(datasets_of(principal)), col(Execution.model_id).in_(models_of(principal))
        ),
    }
