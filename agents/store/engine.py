"""The store's file: opened safely for several processes, with rows that cannot be rewritten."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text
from sqlmodel import Session

from agents.errors import HomeError
from agents.store.tables import SiteTable
from api.storage.engine import WRITE, make_engine

SCHEMA_VERSION: Final = 4
"""Each version so far only added tables and columns."""
_ADDED: Final = (
    ("delegation", "reason", "VARCHAR NOT NULL DEFAULT ''"),
    ("outbox", "offered_at", "DATETIME"),
)
"""Columns that came later: table, name, definition."""

# Decisions, and what was sent, are evidence: the database itself refuses to change them.
_TRIGGERS: Final = (
    (
        "CREATE TRIGGER IF NOT EXISTS decision_no_update BEFORE UPDATE ON decision BEGIN"
        " SELECT RAISE(ABORT, 'decisions are append-only'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS decision_no_delete BEFORE DELETE ON decision BEGIN"
        " SELECT RAISE(ABORT, 'decisions are append-only'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS gate_event_no_update BEFORE UPDATE ON gate_event BEGIN"
        " SELECT RAISE(ABORT, 'events are append-only'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS gate_event_no_delete BEFORE DELETE ON gate_event BEGIN"
        " SELECT RAISE(ABORT, 'events are append-only'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS consent_no_update BEFORE UPDATE ON progress_consent BEGIN"
        " SELECT RAISE(ABORT, 'consents are append-only'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS consent_no_delete BEFORE DELETE ON progress_consent BEGIN"
        " SELECT RAISE(ABORT, 'consents are append-only'); END"
    ),
    (
        # A heartbeat says nothing of any patient or model; a year of them would fill the file.
        "CREATE TRIGGER IF NOT EXISTS outbox_no_delete BEFORE DELETE ON outbox WHEN OLD.kind <> 'HEARTBEAT' BEGIN"
        " SELECT RAISE(ABORT, 'what left is kept'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS outbox_fixed BEFORE UPDATE OF kind, body, size, sha256, idempotency_key, decision_id"
        " ON outbox BEGIN SELECT RAISE(ABORT, 'a payload does not change'); END"
    ),
    (
        # What became of it may still be noted: an answer comes later.
        "CREATE TRIGGER IF NOT EXISTS outbox_offered BEFORE UPDATE OF id, subject, created_at, offered_at"
        " ON outbox WHEN OLD.offered_at IS NOT NULL BEGIN SELECT RAISE(ABORT, 'what left is kept'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS outbox_sent BEFORE UPDATE ON outbox WHEN OLD.state = 'SENT' BEGIN"
        " SELECT RAISE(ABORT, 'what left is kept'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS head_no_update BEFORE UPDATE ON kepthead BEGIN"
        " SELECT RAISE(ABORT, 'heads are append-only'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS head_no_delete BEFORE DELETE ON kepthead BEGIN"
        " SELECT RAISE(ABORT, 'heads are append-only'); END"
    ),
)


class Store:
    """The site's store in one SQLite file (WAL), shared by the agent, its flows and the command line.

    Raises:
        HomeError: the file was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine = make_engine(f"sqlite:///{path}")
        self._create()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that holds the write lock from its first statement; committed at the end, or not at all."""
        with Session(self.engine, expire_on_commit=False) as session:
            session.connection(execution_options=WRITE)
            yield session
            session.commit()

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()

    def _create(self) -> None:
        with self.write() as session:
            connection = session.connection()
            version = connection.execute(text("PRAGMA user_version")).scalar_one()
            if version > SCHEMA_VERSION:
                raise HomeError(
                    f"{str(self.path)!r} was written by a newer Assay (version {version}): upgrade this one"
                )
            if version < SCHEMA_VERSION:
                SiteTable.metadata.create_all(connection)
                _add_columns(connection)
                for trigger in _TRIGGERS:
                    connection.execute(text(trigger))
                connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))


def _add_columns(connection: Connection) -> None:
    """Give tables of an older version the columns that came later."""
    for table, column, definition in _ADDED:
        if column not in {row.name for row in connection.execute(text(f"PRAGMA table_info({table})"))}:
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column} {definition}"))
