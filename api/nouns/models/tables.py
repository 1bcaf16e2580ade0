"""Models: a cube of kind `model` with the card that people read before they let it in."""

from datetime import datetime

from sqlmodel import Field

from api.core.database import RegistryTable
from api.storage.columns import UtcDateTime, now


class Model(RegistryTable, table=True):
    __tablename__ = "model"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    cube_id: int = Field(foreign_key="cube.id", index=True)
    owner_id: int = Field(foreign_key="user_account.id", index=True)
    organization_id: int = Field(foreign_key="organization.id")
    """The owner's, when the model was registered."""
    title: str
    intended_use: str
    training_data: str
    architecture: str
    licence: str
    contact: str
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
