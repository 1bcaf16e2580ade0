"""Engines: SQLite opened safely for several processes, PostgreSQL as it is."""

import sqlite3
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event

WRITE: Final = {"assay_write": True}
"""Execution options of a connection that is going to write: SQLite then takes its write lock at once."""


def make_engine(url: str) -> Engine:
    """An engine for `sqlite:///...` or `postgresql+psycopg://...`.

    SQLite runs with a write-ahead log, full synchronisation and foreign keys. A transaction that will write says so
    (`session.connection(execution_options=WRITE)`), so that it waits for its turn at the start and never fails half-way.
    """
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})

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
