"""The state machines, generated from their tables: every legal step leads where the table says, every other is refused."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import pytest

from api.core.errors import ConflictError
from api.core.states import Machine
from api.nouns.associations import states as associations
from api.nouns.benchmarks import states as benchmarks
from api.nouns.gates import states as gates
from api.schemas.benchmarks import AssociationState, BenchmarkState, GateState

MACHINES: dict[str, tuple[Machine[Any, Any], type[StrEnum], type[StrEnum]]] = {
    "benchmark": (benchmarks.MACHINE, BenchmarkState, benchmarks.Action),
    "association": (associations.MACHINE, AssociationState, associations.Action),
    "gate": (gates.MACHINE, GateState, gates.Action),
}


def _steps(*, legal: bool) -> list[Any]:
    return list(_each(legal=legal))


def _each(*, legal: bool) -> Iterator[Any]:
    for name, (machine, states, actions) in MACHINES.items():
        for state in (None, *states):
            for action in actions:
                if ((state, action) in machine.table) == legal:
                    yield pytest.param(name, state, action, id=f"{name}-{state}-{action}")


class TestNext:
    @pytest.mark.parametrize(("name", "state", "action"), _steps(legal=True))
    def test_a_legal_step_leads_on(self, name: str, state: Any, action: Any) -> None:
        machine, states, _ = MACHINES[name]
        assert machine.next(state, action, "it") in states

    @pytest.mark.parametrize(("name", "state", "action"), _steps(legal=False))
    def test_any_other_is_refused_and_says_what_is_possible(self, name: str, state: Any, action: Any) -> None:
        machine = MACHINES[name][0]
        possible = {a.value.replace("_", " ") for s, a in machine.table if s == state}
        with pytest.raises(ConflictError) as refused:
            machine.next(state, action, "thing 'x'")
        assert "thing 'x' is" in refused.value.detail
        listed = refused.value.fix.removeprefix("What is possible: ").rstrip(".").split(", ")
        assert set(listed) == (possible or {"nothing"})


class TestTables:
    """Whole tables, by equality: a new step is a decision, not an accident."""

    def test_a_benchmark_moves_like_this(self) -> None:
        assert _moves("benchmark") == {
            ("draft", "submit", "submitted"),
            ("submitted", "approve", "approved"),
            ("submitted", "reject", "rejected"),
            ("rejected", "submit", "submitted"),
            ("approved", "close", "closed"),
        }

    def test_an_association_moves_like_this(self) -> None:
        assert _moves("association") == {
            (None, "request", "requested"),
            ("requested", "approve", "approved"),
            ("requested", "reject", "rejected"),
            ("requested", "withdraw", "withdrawn"),
            ("approved", "withdraw", "withdrawn"),
            ("rejected", "request", "requested"),
            ("withdrawn", "request", "requested"),
        }

    def test_a_gate_moves_like_this(self) -> None:
        assert _moves("gate") == {
            ("open", "settle", "decided"),
            ("open", "cancel", "cancelled"),
            ("decided", "reopen", "open"),
            ("decided", "conclude", "concluded"),
            ("decided", "cancel", "cancelled"),
        }

    def test_only_an_approved_benchmark_runs(self) -> None:
        runs = {state for state, action in benchmarks.MACHINE.table if action == benchmarks.Action.RUN}
        assert runs == {BenchmarkState.APPROVED}

    def test_every_state_can_be_reached(self) -> None:
        for name, (machine, states, _) in MACHINES.items():
            start = {BenchmarkState.DRAFT, GateState.OPEN} & set(states)
            assert {*machine.table.values(), *start} == set(states), name


def _moves(name: str) -> set[tuple[str | None, str, str]]:
    table = MACHINES[name][0].table
    return {(state and state.value, action.value, to.value) for (state, action), to in table.items() if state != to}
