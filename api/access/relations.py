"""Which roles a party has towards the thing that a path names.

Each noun whose identifier stands in a path registers one function here; `enforce` asks it.
"""

import re
from collections.abc import Callable
from typing import Final

from sqlmodel import Session

from api.access.identity import Principal
from api.access.matrix import Role
from cubes.digests import Digest

Relation = Callable[[Session, Principal, int], set[Role]]
"""Raises NotFoundError when there is no such thing."""
DigestRelation = Callable[[Session, Principal, Digest], set[Role]]

RELATIONS: Final[dict[str, Relation]] = {}
DIGEST_RELATIONS: Final[dict[str, DigestRelation]] = {}
_LARGEST: Final = 2**31 - 1
"""What the databases' keys hold."""
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def relates(parameter: str) -> Callable[[Relation], Relation]:
    """Register the relation of a path parameter, such as `benchmark_id`."""

    def register(relation: Relation) -> Relation:
        _once(parameter)
        RELATIONS[parameter] = relation
        return relation

    return register


def relates_by_digest(parameter: str) -> Callable[[DigestRelation], DigestRelation]:
    """Register the relation of a path parameter that is a digest."""

    def register(relation: DigestRelation) -> DigestRelation:
        _once(parameter)
        DIGEST_RELATIONS[parameter] = relation
        return relation

    return register


def roles_of(session: Session, principal: Principal, parameters: dict[str, str], wanted: frozenset[Role]) -> set[Role]:
    """All roles that a party has: by their token, and towards what the path names.

    What is named by its digest is looked up only for a route that wants its reader: an upload names what is not there yet.
    """
    roles = _by_token(principal)
    for name, value in parameters.items():
        # What is no number and no digest the route itself refuses.
        if name in RELATIONS and _NUMBER.fullmatch(value) and int(value) <= _LARGEST:
            roles |= RELATIONS[name](session, principal, int(value))
        elif Role.READER in wanted and name in DIGEST_RELATIONS and _DIGEST.fullmatch(value):
            roles |= DIGEST_RELATIONS[name](session, principal, value)
    return roles


def _once(parameter: str) -> None:
    if parameter in RELATIONS or parameter in DIGEST_RELATIONS:
        raise RuntimeError(f"the path parameter {parameter!r} has a relation already")


def _by_token(principal: Principal) -> set[Role]:
    if principal.user is not None:
        return {Role.USER} | ({Role.ADMINISTRATOR} if principal.user.platform_administrator else set())
    return {Role.SITE} if principal.site is not None else {Role.SERVICE}
