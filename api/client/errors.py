"""What can go wrong between a client and the registry, as one tree.

RegistryError
 ├─ Refused         the registry answered, and the answer is no
 ├─ Unreachable     no answer: away, too slow, or the connection broke
 └─ WrongContent    an answer that is not what it must be: other bytes, too many of them, no registry at all
"""

from pathlib import Path

from api.schemas.common import Problem


class RegistryError(Exception):
    """The base of everything that the client raises on purpose."""


class Refused(RegistryError):  # noqa: N818 - reads as what happened, in every `except` that names it
    """The registry's own no.

    Args:
        status: of HTTP.
        problem: what the registry says about it (RFC 9457).
    """

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(" ".join(part for part in (problem.detail, problem.fix) if part))
        self.status, self.problem = status, problem

    def __reduce__(self) -> tuple[type["Refused"], tuple[int, Problem]]:
        return type(self), (self.status, self.problem)


class Unreachable(RegistryError):  # noqa: N818 - as above
    """The registry did not answer; what was sent may or may not have arrived."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"the registry at {url!r} does not answer ({reason}): check the address and the network")
        self.url, self.reason = url, reason

    def __reduce__(self) -> tuple[type["Unreachable"], tuple[str, str]]:
        return type(self), (self.url, self.reason)


class WrongContent(RegistryError):  # noqa: N818 - as above
    """The registry's answer cannot be used."""


def too_large(what: str | Path, limit: int) -> WrongContent:
    return WrongContent(f"{str(what)!r} is larger than {limit} bytes: nothing was kept")
