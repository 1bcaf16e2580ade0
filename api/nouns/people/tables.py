"""Organizations and the people in them."""

from datetime import datetime

from sqlmodel import Field

from api.core.database import RegistryTable
from api.storage.columns import UtcDateTime, now


class Organization(RegistryTable, table=True):
    __tablename__ = "organization"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    title: str
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class User(RegistryTable, table=True):
    """A person. Never deleted: what they decided stays theirs."""

    __tablename__ = "user_account"

    id: int | None = Field(default=None, primary_key=True)
    email: str = Field(unique=True)
    name: str
    organization_id: int = Field(foreign_key="organization.id", index=True)
    platform_administrator: bool = False
    active: bool = True
    password_hash: str | None = None
    """For signing in to pages, where no identity provider does it: argon2id."""
    oidc_subject: str | None = Field(default=None, index=True, unique=True)
    """Issuer and subject at the identity provider, from the first time that they came from there."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)

    @property
    def label(self) -> str:
        """Name and address, as they stand in decisions and in the audit log."""
        return f"{self.name} <{self.email}>"
