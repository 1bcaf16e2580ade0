"""What Alembic runs for every command: our connection, our metadata."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Enum

from api.migrations.metadata import METADATA
from api.storage.columns import UtcDateTime


def render(kind: str, item: Any, _autogen: AutogenContext) -> str | Literal[False]:
    """Types of ours as what lies in the database, so that a migration never imports what changes later."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime()"
    if kind == "type" and isinstance(item, Enum):
        return f"sa.String(length={item.length})"
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    # SQLite can roll back a change of tables too, as long as nobody but us says BEGIN.
    transactional_ddl=True,
    render_item=render,
)
with context.begin_transaction():
    context.run_migrations()
