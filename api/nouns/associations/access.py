"""Who sees an association, and whose it is: the committee's and the subject's owner's. Nobody else's."""

from sqlalchemy import ColumnElement, or_, true
from sqlmodel import Session, col, select

from api.access.belongings import committees_of, datasets_of, models_of
from api.access.identity import Principal
from api.access.matrix import Role
from api.access.relations import relates
from api.core.rows import find
from api.nouns.associations.tables import Association
from api.nouns.datasets.tables import Dataset
from api.nouns.models.tables import Model


def visible(principal: Principal) -> ColumnElement[bool]:
    if principal.service:
        return true()
    return or_(*_sides(principal).values())


def is_owner(session: Session, principal: Principal, association: Association) -> bool:
    """Whether the association's model or dataset is a party's own."""
    if association.model_id is not None:
        owned = models_of(principal).where(col(Model.id) == association.model_id)
    else:
        owned = datasets_of(principal).where(col(Dataset.id) == association.dataset_id)
    return session.scalars(owned).first() is not None


@relates("association_id")
def _association(session: Session, principal: Principal, association_id: int) -> set[Role]:
    find(session, Association, association_id)
    this = col(Association.id) == association_id
    return {
        role
        for role, side in _sides(principal).items()
        if session.exec(select(Association.id).where(this, side)).first() is not None
    }


def _sides(principal: Principal) -> dict[Role, ColumnElement[bool]]:
    return {
        Role.COMMITTEE: col(Association.benchmark_id).in_(committees_of(principal)),
        Role.OWNER: or_(
            col(Association.model_id).in_(models_of(principal)), col(Association.dataset_id).in_(datasets_of(principal))
        ),
    }
