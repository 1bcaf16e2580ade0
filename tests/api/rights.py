"""Who may call which route, as one table that people read: made from the OpenAPI document, and read back from its file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from api.access.document import ROLES, SCHEME
from api.access.matrix import Role

FILE: Final = Path(__file__).with_name("permissions.txt")
COLUMNS: Final[Mapping[Role, str]] = {
    Role.ANYONE: "anyone",
    Role.USER: "user",
    Role.ADMINISTRATOR: "administrator",
    Role.COMMITTEE: "committee",
    Role.OWNER: "owner",
    Role.APPROVER: "approver",
    Role.READER: "reader",
    Role.SITE: "site",
    Role.SERVICE: "service",
}
_PEOPLE: Final = frozenset({Role.ADMINISTRATOR, Role.COMMITTEE, Role.OWNER, Role.APPROVER, Role.READER})
"""These are people who are signed in, and something more."""
_INTRODUCTION: Final = """\
# Who may call which route of the registry.
#
# The tests make this table from the OpenAPI document and compare it with this file by equality, and they call every route
# as every party. A new route or a changed right is a change of this file, which people review.
#
# anyone         without a token
# user           any person who is signed in
# administrator  a platform administrator; in every other way a user
# committee      on the committee of the benchmark that the path names or that what it names belongs to
# owner          owns what the path names: the person, or somebody of the organization whose site it belongs to
# approver       may decide at the gate that the path names, because the other side asked
# reader         has sent the file that the path names, or may have it for another reason
# site           a site's agent; towards its own datasets it is an owner, too
# service        the registry's own review flows
#
# The scope is what the token must be good for.
"""


class Right(NamedTuple):
    """One line of the table."""

    method: str
    path: str
    scope: str
    allowed: frozenset[Role]

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"


def of_document(document: Mapping[str, Any]) -> list[Right]:
    """The rights of every route in an OpenAPI document, in the order of their paths."""
    return sorted(_rights(document), key=lambda right: (right.path, right.method))


def written(rights: list[Right]) -> str:
    """The table as it stands in the file."""
    route = max(len(right.route) for right in rights)
    lines = [_line("route".ljust(route), "scope", list(COLUMNS.values()))]
    for right in rights:
        cells = ["yes" if role in right.allowed else "-" for role in COLUMNS]
        lines.append(_line(right.route.ljust(route), right.scope, cells))
    return _INTRODUCTION + "\n" + "\n".join(lines) + "\n"


def read() -> list[Right]:
    """The reviewed table."""
    lines = [line.split() for line in FILE.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return [
        Right(method, path, scope, frozenset(role for role, cell in zip(COLUMNS, cells, strict=True) if cell == "yes"))
        for method, path, scope, *cells in lines[1:]
    ]


def _line(route: str, scope: str, cells: list[str]) -> str:
    columns = (cell.ljust(len(name)) for cell, name in zip(cells, COLUMNS.values(), strict=True))
    return f"{route}  {scope.ljust(8)}{'  '.join(columns)}".rstrip()


def _rights(document: Mapping[str, Any]) -> Iterator[Right]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            roles = {Role(role) for role in operation[ROLES]}
            wanted = [scope for scheme in operation.get("security", []) for scope in scheme[SCHEME]]
            allowed = frozenset(role for role in COLUMNS if _may(role, roles))
            yield Right(method.upper(), path, ",".join(wanted) or "-", allowed)


def _may(role: Role, roles: set[Role]) -> bool:
    return Role.ANYONE in roles or role in roles or (role in _PEOPLE and Role.USER in roles)
