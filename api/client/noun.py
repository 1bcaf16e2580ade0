"""What the client can do with every noun: list, all, get, create."""

from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from api.client.transport import Transport
from api.schemas.common import Page, Strict

Public = TypeVar("Public", bound=Strict)
Create = TypeVar("Create", bound=BaseModel)

_PAGE: Final = 200


class Listed(Generic[Public]):
    """A noun that can be read."""

    def __init__(self, transport: Transport, path: str, public: type[Public]) -> None:
        self._transport, self._path, self._public = transport, path, public

    def list(self, *, limit: int = 50, offset: int = 0, **filters: Any) -> Page[Public]:
        """One page; `filters` are the route's own, and one that is None does not filter.

        Raises:
            RegistryError: refused or unreachable.
        """
        return self._transport.get(
            self._path,
            Page[self._public],  # type: ignore[name-defined]  # a class made at run time
            {"limit": limit, "offset": offset, **filters},
        )

    def all(self, **filters: Any) -> Iterator[Public]:
        """Everything that matches, page by page."""
        offset = 0
        while True:
            page = self.list(limit=_PAGE, offset=offset, **filters)
            yield from page.items
            offset += len(page.items)
            if not page.items or offset >= page.total:
                return

    def get(self, identifier: int) -> Public:
        """One by its number.

        Raises:
            Refused: 404, there is none.
        """
        return self._transport.get(f"{self._path}/{identifier}", self._public)


class Noun(Listed[Public], Generic[Public, Create]):
    """A noun that can be read and made."""

    def create(self, new: Create) -> Public:
        """Make one.

        Raises:
            Refused: 409 when the name is taken, 422 when a value does not fit.
        """
        return self._transport.post(self._path, self._public, new)
