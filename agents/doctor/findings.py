"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    """Work goes on; somebody should look."""
    FAIL = "fail"
    """Work will not go on until somebody does."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and how it ended."""

    check: str
    level: Level
    said: str
    fix: str = ""
    """What to do; empty when all is well."""


def ok(check: str, said: str) -> Finding:
    return Finding(check, Level.OK, said)


def warn(check: str, said: str, fix: str) -> Finding:
    return Finding(check, Level.WARN, said, fix)


def fail(check: str, said: str, fix: str) -> Finding:
    return Finding(check, Level.FAIL, said, fix)
