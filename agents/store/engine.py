"""The store's file: opened safely for several processes, with rows that cannot be rewritten."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, event, text
from sqlmodel import Session, create_engine

from agents.errors import HomeError
from agents.store.tables import SiteTable

SCHEMA_VERSION: Final = 1

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
        "CREATE TRIGGER IF NOT EXISTS outbox_no_delete BEFORE DELETE ON outbox BEGIN"
        " SELECT RAISE(ABORT, 'what left is kept'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS outbox_fixed BEFORE UPDATE OF kind, body, size, sha256, idempotency_key, decision_id"
        " ON outbox BEGIN SELECT RAISE(ABORT, 'a payload does not change'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS outbox_sent BEFORE UPDATE ON outbox WHEN OLD.state = 'SENT' BEGIN"
        " SELECT RAISE(ABORT, 'what left is kept'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS keptHead_no_update BEFORE UPDATE ON kepthead BEGIN"
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
        self.engine = _engine(path)
        self._create()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that holds the write lock from its first statement; committed at the end, or not at all."""
        with Session(self.engine, expire_on_commit=False) as session:
            session.connection(execution_options={"assay_write": True})
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
            if version == 0:
                SiteTable.metadata.create_all(connection)
                for trigger in _TRIGGERS:
                    connection.execute(text(trigger))
                connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver's own transaction handling begins too late: we say BEGIN ourselves.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("assay_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
