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
    READER = "reader"
    """May have the file that the path names (`api.nouns.blobs.rules`)."""
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
        # People, sites and their tokens
        ("GET", "/v1/organizations"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/organizations"): may(Role.ADMINISTRATOR, scope=Scope.WRITE),
        ("GET", "/v1/organizations/{organization_id}"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("GET", "/v1/users"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/users"): may(Role.ADMINISTRATOR, scope=Scope.WRITE),
        ("GET", "/v1/users/me"): may(Role.USER, scope=Scope.READ),
        ("GET", "/v1/users/{user_id}"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/users/{user_id}/activate"): may(Role.ADMINISTRATOR, scope=Scope.WRITE),
        ("POST", "/v1/users/{user_id}/deactivate"): may(Role.ADMINISTRATOR, scope=Scope.WRITE),
        ("GET", "/v1/users/{user_id}/tokens"): may(Role.OWNER, Role.ADMINISTRATOR, scope=Scope.READ),
        ("POST", "/v1/users/{user_id}/tokens"): may(Role.ADMINISTRATOR, scope=Scope.WRITE),
        ("GET", "/v1/tokens"): may(Role.USER, scope=Scope.READ),
        ("POST", "/v1/tokens"): may(Role.USER, scope=Scope.WRITE),
        ("POST", "/v1/tokens/{token_id}/revoke"): may(Role.OWNER, Role.ADMINISTRATOR, scope=Scope.WRITE),
        ("GET", "/v1/sites"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/sites"): may(Role.ADMINISTRATOR, scope=Scope.WRITE),
        ("GET", "/v1/sites/{site_id}"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("GET", "/v1/sites/{site_id}/tokens"): may(Role.OWNER, Role.ADMINISTRATOR, scope=Scope.READ),
        ("POST", "/v1/sites/{site_id}/tokens"): may(Role.OWNER, Role.ADMINISTRATOR, scope=Scope.WRITE),
        # Files, cubes and models
        ("PUT", "/v1/blobs/{digest}"): may(Role.USER, scope=Scope.WRITE),
        ("GET", "/v1/blobs/{digest}"): may(Role.READER, scope=Scope.READ),
        ("GET", "/v1/cubes"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/cubes"): may(Role.USER, scope=Scope.WRITE),
        ("GET", "/v1/cubes/{cube_id}"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("GET", "/v1/models"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/models"): may(Role.USER, scope=Scope.WRITE),
        ("GET", "/v1/models/{model_id}"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        # The audit log
        ("GET", "/v1/audit"): may(Role.ADMINISTRATOR, scope=Scope.READ),
        ("GET", "/v1/audit/head"): may(Role.USER, Role.SITE, Role.SERVICE, scope=Scope.READ),
        ("GET", "/v1/audit/verification"): may(Role.USER, Role.SITE, Role.SERVICE, scope=Scope.READ),
    }
)
