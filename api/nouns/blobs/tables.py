"""Blobs: files by their digest, and who brought them."""

from datetime import datetime

from sqlalchemy import BigInteger
from sqlmodel import Field

from api.core.database import RegistryTable
from api.storage.columns import UtcDateTime, now


class Blob(RegistryTable, table=True):
    """A file that lies whole and verified in the registry's folder."""

    __tablename__ = "blob"

    digest: str = Field(primary_key=True)
    size: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Upload(RegistryTable, table=True):
    """Who sent every byte of a blob, and so may read and use it."""

    __tablename__ = "blob_upload"

    digest: str = Field(foreign_key="blob.digest", primary_key=True)
    user_id: int = Field(foreign_key="user_account.id", primary_key=True)
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
