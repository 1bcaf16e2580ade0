"""Every request passes here first: no row in the matrix, no answer."""

from collections.abc import Iterable

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute

from api.access.identity import OptionalPrincipal
from api.access.matrix import MATRIX, Role
from api.access.relations import roles_of
from api.core.database import SessionDep
from api.core.errors import NotPermittedError, NotSignedInError


def enforce(request: Request, session: SessionDep, principal: OptionalPrincipal) -> None:
    """Let a request pass only as the matrix says.

    Raises:
        NotSignedInError: the route wants somebody, and nobody is signed in.
        NotPermittedError: no role of the caller's is in the row, or the token's scopes do not reach.
        NotFoundError: the path names something that is not there.
    """
    path = request.scope["route"].path
    rule = MATRIX[request.method, path]
    if Role.ANYONE in rule.roles:
        return
    if principal is None:
        raise NotSignedInError("nobody is signed in.", "Send a token: `Authorization: Bearer ...`.")
    if rule.scope is not None and rule.scope not in principal.scopes:
        raise NotPermittedError(
            f"this token is not good for {rule.scope.value!r}.", f"Issue one with the scope {rule.scope.value!r}."
        )
    if not roles_of(session, principal, request.path_params, rule.roles) & rule.roles:
        wanted = " or ".join(sorted(role.value.replace("_", " ") for role in rule.roles))
        raise NotPermittedError(f"{principal.actor!r} may not do this.", f"It takes {wanted}.")


def check_complete(routers: Iterable[APIRouter]) -> None:
    """Refuse to start with a route that has no row, or a row that has no route. Routes hold their whole path.

    Raises:
        RuntimeError: names them.
    """
    routes = {
        (method, route.path)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    if wrong := routes ^ set(MATRIX):
        raise RuntimeError(f"routes and the permission matrix differ: {sorted(wrong)}")
