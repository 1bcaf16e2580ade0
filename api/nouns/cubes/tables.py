"""Cubes: containers with a contract, named by digest. A cube never changes: another pack is another cube.

What its owner attaches about it may be renewed; each document stays.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from api.core.database import RegistryTable
from api.schemas.cubes import CubeKind
from api.storage.columns import UtcDateTime, now, word_of
from cubes.attachments import AttachmentKind


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
    attachments: list[dict[str, Any]] = Field(default=[], sa_type=JSON, sa_column_kwargs={"server_default": "[]"})
    """The newest of each kind in `cube_attachment`, as people see them."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Attached(RegistryTable, table=True):
    """A document that a cube's owner attached. Triggers refuse to change or delete it."""

    __tablename__ = "cube_attachment"
    __table_args__ = ({"info": {"append_only": True}},)

    id: int | None = Field(default=None, primary_key=True)
    cube_id: int = Field(foreign_key="cube.id", index=True)
    kind: AttachmentKind = Field(sa_type=word_of(AttachmentKind))
    digest: str = Field(foreign_key="blob.digest", index=True)
    document: dict[str, Any] = Field(sa_type=JSON)
    """What it is and counts."""
    by: int = Field(foreign_key="user_account.id")
    attached_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
