"""Who sees an association, and whose it is: the committee's and the subject's owner's. Nobody else's."""

from sqlalchemy import ColumnElement, or_
from sqlmodel import Session, col

from api.access.belongings import committees_of, datasets_of, models_of
from api.access.identity import Principal
from api.access.matrix import Role
from api.access.relations import relates
from api.access.sides import Sides, either, roles_towards
from api.core.rows import find
from api.nouns.associations.tables import Association
from api.nouns.datasets.tables import Dataset
from api.nouns.models.tables import Model


def visible(principal: Principal) -> ColumnElement[bool]:
    return either(principal, _sides(principal))


def is_owner(session: Session, principal: Principal, association: Association) -> bool:
    """Whether the association's model or dataset is a party's own."""
    if association.model_id is not None:
        owned = models_of(principal).where(col(Model.id) == association.model_id)
    else:
        owned = datasets_of(principal).where(col(Dataset.id) == association.dataset_id)
    return session.scalars(owned).first() is not None


@relates("association_id")
def _association(session: Session, principal: Principal, number: int) -> set[Role]:
    find(session, Association, number)
    return roles_towards(session, col(Association.id), number, _sides(principal))


def _sides(principal: Principal) -> Sides:
    return {
        Role.COMMITTEE: col(Association.benchmark_id).in_(committees_of(principal)),
        Role.OWNER: or_(
            col(Association.model_id).in_(models_of(principal)), col(Association.dataset_id).in_(datasets_of(principal))
        ),
    }
