"""Sites: registered by platform administrators, owned by the people of their organization."""

from sqlmodel import Session

from api.access.acting import Act
from api.access.identity import Principal
from api.access.matrix import Role
from api.access.relations import relates
from api.core.errors import ConflictError
from api.core.rows import add, find
from api.nouns.people.rules import organization_of
from api.nouns.sites.tables import Site
from api.schemas.people import SiteCreate


@relates("site_id")
def _site(session: Session, principal: Principal, site_id: int) -> set[Role]:
    site = find(session, Site, site_id)
    ours = principal.user is not None and principal.user.organization_id == site.organization_id
    return {Role.OWNER} if ours else set()


def create_site(act: Act, new: SiteCreate) -> Site:
    """Raises ConflictError when the name is taken, InvalidInputError when the organization is not there."""
    organization_of(act.session, new.organization_id)
    taken = ConflictError(f"a site {new.name!r} exists already.", "Use it, or choose another name.")
    site = add(act.session, Site(**new.model_dump()), taken)
    act.note("site.created", f"site:{site.id}", name=site.name, organization_id=site.organization_id)
    return site
