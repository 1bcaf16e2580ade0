"""Routes of datasets."""

from http import HTTPStatus

from fastapi import APIRouter
from sqlmodel import col, select

from api.access.identity import CurrentPrincipal
from api.core.database import SessionDep
from api.core.paging import Paging, narrow, page
from api.core.problems import documented
from api.core.rows import find
from api.nouns.datasets import registration
from api.nouns.datasets.access import public
from api.nouns.datasets.tables import Dataset
from api.nouns.work.receiving import ReceivingDep
from api.schemas.border import DatasetRegistration, Received
from api.schemas.common import Id, Name, Page
from api.schemas.records import DatasetPublic

router = APIRouter(tags=["datasets"])


@router.get("/v1/datasets", responses=documented())
def list_datasets(
    session: SessionDep,
    principal: CurrentPrincipal,
    paging: Paging,
    *,
    name: Name | None = None,
    benchmark_id: Id | None = None,
    site_id: Id | None = None,
) -> Page[DatasetPublic]:
    """Datasets; statistics only where the caller may see them."""
    query = narrow(
        select(Dataset).order_by(col(Dataset.id)),
        [(Dataset.name, name), (Dataset.benchmark_id, benchmark_id), (Dataset.site_id, site_id)],
    )

    def shown(dataset: Dataset) -> DatasetPublic:
        return public(session, principal, dataset)

    return page(session, query, paging, shown)


@router.get("/v1/datasets/{dataset_id}", responses=documented(404))
def read_dataset(session: SessionDep, principal: CurrentPrincipal, dataset_id: Id) -> DatasetPublic:
    return public(session, principal, find(session, Dataset, dataset_id))


@router.post("/v1/site/datasets", status_code=HTTPStatus.CREATED, responses=documented(404, 409, 413))
def register_dataset(receiving: ReceivingDep, new: DatasetRegistration) -> Received:
    """Register a prepared dataset of the site's own."""
    return receiving.once(new, lambda: registration.register(receiving, new))
