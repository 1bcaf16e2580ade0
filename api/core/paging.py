"""Pages: every list is one, and the database does the counting."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from fastapi import Query as InQuery
from sqlalchemy import ColumnElement, Select, func
from sqlmodel import Session, select

from api.schemas.common import Page

Row = TypeVar("Row")
Shown = TypeVar("Shown")
Query = TypeVar("Query", bound=Select[Any])


class PageRequest:
    """Which part of a list is wanted."""

    def __init__(
        self,
        limit: Annotated[int, InQuery(ge=1, le=200)] = 50,
        offset: Annotated[int, InQuery(ge=0, le=10**9)] = 0,
    ) -> None:
        self.limit, self.offset = limit, offset


Paging = Annotated[PageRequest, Depends()]


def narrow(query: Query, wanted: Iterable[tuple[Any, Any]]) -> Query:
    """A query with the filters that were asked for: columns and their values, where None does not filter."""
    conditions: list[ColumnElement[bool]] = [column == value for column, value in wanted if value is not None]
    return query.where(*conditions)


def page(session: Session, query: Select[Any], paging: PageRequest, show: Callable[[Row], Shown]) -> Page[Shown]:
    """One page of an ordered query, each row as it is shown."""
    total = session.exec(select(func.count()).select_from(query.order_by(None).subquery())).one()
    rows = session.scalars(query.limit(paging.limit).offset(paging.offset)).all()
    return Page(items=[show(row) for row in rows], total=total, limit=paging.limit, offset=paging.offset)
