"""Routes of sites."""

from fastapi import APIRouter
from sqlmodel import col, select

from api.access.acting import ActDep
from api.core.database import SessionDep
from api.core.paging import Paging, page
from api.core.problems import documented
from api.core.rows import find
from api.nouns.sites import rules
from api.nouns.sites.tables import Site
from api.schemas.border import Heartbeat
from api.schemas.common import Id, Name, Page
from api.schemas.people import SiteCreate, SitePublic

router = APIRouter(tags=["sites"])


def shown(site: Site) -> SitePublic:
    heartbeat = None if site.heartbeat is None else Heartbeat.model_validate(site.heartbeat)
    return SitePublic(
        **site.model_dump(exclude={"heartbeat"}),
        agent_version=None if heartbeat is None else heartbeat.agent_version,
        isolation="unknown" if heartbeat is None else heartbeat.probe.isolation.value,
    )


@router.get("/v1/sites", responses=documented())
def list_sites(
    session: SessionDep, paging: Paging, name: Name | None = None, organization_id: Id | None = None
) -> Page[SitePublic]:
    query = select(Site).order_by(col(Site.name))
    if name is not None:
        query = query.where(Site.name == name)
    if organization_id is not None:
        query = query.where(Site.organization_id == organization_id)
    return page(session, query, paging, shown)


@router.post("/v1/sites", status_code=201, responses=documented(409))
def create_site(act: ActDep, new: SiteCreate) -> SitePublic:
    return shown(rules.create_site(act, new))


@router.get("/v1/sites/{site_id}", responses=documented(404))
def read_site(session: SessionDep, site_id: Id) -> SitePublic:
    return shown(find(session, Site, site_id))
