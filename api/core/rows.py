"""Rows by their number: found or 404, locked against others, or added unless one is there already."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from api.core.database import RegistryTable
from api.core.errors import ApiError, NotFoundError

Row = TypeVar("Row", bound=RegistryTable)

_LARGEST: int = 2**31 - 1


def find(session: Session, table: type[Row], number: int) -> Row:
    """A row.

    Raises:
        NotFoundError: there is none.
    """
    return _found(session.get(table, number) if number <= _LARGEST else None, table, number)


def lock(session: Session, table: type[Row], number: int) -> Row:
    """A row as it is now, which nobody else changes until this transaction ends.

    SQLite has one writer at a time anyway. Rows that refer to it can still be added.

    Raises:
        NotFoundError: there is none.
    """
    session.flush()
    row = session.get(table, number, with_for_update={"key_share": True}, populate_existing=True)
    return _found(row, table, number)


def add(session: Session, row: Row, otherwise: ApiError) -> Row:
    """Add a row, or raise `otherwise` when the database says that it is there already.

    The check before it gives the better message; this one holds when two come at the same moment.
    """
    with unless_taken(session, otherwise):
        session.add(row)
    return row


@contextmanager
def unless_taken(session: Session, otherwise: ApiError) -> Iterator[None]:
    """Around changes that must not collide with another row: raise `otherwise` when they do."""
    session.flush()
    try:
        with session.begin_nested():
            yield
    except IntegrityError:
        raise otherwise from None


def _found(row: Row | None, table: type[Row], number: int) -> Row:
    if row is None:
        what = str(table.__tablename__).replace("_", " ")
        raise NotFoundError(f"there is no {what} {number!r}.", f"See the list of {what}s for what there is.")
    return row
