"""Every request passes here first: no row in the matrix, no answer."""

from collections.abc import Iterable, Mapping

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from sqlmodel import Session

from api.access.identity import OptionalPrincipal, Principal
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
    require(session, principal, (request.method, request.scope["route"].path), request.path_params)


def require(
    session: Session, principal: Principal | None, route: tuple[str, str], parameters: Mapping[str, str]
) -> None:
    """Let a party pass a route only as the matrix says, by whatever way they come.

    Args:
        session: to look up what the parameters name.
        principal: None for nobody.
        route: a key of the matrix.
        parameters: of the route's path.

    Raises:
        NotSignedInError, NotPermittedError, NotFoundError: as `enforce`.
    """
    rule = MATRIX[route]
    if Role.ANYONE in rule.roles:
        return
    if principal is None:
        raise NotSignedInError("nobody is signed in.", "Send a token: `Authorization: Bearer ...`.")
    if rule.scope is not None and rule.scope not in principal.scopes:
        raise NotPermittedError(
            f"this token is not good for {rule.scope.value!r}.", f"Issue one with the scope {rule.scope.value!r}."
        )
    if not roles_of(session, principal, dict(parameters), rule.roles) & rule.roles:
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
