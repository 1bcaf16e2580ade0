"""State machines as tables: what may be done in which state, and where it leads."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from api.core.errors import ConflictError

State = TypeVar("State", bound=StrEnum)
Action = TypeVar("Action", bound=StrEnum)


class Machine(Generic[State, Action]):
    """Args:
    table: (state, action) to the next state; the state None is before there is anything. What is not in it is illegal.
    """

    def __init__(self, table: Mapping[tuple[State | None, Action], State]) -> None:
        self.table = dict(table)

    def next(self, state: State | None, action: Action, what: str) -> State:
        """Where an action leads.

        Args:
            state: the present one.
            action: what somebody wants to do.
            what: the thing, as the error names it.

        Raises:
            ConflictError: the action does not fit the state; says which do.
        """
        following = self.table.get((state, action))
        if following is None:
            present = "not there yet" if state is None else state.value
            possible = ", ".join(sorted(a.value.replace("_", " ") for s, a in self.table if s == state)) or "nothing"
            raise ConflictError(
                f"{what} is {present}: {action.value.replace('_', ' ')!r} is not possible now.",
                f"What is possible: {possible}.",
            )
        return following
