"""The store's file keeps evidence against its own owner, and several processes may use it."""

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from agents.errors import HomeError
from agents.home import Home
from agents.store import Store, outbox
from agents.store.gates import decide, open_gate
from agents.store.tables import Decision, Job, JobKind, KeptHead, OutboxItem, OutboxState, Person, ProgressConsent
from api.schemas.benchmarks import Verdict
from api.schemas.border import PayloadKind
from api.storage.columns import now


def _decided(store: Store, owner: Person) -> None:
    with store.write() as session:
        gate = open_gate(session, name="g", title="t", subject="s", shown={"a": 1}, flow_run_id="run")
        decide(session, gate_id=gate.id, digest=gate.digest, verdict=Verdict.APPROVE, person=owner, reason="because")


def _event(**changes: Any) -> OutboxItem:
    """An event in the outbox."""
    values = {"subject": "s", "body": b"{}", "size": 2, "sha256": "x", "idempotency_key": "k"}
    return OutboxItem(kind=PayloadKind.EXECUTION_EVENT, **{**values, **changes})


class TestEvidence:
    @pytest.mark.parametrize("statement", ["UPDATE decision SET reason = 'x'", "DELETE FROM decision"])
    def test_decisions_cannot_be_rewritten(self, store: Store, owner: Person, home: Home, statement: str) -> None:
        _decided(store, owner)
        with sqlite3.connect(home.store_file) as raw, pytest.raises(sqlite3.IntegrityError, match="append-only"):
            raw.execute(statement)
        raw.close()

    @pytest.mark.parametrize(
        "statement", ["UPDATE outbox SET body = x'00'", "UPDATE outbox SET attempts = 9", "DELETE FROM outbox"]
    )
    def test_what_left_cannot_be_rewritten(self, store: Store, home: Home, statement: str) -> None:
        with store.write() as session:
            session.add(_event(state=OutboxState.SENT, sent_at=now()))
        with sqlite3.connect(home.store_file) as raw, pytest.raises(sqlite3.IntegrityError):
            raw.execute(statement)
        raw.close()

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE outbox SET body = x'00'",
            "UPDATE outbox SET sha256 = 'y'",
            "UPDATE outbox SET subject = 'another'",
            "UPDATE outbox SET offered_at = NULL",
            "DELETE FROM outbox",
        ],
    )
    def test_what_was_handed_over_cannot_be_rewritten_though_its_answer_may_come(
        self, store: Store, home: Home, statement: str
    ) -> None:
        with store.write() as session:
            session.add(_event(offered_at=now()))
        raw = sqlite3.connect(home.store_file)
        with pytest.raises(sqlite3.IntegrityError):
            raw.execute(statement)
        raw.execute("UPDATE outbox SET state = 'REFUSED', attempts = 1, last_error = 'refused with 409'")
        raw.close()

    def test_a_kept_head_cannot_be_rewritten(self, store: Store, home: Home) -> None:
        with store.write() as session:
            session.add(KeptHead(sequence=1, head="aa"))
        with sqlite3.connect(home.store_file) as raw, pytest.raises(sqlite3.IntegrityError):
            raw.execute("UPDATE kepthead SET head = 'bb'")
        raw.close()


class TestTransactions:
    def test_an_error_leaves_nothing(self, store: Store) -> None:
        with pytest.raises(IntegrityError), store.write() as session:
            session.add(Job(id="one", kind=JobKind.PREPARE))
            session.flush()
            session.add(
                Decision(
                    gate_id="none",
                    verdict=Verdict.APPROVE,
                    person_id=1,
                    counts_for=1,
                    person="p",
                    digest="d",
                    reason="r",
                )
            )
            session.flush()
        with store.read() as session:
            assert session.exec(select(Job)).all() == []

    def test_writers_wait_for_each_other(self, store: Store) -> None:
        """A read-modify-write from many threads loses no update: the lock is taken before the read."""
        with store.write() as session:
            session.add(Job(id="counter", kind=JobKind.PREPARE, progress={"n": 0}))

        def add() -> None:
            for _ in range(20):
                with store.write() as session:
                    job = session.get_one(Job, "counter")
                    job.progress = {"n": job.progress["n"] + 1}
                    session.add(job)

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with store.read() as session:
            assert session.get_one(Job, "counter").progress == {"n": 80}


class TestOpen:
    def test_a_second_opening_keeps_what_is_there(self, home: Home, person: Callable[..., Person]) -> None:
        person("viewer")
        again = Store(home.store_file)
        with again.read() as session:
            assert len(session.exec(select(Person)).all()) == 1
        again.close()

    def test_a_file_of_the_first_version_gets_what_was_added_since(
        self, store: Store, home: Home, person: Callable[..., Person]
    ) -> None:
        owner = person("data_owner")
        store.close()
        raw = sqlite3.connect(home.store_file)
        raw.executescript("DROP TABLE progress_consent; PRAGMA user_version = 1;")
        raw.close()
        again = Store(home.store_file)
        with again.write() as session:
            session.add(ProgressConsent(dataset="d1", given=True, person_id=owner.id or 0, person="Owner"))
        with pytest.raises(IntegrityError, match="append-only"), again.write() as session:
            session.exec(text("UPDATE progress_consent SET given = 0"))  # type: ignore[call-overload]  # plain SQL on purpose
        with again.read() as session:
            assert len(session.exec(select(Person)).all()) == 1
        again.close()

    def test_what_left_before_that_was_noted_counts_as_gone_when_it_was_taken(self, store: Store, home: Home) -> None:
        taken = _event(state=OutboxState.SENT, sent_at=now())
        with store.write() as session:
            session.add_all([taken, _event(idempotency_key="waits")])
        store.close()
        raw = sqlite3.connect(home.store_file)
        raw.executescript(
            "DROP TRIGGER outbox_offered; ALTER TABLE outbox DROP COLUMN offered_at; PRAGMA user_version = 3;"
        )
        raw.close()
        again = Store(home.store_file)
        with again.write() as session:
            (left,) = outbox.departures(session)
            outbox.mark_offered(session, 2)
            assert len(outbox.departures(session)) == 2
        assert (left["id"], left["left_at"], left["state"]) == (1, left["sent_at"], "taken")
        again.close()

    def test_a_newer_file_is_refused(self, store: Store, home: Home) -> None:
        store.close()
        raw = sqlite3.connect(home.store_file)
        raw.execute("PRAGMA user_version = 99")
        raw.close()
        with pytest.raises(HomeError, match="newer"):
            Store(home.store_file)
