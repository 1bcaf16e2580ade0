"""What a site asks at its gates beyond one word: quorum, four eyes, delegation, expiry, reminders."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session

from agents.errors import ConflictError, InvalidInputError, NotPermittedError
from agents.home import GateSettings
from agents.store import Store, jobs
from agents.store import gates as book
from agents.store.delegations import decides_somewhere, delegate, end_delegations
from agents.store.people import revoke
from agents.store.tables import Gate, GateState, JobKind, Person, Role
from api.schemas.benchmarks import Verdict
from api.storage.columns import now

Make = Callable[[Role], Person]
SHOWN: dict[str, Any] = {"items": [{"item": "1"}, {"item": "2"}]}
SOON = timedelta(days=1)


def _open(session: Session, **settings: Any) -> Gate:
    return book.open_gate(
        session, name="release", title="Send?", subject="d", shown=SHOWN, flow_run_id="run-1",
        settings=GateSettings(**settings),
    )  # fmt: skip


def _decide(session: Session, gate: Gate, person: Person, verdict: Verdict = Verdict.APPROVE, *out: str) -> None:
    book.decide(
        session, gate_id=gate.id, digest=gate.digest, verdict=verdict, person=person, reason="seen", withheld=list(out)
    )


class TestQuorum:
    def test_one_of_two_decides_nothing(self, store: Store, person: Make) -> None:
        first, second = person(Role.DATA_OWNER), person(Role.DATA_OWNER)
        with store.write() as session:
            gate = _open(session, quorum=2)
            _decide(session, gate, first)
            assert book.valid_decision(session, gate.id) is None
            _decide(session, gate, second)
            assert gate.state == GateState.DECIDED
            assert book.valid_decision(session, gate.id) is not None

    def test_nobody_counts_twice(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            gate = _open(session, quorum=2)
            _decide(session, gate, owner)
            with pytest.raises(ConflictError, match="somebody else"):
                _decide(session, gate, owner)

    def test_one_rejection_rejects(self, store: Store, person: Make) -> None:
        first, second, third = (person(Role.DATA_OWNER) for _ in range(3))
        with store.write() as session:
            gate = _open(session, quorum=3)
            _decide(session, gate, first)
            _decide(session, gate, second, Verdict.REJECT)
            decision = book.valid_decision(session, gate.id)
            assert decision is not None
            assert decision.verdict == Verdict.REJECT
            with pytest.raises(ConflictError, match="decided already"):
                _decide(session, gate, third)

    def test_what_anybody_takes_out_stays(self, store: Store, person: Make) -> None:
        first, second = person(Role.DATA_OWNER), person(Role.DATA_OWNER)
        with store.write() as session:
            gate = _open(session, quorum=2)
            _decide(session, gate, first, Verdict.APPROVE, "1")
            _decide(session, gate, second, Verdict.APPROVE, "2")
            decision = book.valid_decision(session, gate.id)
            assert decision is not None
            assert decision.withheld == ["1", "2"]

    def test_one_who_may_no_longer_decide_is_missing_again(self, store: Store, person: Make) -> None:
        first, second = person(Role.DATA_OWNER), person(Role.DATA_OWNER)
        with store.write() as session:
            gate = _open(session, quorum=2)
            _decide(session, gate, first)
            _decide(session, gate, second)
            gone = session.get_one(Person, first.id)
            gone.role = Role.VIEWER
            session.add(gone)
            session.flush()
            assert book.valid_decision(session, gate.id) is None


class TestFourEyes:
    def test_whoever_asked_may_not_decide_somebody_else_may(self, store: Store, person: Make) -> None:
        asked, other = person(Role.DATA_OWNER), person(Role.DATA_OWNER)
        with store.write() as session:
            job = jobs.ask(session, JobKind.RELEASE, subject="d", parameters={}, requested_by=asked.id)
            jobs.mark_started(session, job.id, "run-1")
            gate = _open(session, four_eyes=True)
            with pytest.raises(NotPermittedError, match="four eyes"):
                _decide(session, gate, asked)
            _decide(session, gate, other)

    def test_nor_somebody_in_their_place(self, store: Store, person: Make) -> None:
        asked, helper = person(Role.DATA_OWNER), person(Role.OPERATOR)
        with store.write() as session:
            job = jobs.ask(session, JobKind.RELEASE, subject="d", parameters={}, requested_by=asked.id)
            jobs.mark_started(session, job.id, "run-1")
            gate = _open(session, four_eyes=True)
            delegate(session, asked, helper, until=now() + SOON)
            with pytest.raises(NotPermittedError, match="four eyes"):
                _decide(session, gate, helper)


class TestDelegation:
    def test_an_operator_decides_in_an_owners_place(self, store: Store, owner: Person, person: Make) -> None:
        helper = person(Role.OPERATOR)
        with store.write() as session:
            gate = _open(session)
            with pytest.raises(NotPermittedError):
                _decide(session, gate, helper)
            delegate(session, owner, helper, until=now() + SOON, gate_name="release")
            _decide(session, gate, helper)
            decision = book.valid_decision(session, gate.id)
            assert decision is not None
            assert decision.person == f"{helper.name} <{helper.email}> for {owner.name} <{owner.email}>"

    def test_not_at_another_kind_of_gate(self, store: Store, owner: Person, person: Make) -> None:
        helper = person(Role.OPERATOR)
        with store.write() as session:
            gate = _open(session)
            delegate(session, owner, helper, until=now() + SOON, gate_name="register_dataset")
            with pytest.raises(NotPermittedError):
                _decide(session, gate, helper)

    def test_both_are_one_vote(self, store: Store, owner: Person, person: Make) -> None:
        helper = person(Role.OPERATOR)
        with store.write() as session:
            gate = _open(session, quorum=2)
            delegate(session, owner, helper, until=now() + SOON)
            _decide(session, gate, helper)
            with pytest.raises(ConflictError):
                _decide(session, gate, owner)

    def _taken_back(self, session: Session, owner: Person, helper: Person) -> Gate:
        """A gate that was decided under a delegation that has ended since."""
        gate = _open(session)
        delegate(session, owner, helper, until=now() + SOON)
        _decide(session, gate, helper)
        assert end_delegations(session, owner) == 1
        session.flush()
        return gate

    def test_what_is_taken_back_counts_no_longer(self, store: Store, owner: Person, person: Make) -> None:
        helper = person(Role.OPERATOR)
        with store.write() as session:
            gate = self._taken_back(session, owner, helper)
            assert book.valid_decision(session, gate.id) is None

    def test_nor_when_it_is_given_again(self, store: Store, owner: Person, person: Make) -> None:
        helper = person(Role.OPERATOR)
        with store.write() as session:
            gate = self._taken_back(session, owner, helper)
            delegate(session, owner, helper, until=now() + SOON)
            assert book.valid_decision(session, gate.id) is None

    def test_whoever_gave_it_is_gone(self, store: Store, owner: Person, person: Make) -> None:
        helper = person(Role.VIEWER)
        with store.write() as session:
            gate = _open(session)
            delegate(session, owner, helper, until=now() + SOON)
            assert decides_somewhere(session, helper)
            revoke(session, owner.email)
            assert not decides_somewhere(session, helper)
            with pytest.raises(NotPermittedError):
                _decide(session, gate, helper)

    def test_an_operator_has_nothing_to_delegate(self, store: Store, person: Make) -> None:
        giver, taker = person(Role.OPERATOR), person(Role.OPERATOR)
        with store.write() as session, pytest.raises(NotPermittedError):
            delegate(session, giver, taker, until=now() + SOON)

    def test_not_to_oneself_nor_into_the_past(self, store: Store, owner: Person, person: Make) -> None:
        helper = person(Role.OPERATOR)
        with store.write() as session:
            with pytest.raises(InvalidInputError, match="themselves"):
                delegate(session, owner, owner, until=now() + SOON)
            with pytest.raises(InvalidInputError, match="over"):
                delegate(session, owner, helper, until=now() - SOON)


def _late(session: Session, gate: Gate) -> Gate:
    gate.expires_at = now() - timedelta(seconds=1)
    session.add(gate)
    session.flush()
    return gate


class TestExpiry:
    def test_in_time_it_is_renewed_and_decided(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            gate = _open(session, expires_days=1)
            book.renew(session, gate.id, owner, days=3)
            assert book.expire(session) == []
            _decide(session, gate, owner)
            assert [event.kind for event in book.events_of(session, gate.id)] == ["opened", "renewed"]

    @pytest.mark.parametrize("closed", [False, True])
    def test_afterwards_nobody_decides_or_renews(self, store: Store, owner: Person, *, closed: bool) -> None:
        with store.write() as session:
            gate = _late(session, _open(session, expires_days=1))
            if closed:
                book.expire(session)
            with pytest.raises(ConflictError, match=r"expired .*: ask for it again"):
                _decide(session, gate, owner)
            with pytest.raises(ConflictError, match=r"expired .*: ask for it again"):
                book.renew(session, gate.id, owner, days=1)
            assert book.valid_decision(session, gate.id) is None

    def test_it_is_closed_and_said_once(self, store: Store) -> None:
        with store.write() as session:
            gate = _late(session, _open(session, expires_days=1))
            assert [closed.id for closed in book.expire(session)] == [gate.id]
            assert book.expire(session) == []
            assert gate.state == GateState.EXPIRED
            assert [event.kind for event in book.events_of(session, gate.id)] == ["opened", "expired"]
            assert book.list_gates(session) == []

    def test_what_was_decided_in_time_stays_decided(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            gate = _open(session, expires_days=1)
            _decide(session, gate, owner)
            _late(session, gate)
            assert book.expire(session) == []
            assert book.valid_decision(session, gate.id) is not None


class TestRemind:
    def test_after_the_time_that_the_site_set_and_then_not_at_once_again(self, store: Store) -> None:
        settings = {"release": GateSettings(remind_days=2)}
        with store.write() as session:
            gate = _open(session)
            assert book.remind(session, settings) == []
            gate.opened_at = now() - timedelta(days=3)
            session.add(gate)
            assert [event.kind for event in book.remind(session, settings)] == ["reminded"]
            assert book.remind(session, settings) == []

    def test_events_are_never_changed(self, store: Store) -> None:
        with store.write() as session:
            gate = _open(session)
        with pytest.raises(DatabaseError, match="append-only"), store.write() as session:
            (event,) = book.events_of(session, gate.id)
            event.kind = "nothing"
            session.add(event)
