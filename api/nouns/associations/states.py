"""An association's life: the one table of what is legal."""

from enum import StrEnum
from typing import Final

from api.core.states import Machine
from api.schemas.benchmarks import AssociationState as State


class Action(StrEnum):
    REQUEST = "request"
    APPROVE = "approve"
    REJECT = "reject"
    WITHDRAW = "withdraw"
    ATTACH_COMPATIBILITY = "attach_compatibility"
    SET_PRIORITY = "set_priority"
    CONSENT = "consent"


MACHINE: Final = Machine(
    {
        (None, Action.REQUEST): State.REQUESTED,
        (State.REQUESTED, Action.APPROVE): State.APPROVED,
        (State.REQUESTED, Action.REJECT): State.REJECTED,
        (State.REQUESTED, Action.WITHDRAW): State.WITHDRAWN,
        (State.REQUESTED, Action.ATTACH_COMPATIBILITY): State.REQUESTED,
        (State.REQUESTED, Action.SET_PRIORITY): State.REQUESTED,
        (State.REQUESTED, Action.CONSENT): State.REQUESTED,
        (State.APPROVED, Action.WITHDRAW): State.WITHDRAWN,
        (State.APPROVED, Action.SET_PRIORITY): State.APPROVED,
        (State.APPROVED, Action.CONSENT): State.APPROVED,
        # What was released with the model in it may still be shown or hidden.
        (State.WITHDRAWN, Action.CONSENT): State.WITHDRAWN,
        (State.REJECTED, Action.REQUEST): State.REQUESTED,
        (State.WITHDRAWN, Action.REQUEST): State.REQUESTED,
    }
)
