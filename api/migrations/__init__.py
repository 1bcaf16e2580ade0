"""The registry's database from one version to the next, without any configuration file.

`upgrade(url)` at start is all that an operator needs; several processes may call it at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from api.storage.engine import WRITE, make_engine

_HERE: Final = Path(__file__).parent
_LOCK: Final = 0x6D_69_67_72  # any number: PostgreSQL's migrations wait for each other at it


class MigrationError(Exception):
    """The database does not fit this version of Assay. The message says what to do."""


def upgrade(url: str) -> str:
    """Bring a database to this version, in one transaction: all of it, or nothing.

    Returns:
        The revision that it has now.

    Raises:
        MigrationError: it was made by a newer version.
    """
    with _locked(url) as connection:
        _known(_current(connection))
        command.upgrade(_config(connection), "head")
        return _current(connection) or ""


def downgrade(url: str, revision: str) -> None:
    """Take a database back to an earlier revision (`base`: to nothing). What only the later one can hold is lost.

    Raises:
        MigrationError: no such revision, or it was made by a newer version.
    """
    with _locked(url) as connection:
        _known(_current(connection))
        try:
            command.downgrade(_config(connection), revision)
        except CommandError as error:
            raise MigrationError(f"{revision!r} is no revision to go back to: {error}") from None


def current(url: str) -> str | None:
    """The revision of a database; None when it has none yet."""
    with _engine(url) as engine, engine.connect() as connection:
        return _current(connection)


def newest() -> str:
    """The revision that this version of Assay works with."""
    return _scripts().get_current_head() or ""


def require_current(engine: Engine) -> None:
    """Refuse to work on a database of another version.

    Raises:
        MigrationError: says which, and what to do.
    """
    with engine.connect() as connection:
        found = _current(connection)
    _known(found)
    if found != newest():
        raise MigrationError(
            f"the registry's database is at {found or 'no revision'!r}, this version works with {newest()!r}:"
            " run `assay registry upgrade`"
        )


def _config(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    # A per cent sign in the path would be read as an interpolation.
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _known(revision: str | None) -> None:
    if revision is not None and revision not in {script.revision for script in _scripts().walk_revisions()}:
        raise MigrationError(
            f"the registry's database is at {revision!r}, which this version of Assay does not know:"
            " it was made by a newer one; install that one"
        )


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = make_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _locked(url: str) -> Iterator[Connection]:
    """A connection in one transaction that no other migration runs beside."""
    with _engine(url) as engine, engine.connect().execution_options(**WRITE) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        yield connection
