"""Who sees what of a dataset: everybody that it is there; its statistics only its owner and the committees it asked."""

from sqlalchemy import and_, or_
from sqlmodel import Session, col, select

from api.access.belongings import committees_of, datasets_of
from api.access.identity import Principal
from api.access.matrix import Role
from api.access.relations import relates
from api.core.rows import find
from api.nouns.associations.tables import Association
from api.nouns.datasets.tables import Dataset
from api.nouns.sites.tables import Site
from api.schemas.benchmarks import AssociationState
from api.schemas.records import DatasetPublic


def may_see_statistics(session: Session, principal: Principal, dataset_id: int) -> bool:
    """The data owner's organization and its site; the committees of benchmarks that the dataset asked to join or is in."""
    if principal.service or _is_own(session, principal, dataset_id):
        return True
    # An invitation shows the committee nothing until the owner has agreed.
    asked = and_(col(Association.state) == AssociationState.REQUESTED, ~col(Association.invited))
    query = select(Association.id).where(
        Association.dataset_id == dataset_id,
        or_(asked, col(Association.state) == AssociationState.APPROVED),
        col(Association.benchmark_id).in_(committees_of(principal)),
    )
    return session.exec(query).first() is not None


def public(session: Session, principal: Principal, dataset: Dataset) -> DatasetPublic:
    """A dataset as a party may see it."""
    entitled = may_see_statistics(session, principal, dataset.id or 0)
    hidden = {} if entitled else {"statistics": None, "decision": None}
    return DatasetPublic.model_validate(
        {**dataset.model_dump(), "site_name": session.get_one(Site, dataset.site_id).name, **hidden}
    )


@relates("dataset_id")
def _dataset(session: Session, principal: Principal, dataset_id: int) -> set[Role]:
    find(session, Dataset, dataset_id)
    return {Role.OWNER} if _is_own(session, principal, dataset_id) else set()


def _is_own(session: Session, principal: Principal, dataset_id: int) -> bool:
    return session.scalars(datasets_of(principal).where(col(Dataset.id) == dataset_id)).first() is not None
