"""The registry's database: tables share one metadata, requests one session each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

from fastapi import Depends, Request
from sqlalchemy import Engine, MetaData
from sqlalchemy.orm import registry
from sqlmodel import Session, SQLModel

from api.core.limits import UPLOADS
from api.storage.engine import WRITE

_NAMES: Final = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class RegistryTable(SQLModel, registry=registry(metadata=MetaData(naming_convention=_NAMES))):
    """The base of the registry's tables, with a metadata of its own: a site has tables of the same names."""


@contextmanager
def transaction(engine: Engine, *, write: bool) -> Iterator[Session]:
    """A session in one transaction; committed at the end when it writes, or not at all."""
    with Session(engine, expire_on_commit=False) as session:
        if write:
            session.connection(execution_options=WRITE)
        yield session
        if write:
            session.commit()


def writes(request: Request) -> bool:
    """Whether a request's session is a write transaction.

    An upload's is not: its body is still to come, and nobody else could write until it is there.
    """
    return request.method not in _SAFE and not request.url.path.startswith(UPLOADS)


def _session(request: Request) -> Iterator[Session]:
    with transaction(request.app.state.engine, write=writes(request)) as session:
        yield session


# The scope makes the commit happen before the answer is sent: nobody is told of what did not happen.
SessionDep = Annotated[Session, Depends(_session, scope="function")]
"""The request's session: a read for GET and uploads, one write transaction for everything else."""
