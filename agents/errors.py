"""What can go wrong at a site, as one tree.

AgentError
 ├─ HomeError              the site's folder is missing, damaged or of a newer version
 ├─ NotFoundError          no such person, dataset, job or gate at this site
 ├─ ConflictError          the action does not fit the present state
 ├─ NotPermittedError      the signed-in person may not do this
 ├─ NotSignedInError       no token, or one that is unknown, expired or revoked
 ├─ InvalidInputError      what was given cannot be used
 ├─ NotClearedError        a payload may not leave the site
 ├─ DatasetChangedError    files differ from what was registered
 ├─ StepFailedError        a cube's step failed; carries its class and exit code
 └─ PrefectError           the site's Prefect server refused or did not answer (agents.prefect_api)
"""

from api.schemas.border import ErrorClass


class AgentError(Exception):
    """The base of everything that this package raises on purpose."""


class HomeError(AgentError):
    """The site's folder cannot be used."""


class NotFoundError(AgentError):
    """Nothing here has that name."""


class ConflictError(AgentError):
    """The action does not fit the present state."""


class NotPermittedError(AgentError):
    """The signed-in person's role does not allow this."""


class NotSignedInError(AgentError):
    """Nobody is signed in, or with a token that is not valid."""


class InvalidInputError(AgentError):
    """What was given cannot be used."""


class NotClearedError(AgentError):
    """A payload may not leave the site."""


class DatasetChangedError(AgentError):
    """A dataset's files are not those that were registered."""

    def __init__(self, name: str, registered: str, found: str, files: list[str]) -> None:
        listed = ", ".join(repr(file) for file in files[:5]) + (", ..." if len(files) > 5 else "")  # noqa: PLR2004 - enough to start looking
        super().__init__(
            f"dataset {name!r} changed after it was registered: registered root {registered}, found {found}"
            f" ({len(files)} file(s): {listed}). Restore the files, or prepare and register them as a new dataset."
        )
        self.registered, self.found, self.files = registered, found, files


class StepFailedError(AgentError):
    """A step of a cube failed. `error_class` and `exit_code` may leave the site; the message may not."""

    def __init__(self, message: str, error_class: ErrorClass, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.error_class, self.exit_code = error_class, exit_code
