"""Routes of organizations and users."""

from fastapi import APIRouter
from sqlmodel import col, select

from api.access.acting import ActDep
from api.access.identity import CurrentUser
from api.core.database import SessionDep
from api.core.paging import Paging, page
from api.core.problems import documented
from api.core.rows import find
from api.nouns.people import rules, sign_in
from api.nouns.people.tables import Organization, User
from api.schemas.common import Email, Id, Name, Page
from api.schemas.people import OrganizationCreate, OrganizationPublic, PasswordUpdate, UserCreate, UserPublic

router = APIRouter(tags=["people"])


def shown_organization(organization: Organization) -> OrganizationPublic:
    return OrganizationPublic.model_validate(organization.model_dump())


def shown_user(user: User) -> UserPublic:
    return UserPublic.model_validate(user.model_dump(include=set(UserPublic.model_fields)))


@router.get("/v1/organizations", responses=documented())
def list_organizations(session: SessionDep, paging: Paging, name: Name | None = None) -> Page[OrganizationPublic]:
    query = select(Organization).order_by(col(Organization.name))
    if name is not None:
        query = query.where(Organization.name == name)
    return page(session, query, paging, shown_organization)


@router.post("/v1/organizations", status_code=201, responses=documented(409))
def create_organization(act: ActDep, new: OrganizationCreate) -> OrganizationPublic:
    return shown_organization(rules.create_organization(act, new))


@router.get("/v1/organizations/{organization_id}", responses=documented(404))
def read_organization(session: SessionDep, organization_id: Id) -> OrganizationPublic:
    return shown_organization(find(session, Organization, organization_id))


@router.get("/v1/users", responses=documented())
def list_users(
    session: SessionDep,
    paging: Paging,
    *,
    email: Email | None = None,
    organization_id: Id | None = None,
    active: bool | None = None,
) -> Page[UserPublic]:
    query = select(User).order_by(col(User.email))
    if email is not None:
        query = query.where(User.email == email)
    if organization_id is not None:
        query = query.where(User.organization_id == organization_id)
    if active is not None:
        query = query.where(col(User.active).is_(active))
    return page(session, query, paging, shown_user)


@router.post("/v1/users", status_code=201, responses=documented(409))
def create_user(act: ActDep, new: UserCreate) -> UserPublic:
    return shown_user(rules.create_user(act, new))


@router.get("/v1/users/me", responses=documented())
def read_me(user: CurrentUser) -> UserPublic:
    return shown_user(user)


@router.put("/v1/users/me/password", responses=documented())
def set_own_password(act: ActDep, new: PasswordUpdate) -> UserPublic:
    """Sign in to pages with this from now on; sessions that an earlier one opened end."""
    return shown_user(sign_in.set_password(act, new.password))


@router.get("/v1/users/{user_id}", responses=documented(404))
def read_user(session: SessionDep, user_id: Id) -> UserPublic:
    return shown_user(find(session, User, user_id))


@router.post("/v1/users/{user_id}/deactivate", responses=documented(404, 409))
def deactivate_user(act: ActDep, user_id: Id) -> UserPublic:
    return shown_user(rules.deactivate(act, user_id))


@router.post("/v1/users/{user_id}/activate", responses=documented(404))
def activate_user(act: ActDep, user_id: Id) -> UserPublic:
    return shown_user(rules.activate(act, user_id))
