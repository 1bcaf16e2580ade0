"""Which roles a party has towards the thing that a path names.

Each noun whose identifier stands in a path registers one function here; `enforce` asks it.
"""

from collections.abc import Callable
from typing import Final

from sqlmodel import Session

from api.access.identity import Principal
from api.access.matrix import Role

Relation = Callable[[Session, Principal, int], set[Role]]
"""Raises NotFoundError when there is no such thing."""

RELATIONS: Final[dict[str, Relation]] = {}


def relates(parameter: str) -> Callable[[Relation], Relation]:
    """Register the relation of a path parameter, such as `benchmark_id`."""

    def register(relation: Relation) -> Relation:
        if parameter in RELATIONS:
            raise RuntimeError(f"the path parameter {parameter!r} has a relation already")
        RELATIONS[parameter] = relation
        return relation

    return register


def roles_of(session: Session, principal: Principal, parameters: dict[str, str]) -> set[Role]:
    """All roles that a party has: by their token, and towards what the path names."""
    roles = _by_token(principal)
    for name, value in parameters.items():
        if name in RELATIONS and value.isdigit() and len(value) < 19:  # noqa: PLR2004 - fits a 64-bit column
            roles |= RELATIONS[name](session, principal, int(value))
    return roles


def _by_token(principal: Principal) -> set[Role]:
    if principal.user is not None:
        return {Role.USER} | ({Role.ADMINISTRATOR} if principal.user.platform_administrator else set())
    return {Role.SITE} if principal.site is not None else {Role.SERVICE}
