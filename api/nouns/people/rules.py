"""Who may be in the federation: made by platform administrators, never deleted."""

from sqlmodel import Session, col, select

from api.access.acting import Act, key
from api.access.identity import Principal
from api.access.matrix import Role
from api.access.relations import relates
from api.core.errors import ConflictError, InvalidInputError, NotSignedInError
from api.core.rows import add, find, lock
from api.nouns.people.tables import Organization, User
from api.nouns.tokens.rules import revoke_all
from api.schemas.people import OrganizationCreate, UserCreate


@relates("user_id")
def _user(session: Session, principal: Principal, user_id: int) -> set[Role]:
    user = find(session, User, user_id)
    return {Role.OWNER} if principal.user is not None and principal.user.id == user.id else set()


@relates("organization_id")
def _organization(session: Session, principal: Principal, organization_id: int) -> set[Role]:
    organization = find(session, Organization, organization_id)
    return {Role.OWNER} if principal.user is not None and principal.user.organization_id == organization.id else set()


def organization_of(session: Session, organization_id: int) -> Organization:
    """The organization that a body names.

    Raises:
        InvalidInputError: there is none.
    """
    organization = session.get(Organization, organization_id)
    if organization is None:
        raise InvalidInputError(f"there is no organization {organization_id!r}.", "Register it first.")
    return organization


def create_organization(act: Act, new: OrganizationCreate) -> Organization:
    """Raises ConflictError when the name is taken."""
    taken = ConflictError(f"an organization {new.name!r} exists already.", "Use it, or choose another name.")
    organization = add(act.session, Organization(**new.model_dump()), taken)
    act.note("organization.created", f"organization:{organization.id}", name=organization.name)
    return organization


def create_user(act: Act, new: UserCreate) -> User:
    """Raises ConflictError when the address has an account, InvalidInputError when the organization is not there."""
    organization_of(act.session, new.organization_id)
    taken = ConflictError(
        f"{new.email!r} has an account already.", "Use it; one that was deactivated can be activated."
    )
    user = add(act.session, User(**new.model_dump()), taken)
    act.note("user.created", f"user:{user.id}", email=user.email, platform_administrator=user.platform_administrator)
    return user


def deactivate(act: Act, user_id: int) -> User:
    """End somebody's access and all their tokens.

    Raises:
        ConflictError: it is oneself: somebody must be left who can undo it.
        NotSignedInError: whoever asks was deactivated at the same moment.
    """
    for number in sorted({user_id, act.user_id}):  # two who deactivate each other come one after the other
        lock(act.session, User, number)
    if not act.user.active:
        raise NotSignedInError(f"{act.user.email!r} is no longer active.", "Ask a platform administrator.")
    user = find(act.session, User, user_id)
    if user.id == act.user.id:
        raise ConflictError(f"{user.email!r} cannot deactivate themselves.", "Ask another platform administrator.")
    if user.active:
        user.active = False
        act.session.add(user)
        revoked = revoke_all(act.session, user_id=key(user.id))
        act.note("user.deactivated", f"user:{user.id}", email=user.email, tokens_revoked=revoked)
    return user


def activate(act: Act, user_id: int) -> User:
    """Give somebody access again; they need a new token."""
    user = find(act.session, User, user_id)
    if not user.active:
        user.active = True
        act.session.add(user)
        act.note("user.activated", f"user:{user.id}", email=user.email)
    return user


def administrators(session: Session) -> list[User]:
    """All platform administrators who are active."""
    query = select(User).where(col(User.platform_administrator), col(User.active)).order_by(col(User.id))
    return list(session.exec(query))
