"""Users, organizations, sites and tokens as they travel."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from api.schemas.common import Email, Id, Line, Name, Stamped, Strict


class Scope(StrEnum):
    """What a token may be used for; a token never gives more than its owner's own rights."""

    READ = "read"
    WRITE = "write"
    DECIDE = "decide"
    SITE = "site"
    SERVICE = "service"
    REDEEM = "redeem"
    """Of an invitation: good for its person's own token, once, and for nothing else."""


class OrganizationCreate(Strict):
    name: Name
    title: Line


class OrganizationPublic(Stamped):
    name: str
    title: str


class UserCreate(Strict):
    email: Email
    name: Line
    organization_id: Id
    platform_administrator: bool = False


class UserPublic(Stamped):
    email: str
    name: str
    organization_id: int
    platform_administrator: bool
    active: bool


class PasswordUpdate(Strict):
    """For signing in to pages; how long it must be, the rules say."""

    password: str = Field(repr=False, max_length=4_096)


class SiteCreate(Strict):
    name: Name
    title: Line
    organization_id: Id


class SitePublic(Stamped):
    name: str
    title: str
    organization_id: int
    last_heartbeat_at: datetime | None
    agent_version: str | None
    isolation: str | None
    """Outcome of the last deny probe: `isolated`, `not_isolated` or `unknown`."""


class TokenCreate(Strict):
    label: Line
    scopes: list[Scope] | None = Field(default=None, min_length=1, max_length=5)
    """All that the bearer can have, when left out: `read`, `write` and `decide` for people, `read` and `site` for a site."""
    expires_in_days: int = Field(default=90, ge=1, le=366)


class InvitationCreate(Strict):
    expires_in_days: int = Field(default=7, ge=1, le=30)


class InvitationIssued(Strict):
    """The only answer that ever holds an invitation's secret: whoever redeems it becomes this person."""

    id: int
    user_id: int
    expires_at: datetime
    secret: str


class Redemption(TokenCreate):
    """An invitation, and what its person's own token shall be."""

    secret: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{20,200}$")]


class TokenPublic(Stamped):
    label: str
    scopes: list[Scope]
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


class TokenIssued(TokenPublic):
    """The only answer that ever holds the secret: the registry keeps its hash alone."""

    secret: str
