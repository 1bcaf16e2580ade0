"""A benchmark's life: the one table of what is legal."""

from enum import StrEnum
from typing import Final

from api.core.states import Machine
from api.nouns.benchmarks.tables import Benchmark
from api.schemas.benchmarks import BenchmarkState as State


class Action(StrEnum):
    EDIT = "edit"
    SUBMIT = "submit"
    APPROVE = "approve"
    REJECT = "reject"
    UPDATE_POLICY = "update_policy"
    REPLACE_METRICS_CUBE = "replace_metrics_cube"
    ASSOCIATE = "associate"
    RUN = "run"
    RELEASE = "release"
    CLOSE = "close"


MACHINE: Final = Machine(
    {
        (State.DRAFT, Action.EDIT): State.DRAFT,
        (State.DRAFT, Action.UPDATE_POLICY): State.DRAFT,
        (State.DRAFT, Action.SUBMIT): State.SUBMITTED,
        (State.SUBMITTED, Action.APPROVE): State.APPROVED,
        (State.SUBMITTED, Action.REJECT): State.REJECTED,
        (State.REJECTED, Action.EDIT): State.REJECTED,
        (State.REJECTED, Action.UPDATE_POLICY): State.REJECTED,
        (State.REJECTED, Action.SUBMIT): State.SUBMITTED,
        (State.APPROVED, Action.UPDATE_POLICY): State.APPROVED,
        (State.APPROVED, Action.REPLACE_METRICS_CUBE): State.APPROVED,
        (State.APPROVED, Action.ASSOCIATE): State.APPROVED,
        (State.APPROVED, Action.RUN): State.APPROVED,
        (State.APPROVED, Action.RELEASE): State.APPROVED,
        (State.APPROVED, Action.CLOSE): State.CLOSED,
        # What was measured may still be published.
        (State.CLOSED, Action.RELEASE): State.CLOSED,
    }
)
PUBLIC: Final = frozenset({State.APPROVED, State.CLOSED})
"""Others than its committee and the platform administrators see a benchmark in these states."""


def step(benchmark: Benchmark, action: Action) -> None:
    """Do to a benchmark's state what an action does.

    Raises:
        ConflictError: the action is not legal now.
    """
    benchmark.state = MACHINE.next(benchmark.state, action, f"benchmark {benchmark.name!r}")
