"""Tokens: of a person, of a site, or of the registry's own service. The registry keeps their hashes alone."""

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint
from sqlmodel import Field

from api.core.database import RegistryTable
from api.storage.columns import UtcDateTime, now


class Token(RegistryTable, table=True):
    """Exactly one of `user_id` and `site_id` is set, or neither: then it is the registry's own service."""

    __tablename__ = "token"
    __table_args__ = (CheckConstraint("user_id IS NULL OR site_id IS NULL", name="one_bearer"),)

    id: int | None = Field(default=None, primary_key=True)
    label: str
    user_id: int | None = Field(default=None, foreign_key="user_account.id", index=True)
    site_id: int | None = Field(default=None, foreign_key="site.id", index=True)
    scopes: list[str] = Field(sa_type=JSON)
    secret_hash: str = Field(unique=True)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
