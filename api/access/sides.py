"""The parties that something has, each as a condition on its table: one source for lists and for single rows."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, or_, true
from sqlmodel import Session, select

from api.access.identity import Principal
from api.access.matrix import Role

Sides = Mapping[Role, ColumnElement[bool]]


def either(principal: Principal, sides: Sides) -> ColumnElement[bool]:
    """Rows that a party has any role towards. The registry's own service sees all."""
    return true() if principal.service else or_(*sides.values())


def roles_towards(session: Session, identifier: Any, number: int, sides: Sides) -> set[Role]:
    """The roles that a party has towards one row; `identifier` is the column of its number."""
    return {
        role
        for role, side in sides.items()
        if session.scalar(select(identifier).where(identifier == number, side)) is not None
    }
