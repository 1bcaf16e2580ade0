"""Databases for Prefect's server: made and migrated once per PostgreSQL, then copied."""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from typing import Final

import psycopg
import structlog
from psycopg import sql
from sqlalchemy import URL, make_url

from agents.errors import AgentError
from flows.settings import ENVIRONMENT

_MIGRATION_S: Final = 300
_LOCK: Final = 0x41737361795F5066
"""Ours among the advisory locks of a server that others may use, too."""


class DatabaseError(AgentError):
    """A database for Prefect cannot be had; the message says why."""


def ensure_prefect_database(server_url: str, name: str) -> str:
    """A database of that name, ready for this version of Prefect.

    One that exists is left as it is: the server itself migrates it when it starts. A new one is a copy of a template that
    is migrated once per PostgreSQL and version, however many ask at the same time.

    Args:
        server_url: any database of the PostgreSQL, as SQLAlchemy writes it; the driver and the database in it do not
            matter. `ssl=verify-full` demands TLS, with an authority in the file that `PGSSLROOTCERT` names.
        name: of the database.

    Returns:
        The URL of the database for Prefect.

    Raises:
        DatabaseError: the PostgreSQL does not answer, or its user may not create databases.
    """
    url = _for_prefect(server_url, name)
    wanted = url.render_as_string(hide_password=False)
    try:
        with _connection(server_url) as connection:
            if not _exists(connection, name):
                _create(connection, server_url, name)
    except psycopg.Error as error:
        raise DatabaseError(
            f"database {name!r} cannot be made at {url.render_as_string()!r}: {error}. Let somebody who may create it,"
            f" with the extension pg_trgm, or name another server"
        ) from error
    return wanted


def drop_prefect_database(server_url: str, name: str) -> None:
    """Remove a database that was made for a while; nothing when it is not there.

    Raises:
        DatabaseError: the PostgreSQL does not answer, or its user may not.
    """
    try:
        with _connection(server_url) as connection:
            connection.execute(_statement("DROP DATABASE IF EXISTS {} WITH (FORCE)", name))
    except psycopg.Error as error:
        raise DatabaseError(f"database {name!r} cannot be removed: {error}. Remove it by hand") from error


def _create(connection: psycopg.Connection, server_url: str, name: str) -> None:
    template = "assay_prefect_" + version("prefect").replace(".", "_")
    connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    try:
        if not _exists(connection, template):
            _migrate(connection, server_url, template)
        if not _exists(connection, name):  # somebody else may have been faster
            try:
                connection.execute(_statement("CREATE DATABASE {} TEMPLATE {}", name, template))
            except psycopg.errors.InsufficientPrivilege:
                # Another user's template is theirs to copy. An empty one does: the server migrates it when it starts.
                connection.execute(_statement("CREATE DATABASE {}", name))
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def _migrate(connection: psycopg.Connection, server_url: str, template: str) -> None:
    """Make the template under another name first: half of one must not be taken for a whole one."""
    draft = template + "_draft"
    connection.execute(_statement("DROP DATABASE IF EXISTS {}", draft))
    connection.execute(_statement("CREATE DATABASE {}", draft))
    url = _for_prefect(server_url, draft)
    structlog.get_logger().info("Prefect's database is made; the first start alone takes its time for it")
    with tempfile.TemporaryDirectory(prefix="assay-prefect-") as home:
        settings = {
            **ENVIRONMENT,
            "PREFECT_HOME": home,
            "PREFECT_API_DATABASE_CONNECTION_URL": url.render_as_string(hide_password=False),
        }
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=_MIGRATION_S,
            check=False,
        )
    if done.returncode:
        raise DatabaseError(f"Prefect could not migrate database {draft!r}: {done.stdout[-500:]}{done.stderr[-500:]}")
    connection.execute(_statement("ALTER DATABASE {} RENAME TO {}", draft, template))


def _for_prefect(server_url: str, name: str) -> URL:
    return _said_as("ssl", make_url(server_url).set(drivername="postgresql+asyncpg", database=name))


def _said_as(word: str, url: URL) -> URL:
    """How TLS is asked for: asyncpg calls `ssl` what is `sslmode` for everybody else, with the same values."""
    return url.set(query={word if key in {"ssl", "sslmode"} else key: value for key, value in url.query.items()})


def _connection(server_url: str) -> psycopg.Connection:
    # Part by part: as one address, a password with a space in it would not be what it was.
    url = _said_as("sslmode", make_url(server_url).set(database="postgres"))
    parts = url.translate_connect_args(username="user", database="dbname") | dict(url.query)
    return psycopg.connect(**parts, autocommit=True, connect_timeout=15)


def _exists(connection: psycopg.Connection, name: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def _statement(text: str, *names: str) -> sql.Composed:
    return sql.SQL(text).format(*(sql.Identifier(name) for name in names))
