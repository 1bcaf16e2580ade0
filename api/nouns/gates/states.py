"""A gate's life: the one table of what is legal."""

from enum import StrEnum
from typing import Final

from api.core.states import Machine
from api.nouns.gates.tables import Gate
from api.schemas.benchmarks import GateState as State


class Action(StrEnum):
    DECIDE = "decide"
    """One person's decision, with which the gate is not decided yet."""
    SETTLE = "settle"
    """As many as the quorum asks have decided, or somebody said no."""
    REOPEN = "reopen"
    """What is shown changed, or those who decided no longer may."""
    CONCLUDE = "conclude"
    CANCEL = "cancel"


MACHINE: Final = Machine(
    {
        (State.OPEN, Action.DECIDE): State.OPEN,
        (State.OPEN, Action.SETTLE): State.DECIDED,
        (State.OPEN, Action.REOPEN): State.OPEN,
        (State.OPEN, Action.CANCEL): State.CANCELLED,
        (State.DECIDED, Action.REOPEN): State.OPEN,
        (State.DECIDED, Action.CONCLUDE): State.CONCLUDED,
        (State.DECIDED, Action.CANCEL): State.CANCELLED,
    }
)
LIVE: Final = (State.OPEN, State.DECIDED)


def named(gate: Gate) -> str:
    return f"gate {gate.id} ({gate.title})"


def step(gate: Gate, action: Action) -> None:
    """Do to a gate's state what an action does.

    Raises:
        ConflictError: the action is not legal now.
    """
    gate.state = MACHINE.next(gate.state, action, named(gate))
