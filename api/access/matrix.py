"""The permission matrix: which role may call which route, with which scope. What has no row here does not exist.

Some roles a token gives by itself; others a party has towards the one thing that the path names (`api.access.relations`).
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from api.schemas.people import Scope


class Role(StrEnum):
    ANYONE = "anyone"
    """Without a token."""
    USER = "user"
    """Any person who is signed in."""
    ADMINISTRATOR = "platform_administrator"
    SITE = "site"
    """A site's agent."""
    SERVICE = "service"
    """The registry's own review flows."""
    COMMITTEE = "committee"
    """On the committee of the benchmark that the path names or that what it names belongs to."""
    OWNER = "owner"
    """Owns what the path names: the person, or a person of the organization whose site it belongs to."""
    APPROVER = "approver"
    """May decide at the gate that the path names."""


class Rule(NamedTuple):
    """Who may call a route; `scope` is what their token must be good for."""

    roles: frozenset[Role]
    scope: Scope | None = None


def may(*roles: Role, scope: Scope | None = None) -> Rule:
    return Rule(frozenset(roles), scope)


MATRIX: Final[Mapping[tuple[str, str], Rule]] = MappingProxyType(
    {
        ("GET", "/v1/health"): may(Role.ANYONE),
    }
)
