"""Routes for a site's agent: what there is to do, and signs of life."""

from http import HTTPStatus

from fastapi import APIRouter

from api.access.acting import ActDep
from api.access.identity import CurrentSite
from api.core.problems import documented
from api.nouns.work import heartbeats, orders
from api.nouns.work.receiving import ReceivingDep
from api.schemas.border import Heartbeat, Received
from api.schemas.records import SiteWork

router = APIRouter(tags=["sites"])


@router.get("/v1/site/work", responses=documented())
def read_work(act: ActDep, site: CurrentSite) -> SiteWork:
    """What the registry asks of the site whose token this is."""
    return orders.work_of(act.session, act.audit, site)


@router.post("/v1/site/heartbeats", status_code=HTTPStatus.CREATED, responses=documented(413))
def note_heartbeat(receiving: ReceivingDep, heartbeat: Heartbeat) -> Received:
    return heartbeats.note_heartbeat(receiving, heartbeat)
