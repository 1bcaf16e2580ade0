"""Cubes: containers with a contract, named by digest. A cube never changes: another pack is another cube."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from api.core.database import RegistryTable
from api.schemas.cubes import CubeKind
from api.storage.columns import UtcDateTime, now, word_of


class Cube(RegistryTable, table=True):
    __tablename__ = "cube"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    kind: CubeKind = Field(sa_type=word_of(CubeKind), index=True)
    pack_digest: str = Field(foreign_key="blob.digest", index=True)
    additional_files_digest: str | None = Field(default=None, foreign_key="blob.digest", index=True)
    parameters: dict[str, Any] = Field(sa_type=JSON)
    parameters_digest: str | None = None
    description: str
    owner_id: int = Field(foreign_key="user_account.id", index=True)
    contract: dict[str, Any] = Field(sa_type=JSON)
    """Parsed from inside the pack."""
    sbom_digest: str | None = Field(default=None, index=True)
    vulnerabilities_digest: str | None = Field(default=None, index=True)
    attachments: list[dict[str, Any]] = Field(default=[], sa_type=JSON, sa_column_kwargs={"server_default": "[]"})
    """What the two documents are and count."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
