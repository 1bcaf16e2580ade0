"""What can go wrong at the registry, as one tree. Each carries its status, and says what to do next.

ApiError
 ├─ NotSignedInError      401  no token, or one that is unknown, expired or revoked
 ├─ NotPermittedError     403  the signed-in party may not do this
 ├─ NotFoundError         404  nothing here has that name or number
 ├─ ConflictError         409  the action does not fit the present state
 ├─ TooLargeError         413  more bytes than are taken
 └─ InvalidInputError     422  what was given cannot be used
"""

from http import HTTPStatus
from typing import ClassVar


class ApiError(Exception):
    """The base of everything that the registry raises on purpose.

    Args:
        detail: what is wrong; quotes the identifier.
        fix: what to do next.
    """

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(f"{detail} {fix}".strip())
        self.detail, self.fix = detail, fix


class NotSignedInError(ApiError):
    """Nobody is signed in, or with a token that is not valid."""

    status = HTTPStatus.UNAUTHORIZED


class NotPermittedError(ApiError):
    """The signed-in party may not do this."""

    status = HTTPStatus.FORBIDDEN


class NotFoundError(ApiError):
    """Nothing here has that name or number."""

    status = HTTPStatus.NOT_FOUND


class ConflictError(ApiError):
    """The action does not fit the present state."""

    status = HTTPStatus.CONFLICT


class TooLargeError(ApiError):
    """More bytes than are taken."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class InvalidInputError(ApiError):
    """What was given cannot be used."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
