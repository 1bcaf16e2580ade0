"""Routes of preparations."""

from http import HTTPStatus

from fastapi import APIRouter
from sqlmodel import col, select

from api.access.identity import CurrentPrincipal
from api.core.database import SessionDep
from api.core.paging import Paging, narrow, page
from api.core.problems import documented
from api.nouns.preparations import rules
from api.nouns.preparations.tables import Preparation
from api.nouns.work.receiving import ReceivingDep
from api.schemas.border import PreparationProgress, Received
from api.schemas.common import Id, Page
from api.schemas.records import PreparationPublic

router = APIRouter(tags=["preparations"])


@router.get("/v1/preparations", responses=documented())
def list_preparations(
    session: SessionDep,
    principal: CurrentPrincipal,
    paging: Paging,
    *,
    benchmark_id: Id | None = None,
    site_id: Id | None = None,
) -> Page[PreparationPublic]:
    """How far preparations are: those of the caller's sites, and those for benchmarks on whose committee they are."""
    query = narrow(
        select(Preparation).where(rules.visible(principal)).order_by(col(Preparation.id)),
        [(Preparation.benchmark_id, benchmark_id), (Preparation.site_id, site_id)],
    )

    def shown(preparation: Preparation) -> PreparationPublic:
        return rules.public(session, preparation)

    return page(session, query, paging, shown)


@router.post("/v1/site/preparations", status_code=HTTPStatus.CREATED, responses=documented(404, 409, 413))
def note_progress(receiving: ReceivingDep, progress: PreparationProgress) -> Received:
    """Tell how far a staged preparation is; the site's data owner agreed to it."""
    return receiving.once(progress, lambda: rules.note_progress(receiving, progress))
