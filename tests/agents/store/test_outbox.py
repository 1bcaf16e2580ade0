"""What leaves is queued once, with its decision, and tried until it is taken or refused for good."""

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session

from agents.errors import InvalidInputError
from agents.store import Store, gates, outbox
from agents.store.tables import Decision, OutboxItem, OutboxState, Person
from api.schemas.benchmarks import Verdict
from api.schemas.border import DatasetRegistration, Heartbeat, Isolation, PayloadKind, ProbeOutcome, SiteDecision
from api.storage.columns import now
from cubes.digests import digest_bytes

DIGEST = "sha256:" + "a" * 64
PROBE = ProbeOutcome(runtime="process", isolation=Isolation.ISOLATED, checks={"no_network": True}, probed_at=now())
HEARTBEAT = Heartbeat(sent_at=now(), agent_version="1", running=0, waiting_gates=0, probe=PROBE)


def _registration(**changes: Any) -> DatasetRegistration:
    decision = SiteDecision(
        gate="register_dataset", person="P <p@x.example>", decided_at=now(), digest=DIGEST, reason="r"
    )
    values: dict[str, Any] = {
        "name": "d1",
        "title": "D",
        "benchmark_id": 1,
        "preparator_digest": DIGEST,
        "root": DIGEST,
        "data_root": DIGEST,
        "labels_root": DIGEST,
        "metadata_root": None,
        "cases": 3,
        "statistics": {"cases": 3},
        "decision": decision,
    }
    return DatasetRegistration.model_validate({**values, **changes})


def _decision(session: Session, person: Person) -> Decision:
    gate = gates.open_gate(session, name="g", title="t", subject="s", shown={"a": 1}, flow_run_id="run")
    return gates.decide(
        session, gate_id=gate.id, digest=gate.digest, verdict=Verdict.APPROVE, person=person, reason="looked at it"
    )


class TestEnqueue:
    def test_the_same_key_is_the_same_item(self, store: Store) -> None:
        with store.write() as session:
            first = outbox.enqueue(session, PayloadKind.HEARTBEAT, HEARTBEAT, subject="s", key="k")
            assert outbox.enqueue(session, PayloadKind.HEARTBEAT, HEARTBEAT, subject="s", key="k").id == first.id

    def test_size_and_digest_are_those_of_the_bytes_that_travel(self, store: Store) -> None:
        with store.write() as session:
            item = outbox.enqueue(session, PayloadKind.HEARTBEAT, HEARTBEAT, subject="s", key="k")
        assert (item.size, item.sha256) == (len(item.body), digest_bytes(item.body))
        assert Heartbeat.model_validate_json(item.body) == HEARTBEAT

    def test_a_dataset_does_not_leave_without_a_decision(self, store: Store) -> None:
        with store.write() as session, pytest.raises(InvalidInputError, match="decision"):
            outbox.enqueue(session, PayloadKind.DATASET, _registration(), subject="d", key="k")

    def test_a_payload_that_is_too_large_is_not_queued(self, store: Store, owner: Person) -> None:
        large = _registration(decision=_registration().decision.model_copy(update={"reason": "x" * 300_000}))
        with store.write() as session:
            decision = _decision(session, owner)
            with pytest.raises(InvalidInputError, match="exceeds"):
                outbox.enqueue(session, PayloadKind.DATASET, large, subject="d", key="k", decision=decision)
            assert outbox.due(session) == []

    def test_a_payload_of_another_kind_is_not_queued(self, store: Store) -> None:
        with store.write() as session, pytest.raises(ValueError, match="Extra inputs"):
            outbox.enqueue(session, PayloadKind.EXECUTION_EVENT, HEARTBEAT, subject="s", key="k")

    def test_statistics_that_are_too_large_are_refused(self) -> None:
        with pytest.raises(ValueError, match="aggregate them"):
            _registration(statistics={"x": "y" * 200_000})


class TestSend:
    def _queue(self, store: Store) -> OutboxItem:
        with store.write() as session:
            return outbox.enqueue(session, PayloadKind.HEARTBEAT, HEARTBEAT, subject="s", key="k")

    def test_a_failed_try_waits_longer_each_time(self, store: Store) -> None:
        item = self._queue(store)
        waits = []
        for _ in range(12):
            with store.write() as session:
                before = now()
                outbox.mark_later(session, item.id or 0, "away")
                waits.append(round((session.get_one(OutboxItem, item.id).not_before - before).total_seconds()))
        assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]

    def test_what_waits_is_not_due(self, store: Store) -> None:
        item = self._queue(store)
        with store.write() as session:
            outbox.mark_later(session, item.id or 0, "away")
            assert outbox.due(session) == []
            late = session.get_one(OutboxItem, item.id)
            late.not_before = now() - timedelta(seconds=1)
            session.add(late)
            session.flush()
            assert [i.id for i in outbox.due(session)] == [item.id]

    def test_what_was_refused_is_kept_and_not_tried_again(self, store: Store) -> None:
        item = self._queue(store)
        with store.write() as session:
            outbox.mark_refused(session, item.id or 0, "409")
            assert outbox.due(session) == []
            assert outbox.waiting(session) == {OutboxState.REFUSED.value: 1}
            assert outbox.departures(session) == []

    def test_departures_say_who_allowed_it(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            decision = _decision(session, owner)
            item = outbox.enqueue(
                session, PayloadKind.DATASET, _registration(), subject="d1", key="d", decision=decision
            )
            outbox.mark_sent(session, item.id or 0)
        with store.read() as session:
            (left,) = outbox.departures(session)
        assert (left["kind"], left["bytes"], left["sha256"]) == ("dataset", item.size, item.sha256)
        assert left["decision"]["person"] == "Person 1 <p1@north.example>"
        assert left["decision"]["digest"] == decision.digest
