"""The OpenAPI document says of every route what the permission matrix says: who may call it, and with which scope."""

from typing import Any, Final

from api.access.matrix import MATRIX, Role

SCHEME: Final = "token"
"""The security scheme's name in the document."""
ROLES: Final = "x-roles"
"""The extension that lists a route's roles."""


def with_rights(document: dict[str, Any]) -> dict[str, Any]:
    """Add roles and scope to every operation of a document; doing it twice changes nothing."""
    bearer = {"type": "http", "scheme": "bearer", "description": "A token of a person, a site, or the registry itself."}
    document.setdefault("components", {})["securitySchemes"] = {SCHEME: bearer}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            rule = MATRIX[method.upper(), path]
            operation[ROLES] = sorted(role.value for role in rule.roles)
            if Role.ANYONE not in rule.roles:
                operation["security"] = [{SCHEME: [] if rule.scope is None else [rule.scope.value]}]
    return document
