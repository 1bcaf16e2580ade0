"""Columns that the registry's tables and a site's share."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import DateTime, Enum
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_WORD_LENGTH: Final = 40


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC: SQLite forgets time zones, we do not."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else value.replace(tzinfo=UTC)


def word_of(kind: type[StrEnum]) -> Any:
    """A column of the values of an enumeration, kept as text: a database's own enumerations are hard to extend."""
    return Enum(
        kind, values_callable=lambda members: [m.value for m in members], native_enum=False, length=_WORD_LENGTH
    )


def now() -> datetime:
    return datetime.now(UTC)
