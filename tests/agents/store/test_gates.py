"""A decision counts for exactly what was shown, once, by somebody who may decide."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session

from agents.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError
from agents.store import Store
from agents.store import gates as book
from agents.store.tables import Gate, GateState, Person, Role
from api.schemas.benchmarks import Verdict
from cubes.digests import digest_of

SHOWN: dict[str, Any] = {"items": [{"item": "1", "auroc": 0.9}, {"item": "2", "auroc": float("nan")}]}
OTHER = digest_of({"something": "else"})


def _open(session: Session, shown: dict[str, Any] = SHOWN, run: str = "run-1") -> Gate:
    return book.open_gate(session, name="release", title="Send?", subject="d", shown=shown, flow_run_id=run)


def _decide(session: Session, gate: Gate, person: Person, **changes: Any) -> None:
    arguments: dict[str, Any] = {
        "gate_id": gate.id,
        "digest": gate.digest,
        "verdict": Verdict.APPROVE,
        "reason": "seen",
    }
    book.decide(session, person=person, **{**arguments, **changes})


class TestOpen:
    def test_the_same_question_is_the_same_gate(self, store: Store) -> None:
        with store.write() as session:
            assert _open(session).id == _open(session).id

    def test_the_digest_is_that_of_what_is_shown(self, store: Store) -> None:
        with store.write() as session:
            gate = _open(session)
            assert gate.digest == digest_of(SHOWN) == digest_of(gate.shown)

    def test_another_question_supersedes_the_first(self, store: Store) -> None:
        with store.write() as session:
            first, second = _open(session), _open(session, {"items": []})
            assert first.id != second.id
            assert [gate.id for gate in book.list_gates(session)] == [second.id]

    def test_a_question_that_returns_is_asked_again(self, store: Store) -> None:
        with store.write() as session:
            first = _open(session)
            _open(session, {"items": []})
            assert _open(session).id == first.id
            assert first.state == GateState.OPEN

    def test_another_run_has_a_gate_of_its_own(self, store: Store) -> None:
        with store.write() as session:
            assert _open(session).id != _open(session, run="run-2").id


class TestDecide:
    def test_it_is_written_with_name_digest_and_reason(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            gate = _open(session)
            _decide(session, gate, owner)
            decision = book.valid_decision(session, gate.id)
        assert decision is not None
        assert (decision.person, decision.digest, decision.reason) == (
            "Person 1 <p1@north.example>",
            gate.digest,
            "seen",
        )

    @pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER])
    def test_the_wrong_role_is_refused(self, store: Store, person: Callable[[Role], Person], role: Role) -> None:
        somebody = person(role)
        with store.write() as session:
            gate = _open(session)
            with pytest.raises(NotPermittedError, match=role.value):
                _decide(session, gate, somebody)
            assert book.decision_of(session, gate.id) is None

    def test_another_digest_is_refused_with_both(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            gate = _open(session)
            with pytest.raises(ConflictError) as caught:
                _decide(session, gate, owner, digest=OTHER)
        assert OTHER in str(caught.value)
        assert gate.digest in str(caught.value)

    def test_a_second_decision_is_refused(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            gate = _open(session)
            _decide(session, gate, owner)
            with pytest.raises(ConflictError, match="decided already"):
                _decide(session, gate, owner, verdict=Verdict.REJECT)

    def test_a_superseded_gate_is_refused(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            gate = _open(session)
            _open(session, {"items": []})
            with pytest.raises(ConflictError, match="superseded"):
                _decide(session, gate, owner)

    def test_a_gate_whose_content_was_edited_is_refused(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            gate = _open(session)
            gate.shown = {"items": []}
            with pytest.raises(ConflictError, match="look again"):
                _decide(session, gate, owner)

    def test_a_reason_is_needed(self, store: Store, owner: Person) -> None:
        with store.write() as session, pytest.raises(InvalidInputError, match="reason"):
            _decide(session, _open(session), owner, reason="  ")

    def test_items_can_be_withheld(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            gate = _open(session)
            _decide(session, gate, owner, withheld=["2"])
            decision = book.valid_decision(session, gate.id)
        assert decision is not None
        assert decision.withheld == ["2"]

    def test_an_item_that_is_not_there_cannot_be_withheld(self, store: Store, owner: Person) -> None:
        with store.write() as session, pytest.raises(InvalidInputError, match="'9'"):
            _decide(session, _open(session), owner, withheld=["9"])


class TestValid:
    def test_not_when_the_person_lost_the_role(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            gate = _open(session)
            _decide(session, gate, owner)
            someone = session.get_one(Person, owner.id)
            someone.role = Role.VIEWER
            session.add(someone)
            session.flush()
            assert book.valid_decision(session, gate.id) is None

    def test_not_when_what_was_shown_was_edited_afterwards(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            gate = _open(session)
            _decide(session, gate, owner)
            gate.shown = {"items": []}
            session.add(gate)
            assert book.valid_decision(session, gate.id) is None

    def test_not_for_a_gate_that_was_superseded(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            gate = _open(session)
            _decide(session, gate, owner)
            _open(session, {"items": []})
            assert book.valid_decision(session, gate.id) is None


class TestWake:
    def test_only_what_is_decided_and_once_a_sleep(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            gate, _waiting = _open(session), _open(session, run="run-2")
            _decide(session, gate, owner)
            assert [g.id for g in book.to_wake(session)] == [gate.id]
            book.mark_woken(session, gate.id)
            assert book.to_wake(session) == []
            book.mark_waiting(session, gate.id)
            assert [g.id for g in book.to_wake(session)] == [gate.id]

    def test_ending_a_run_closes_its_questions(self, store: Store) -> None:
        with store.write() as session:
            _open(session)
            book.close_gates_of(session, "run-1")
            assert book.list_gates(session) == []


class TestFind:
    def test_by_the_beginning_of_its_identifier(self, store: Store) -> None:
        with store.write() as session:
            gate = _open(session)
            assert book.find_gate(session, gate.id[:8]).id == gate.id

    @pytest.mark.parametrize("reference", ["", "abc", "%%%%", "zzzzzzzz"])
    def test_what_is_not_there(self, store: Store, reference: str) -> None:
        with store.write() as session:
            _open(session)
            with pytest.raises(NotFoundError, match="assay gate list"):
                book.find_gate(session, reference)
