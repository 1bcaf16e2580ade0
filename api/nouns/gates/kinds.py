"""What the kinds of gates differ in: what they show, what must hold, and what their end brings about."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlmodel import Session

from api.access.acting import Act
from api.nouns.gates.tables import Gate
from api.schemas.benchmarks import GateKind, Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was decided: by whom in the end (none: the benchmark's own policy), and why."""

    verdict: Verdict
    by: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of gate.

    Args:
        show: what people must see to decide, computed from what is there now.
        check: raises ConflictError while the subject cannot be approved.
        conclude: moves the subject, in the transaction of whoever concludes.
    """

    show: Callable[[Session, Gate], dict[str, Any]]
    check: Callable[[Session, Gate], None]
    conclude: Callable[[Act, Gate, Outcome], None]


KINDS: Final[dict[GateKind, Kind]] = {}
"""Filled by the nouns that have gates."""
