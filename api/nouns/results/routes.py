"""Routes of results."""

from http import HTTPStatus

from fastapi import APIRouter
from sqlmodel import col, select

from api.access.identity import CurrentPrincipal
from api.core.database import SessionDep
from api.core.paging import Paging, narrow, page
from api.core.problems import documented
from api.core.rows import find
from api.nouns.datasets.tables import Dataset
from api.nouns.results import upload
from api.nouns.results.access import public, visible
from api.nouns.results.tables import Result
from api.nouns.work.receiving import ReceivingDep
from api.schemas.border import ApprovedResult, Isolation, Received
from api.schemas.common import Id, Page
from api.schemas.records import ResultPublic
from cubes.digests import Digest

router = APIRouter(tags=["results"])


@router.get("/v1/results", responses=documented())
def list_results(
    session: SessionDep,
    principal: CurrentPrincipal,
    paging: Paging,
    *,
    benchmark_id: Id | None = None,
    model_id: Id | None = None,
    dataset_id: Id | None = None,
    site_id: Id | None = None,
    score: Digest | None = None,
    isolation: Isolation | None = None,
) -> Page[ResultPublic]:
    """The results that the caller may see, oldest first."""
    query = select(Result).join(Dataset, col(Dataset.id) == col(Result.dataset_id))
    query = narrow(
        query.where(visible(principal)).order_by(col(Result.id)),
        [
            (Result.benchmark_id, benchmark_id),
            (Result.model_id, model_id),
            (Result.dataset_id, dataset_id),
            (Dataset.site_id, site_id),
            (Result.score, score),
            (Result.isolation, isolation),
        ],
    )

    def shown(result: Result) -> ResultPublic:
        return public(session, result)

    return page(session, query, paging, shown)


@router.get("/v1/results/{result_id}", responses=documented(404))
def read_result(session: SessionDep, result_id: Id) -> ResultPublic:
    return public(session, find(session, Result, result_id))


@router.post("/v1/site/results", status_code=HTTPStatus.CREATED, responses=documented(404, 409, 413))
def take_result(receiving: ReceivingDep, new: ApprovedResult) -> Received:
    """Take a result that a person at the site let go."""
    return receiving.once(new, lambda: upload.take(receiving, new))
