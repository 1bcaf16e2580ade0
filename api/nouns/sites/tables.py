"""Sites: one hospital's place in the federation."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from api.core.database import RegistryTable
from api.storage.columns import UtcDateTime, now


class Site(RegistryTable, table=True):
    __tablename__ = "site"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    title: str
    organization_id: int = Field(foreign_key="organization.id", index=True)
    last_heartbeat_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    heartbeat: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    """The last heartbeat as it came."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
