"""Pages: every list is one, and the database does the counting."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query
from sqlalchemy import Select, func
from sqlmodel import Session, select

from api.schemas.common import Page

Row = TypeVar("Row")
Shown = TypeVar("Shown")


class PageRequest:
    """Which part of a list is wanted."""

    def __init__(
        self,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> None:
        self.limit, self.offset = limit, offset


Paging = Annotated[PageRequest, Depends()]


def page(session: Session, query: Select[Any], paging: PageRequest, show: Callable[[Row], Shown]) -> Page[Shown]:
    """One page of an ordered query, each row as it is shown."""
    total = session.exec(select(func.count()).select_from(query.order_by(None).subquery())).one()
    rows = session.scalars(query.limit(paging.limit).offset(paging.offset)).all()
    return Page(items=[show(row) for row in rows], total=total, limit=paging.limit, offset=paging.offset)
