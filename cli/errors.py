"""How a command ends: exit codes that mean something, and every known error as one line on stderr with its fix.

CliError
 ├─ NotSignedInError   3   no token for the registry or the site
 ├─ NotFoundError      5   nothing has that name
 ├─ ConflictError      6   it does not fit the present state, or the name is ambiguous
 ├─ InvalidInputError  7   what was given cannot be used
 ├─ RejectedError      9   a person said no
 ├─ FailedError       10   the work was done, and failed
 ├─ NotSetUpError     11   no profile, no home, or one that cannot be used
 └─ TimedOutError     12   not finished in the time that was given
"""

import os
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Any, ClassVar, Final


class Exit(IntEnum):
    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    NOT_SIGNED_IN = 3
    NOT_PERMITTED = 4
    NOT_FOUND = 5
    CONFLICT = 6
    INVALID_INPUT = 7
    UNREACHABLE = 8
    REJECTED = 9
    FAILED = 10
    NOT_SET_UP = 11
    TIMED_OUT = 12
    INTERRUPTED = 130


MEANINGS: Final = {
    Exit.OK: "done",
    Exit.UNEXPECTED: "an error that nobody foresaw, or the question was answered with no",
    Exit.USAGE: "a command, option or argument that does not exist or does not fit",
    Exit.NOT_SIGNED_IN: "no token, or one that is unknown, expired or revoked",
    Exit.NOT_PERMITTED: "your role or the token's scope does not allow it",
    Exit.NOT_FOUND: "nothing has that name or number",
    Exit.CONFLICT: "it does not fit the present state, or a name stands for several things",
    Exit.INVALID_INPUT: "what was given cannot be used",
    Exit.UNREACHABLE: "the registry or a server does not answer",
    Exit.REJECTED: "a person said no at a gate",
    Exit.FAILED: "the work was done and failed, or a verification found a fault",
    Exit.NOT_SET_UP: "no profile, no site's folder or no data folder, or one that cannot be used",
    Exit.TIMED_OUT: "not finished in the time that was given",
    Exit.INTERRUPTED: "interrupted from the keyboard",
}


class CliError(Exception):
    """The base of what the command line itself raises on purpose. The message says what to do."""

    code: ClassVar[Exit] = Exit.UNEXPECTED


class NotSignedInError(CliError):
    """There is no token to show."""

    code = Exit.NOT_SIGNED_IN


class NotFoundError(CliError):
    """Nothing has that name."""

    code = Exit.NOT_FOUND


class ConflictError(CliError):
    """It does not fit the present state."""

    code = Exit.CONFLICT


class InvalidInputError(CliError):
    """What was given cannot be used."""

    code = Exit.INVALID_INPUT


class RejectedError(CliError):
    """A person said no."""

    code = Exit.REJECTED


class FailedError(CliError):
    """The work was done, and failed."""

    code = Exit.FAILED


class NotSetUpError(CliError):
    """Nothing says which registry or which site."""

    code = Exit.NOT_SET_UP


class TimedOutError(CliError):
    """Not finished in time."""

    code = Exit.TIMED_OUT


_STATUS: Final = {
    400: Exit.INVALID_INPUT,
    401: Exit.NOT_SIGNED_IN,
    403: Exit.NOT_PERMITTED,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    413: Exit.INVALID_INPUT,
    415: Exit.INVALID_INPUT,
    422: Exit.INVALID_INPUT,
    429: Exit.UNREACHABLE,
    502: Exit.UNREACHABLE,
    503: Exit.UNREACHABLE,
    504: Exit.UNREACHABLE,
}

# By name, because an error's module is loaded when the error is there, and must not be loaded to look for it.
KNOWN: Final = {
    "agents.errors.HomeError": Exit.NOT_SET_UP,
    "agents.errors.NotFoundError": Exit.NOT_FOUND,
    "agents.errors.ConflictError": Exit.CONFLICT,
    "agents.errors.NotPermittedError": Exit.NOT_PERMITTED,
    "agents.errors.NotSignedInError": Exit.NOT_SIGNED_IN,
    "agents.errors.InvalidInputError": Exit.INVALID_INPUT,
    "agents.errors.DatasetChangedError": Exit.FAILED,
    "agents.errors.StepFailedError": Exit.FAILED,
    "agents.errors.AgentError": Exit.FAILED,
    "agents.prefect_api.PrefectError": Exit.UNREACHABLE,
    "agents.runtimes.protocol.RuntimeSetupError": Exit.NOT_SET_UP,
    "api.client.errors.Unreachable": Exit.UNREACHABLE,
    "api.client.errors.RegistryError": Exit.FAILED,
    "api.core.settings.SettingsError": Exit.NOT_SET_UP,
    "api.migrations.MigrationError": Exit.NOT_SET_UP,
    "cubes.errors.CubeError": Exit.INVALID_INPUT,
    "cubes.strict_yaml.StrictYamlError": Exit.INVALID_INPUT,
}
_Describe = Callable[[Any], tuple[Exit, str]]


def report(error: Exception) -> Exit:
    """Say on stderr what went wrong and what to do, and give the exit code."""
    if os.environ.get("ASSAY_DEBUG"):
        raise error
    code, message = explain(error)
    sys.stderr.write(f"assay: {_one_line(message)}\n")
    return code


def explain(error: Exception) -> tuple[Exit, str]:
    """The exit code of an error and what people are told."""
    if isinstance(error, CliError):
        return error.code, str(error)
    for ancestor in type(error).__mro__:
        name = f"{ancestor.__module__}.{ancestor.__qualname__}"
        if name in _DESCRIBED:
            return _DESCRIBED[name](error)
        if name in KNOWN:
            return KNOWN[name], str(error)
    return Exit.UNEXPECTED, f"unexpected {type(error).__name__}: {error} (ASSAY_DEBUG=1 shows where)"


def _refused(error: Any) -> tuple[Exit, str]:
    problem = error.problem
    return _STATUS.get(error.status, Exit.FAILED), f"{problem.detail} {problem.fix or ''}"


def _invalid(error: Any) -> tuple[Exit, str]:
    found = [
        f"{'.'.join(str(part) for part in item['loc']) or 'the whole'}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors(include_url=False, include_input=False)[:5]
    ]
    return Exit.INVALID_INPUT, f"{'; '.join(found)} (in {error.title})"


def _system(error: OSError) -> tuple[Exit, str]:
    named = "" if error.filename is None else f"{str(error.filename)!r}: "
    return Exit.INVALID_INPUT, f"{named}{error.strerror or error}"


_DESCRIBED: Final[dict[str, _Describe]] = {
    "api.client.errors.Refused": _refused,
    "pydantic_core._pydantic_core.ValidationError": _invalid,
    "builtins.OSError": _system,
}


def _one_line(message: str) -> str:
    """No line breaks, no control characters: part of it may have been written by a stranger."""
    return "".join(letter if letter.isprintable() else " " for letter in message).strip()
