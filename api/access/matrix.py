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


_BOTH_SIDES: Final = may(Role.COMMITTEE, Role.OWNER, Role.SERVICE, scope=Scope.READ)
_AT_THE_GATE: Final = may(Role.APPROVER, Role.COMMITTEE, Role.OWNER, Role.SERVICE, scope=Scope.READ)

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
        ("PUT", "/v1/users/me/password"): may(Role.USER, scope=Scope.DECIDE),  # it decides, too
        ("GET", "/v1/users/{user_id}"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/users/{user_id}/activate"): may(Role.ADMINISTRATOR, scope=Scope.WRITE),
        ("POST", "/v1/users/{user_id}/deactivate"): may(Role.ADMINISTRATOR, scope=Scope.WRITE),
        ("GET", "/v1/users/{user_id}/tokens"): may(Role.OWNER, Role.ADMINISTRATOR, scope=Scope.READ),
        ("POST", "/v1/users/{user_id}/invitations"): may(Role.ADMINISTRATOR, scope=Scope.WRITE),
        # Who has an invitation is not yet signed in: its secret is the proof.
        ("POST", "/v1/invitations/redeem"): may(Role.ANYONE),
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
        ("GET", "/v1/blobs/{digest}"): may(Role.READER, Role.SERVICE, scope=Scope.READ),
        ("GET", "/v1/cubes"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/cubes"): may(Role.USER, scope=Scope.WRITE),
        ("GET", "/v1/cubes/{cube_id}"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("GET", "/v1/cubes/{cube_id}/attachments"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/cubes/{cube_id}/attachments"): may(Role.OWNER, scope=Scope.WRITE),
        ("GET", "/v1/models"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/models"): may(Role.USER, scope=Scope.WRITE),
        ("GET", "/v1/models/{model_id}"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        # Benchmarks and their committees
        ("GET", "/v1/benchmarks"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/benchmarks"): may(Role.USER, scope=Scope.WRITE),
        ("GET", "/v1/benchmarks/{benchmark_id}"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("PUT", "/v1/benchmarks/{benchmark_id}"): may(Role.COMMITTEE, scope=Scope.WRITE),
        ("POST", "/v1/benchmarks/{benchmark_id}/submit"): may(Role.COMMITTEE, scope=Scope.WRITE),
        ("POST", "/v1/benchmarks/{benchmark_id}/close"): may(Role.COMMITTEE, scope=Scope.WRITE),
        ("PATCH", "/v1/benchmarks/{benchmark_id}/policy"): may(Role.COMMITTEE, scope=Scope.WRITE),
        ("PUT", "/v1/benchmarks/{benchmark_id}/metrics-cube"): may(Role.COMMITTEE, scope=Scope.WRITE),
        ("GET", "/v1/benchmarks/{benchmark_id}/committee"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/benchmarks/{benchmark_id}/committee"): may(Role.COMMITTEE, scope=Scope.WRITE),
        ("DELETE", "/v1/benchmarks/{benchmark_id}/committee/{member_id}"): may(Role.COMMITTEE, scope=Scope.WRITE),
        ("GET", "/v1/benchmarks/{benchmark_id}/leaderboard"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/benchmarks/{benchmark_id}/release"): may(Role.COMMITTEE, scope=Scope.WRITE),
        # Associations: who may ask for which, the rules say
        ("GET", "/v1/associations"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("POST", "/v1/associations"): may(Role.USER, scope=Scope.WRITE),
        ("GET", "/v1/associations/{association_id}"): _BOTH_SIDES,
        ("GET", "/v1/associations/{association_id}/history"): _BOTH_SIDES,
        ("POST", "/v1/associations/{association_id}/withdraw"): may(Role.COMMITTEE, Role.OWNER, scope=Scope.WRITE),
        ("PUT", "/v1/associations/{association_id}/compatibility"): may(Role.OWNER, scope=Scope.WRITE),
        ("PUT", "/v1/associations/{association_id}/priority"): may(Role.COMMITTEE, scope=Scope.WRITE),
        ("POST", "/v1/associations/{association_id}/consent"): may(Role.OWNER, scope=Scope.WRITE),
        ("DELETE", "/v1/associations/{association_id}/consent"): may(Role.OWNER, scope=Scope.WRITE),
        # Gates
        ("GET", "/v1/gates"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("GET", "/v1/gates/{gate_id}"): _AT_THE_GATE,
        ("GET", "/v1/gates/{gate_id}/decisions"): _AT_THE_GATE,
        ("POST", "/v1/gates/{gate_id}/decisions"): may(Role.APPROVER, scope=Scope.DECIDE),
        ("PUT", "/v1/gates/{gate_id}/flow-run"): may(Role.SERVICE, scope=Scope.SERVICE),
        ("POST", "/v1/gates/{gate_id}/refresh"): may(Role.SERVICE, scope=Scope.SERVICE),
        ("POST", "/v1/gates/{gate_id}/conclude"): may(Role.SERVICE, scope=Scope.SERVICE),
        # What sites told of; a dataset's statistics are filtered once more
        ("GET", "/v1/datasets"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("GET", "/v1/datasets/{dataset_id}"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("GET", "/v1/preparations"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("GET", "/v1/executions"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("GET", "/v1/executions/{execution_id}"): _BOTH_SIDES,
        ("GET", "/v1/results"): may(Role.USER, Role.SERVICE, scope=Scope.READ),
        ("GET", "/v1/results/{result_id}"): _BOTH_SIDES,
        # A site's agent
        ("GET", "/v1/site/work"): may(Role.SITE, scope=Scope.SITE),
        ("POST", "/v1/site/heartbeats"): may(Role.SITE, scope=Scope.SITE),
        ("POST", "/v1/site/preparations"): may(Role.SITE, scope=Scope.SITE),
        ("POST", "/v1/site/datasets"): may(Role.SITE, scope=Scope.SITE),
        ("POST", "/v1/site/execution-events"): may(Role.SITE, scope=Scope.SITE),
        ("POST", "/v1/site/results"): may(Role.SITE, scope=Scope.SITE),
        # The audit log
        ("GET", "/v1/audit"): may(Role.ADMINISTRATOR, scope=Scope.READ),
        ("GET", "/v1/audit/head"): may(Role.USER, Role.SITE, Role.SERVICE, scope=Scope.READ),
        ("GET", "/v1/audit/verification"): may(Role.USER, Role.SITE, Role.SERVICE, scope=Scope.READ),
    }
)
