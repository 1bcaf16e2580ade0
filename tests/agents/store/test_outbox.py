"""What leaves is queued once, with its decision, and tried until it is taken or refused for good."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

from agents.errors import InvalidInputError, NotClearedError, NotFoundError
from agents.home import GateSettings
from agents.store import Store, gates, outbox
from agents.store.tables import Decision, OutboxItem, OutboxState, Person, Role
from api.schemas.benchmarks import Verdict
from api.schemas.border import DatasetRegistration, Heartbeat, Isolation, PayloadKind, ProbeOutcome, SiteDecision
from api.storage.columns import now
from cubes.digests import digest_bytes

DIGEST = "sha256:" + "a" * 64
PROBE = ProbeOutcome(runtime="process", isolation=Isolation.ISOLATED, checks={"no_network": True}, probed_at=now())
HEARTBEAT = Heartbeat(sent_at=now(), agent_version="1", running=0, waiting_gates=0, probe=PROBE)


def _registration(**changes: Any) -> DatasetRegistration:
    decision = SiteDecision(
        gate="register_dataset",
        verdict=Verdict.APPROVE,
        person="P <p@x.example>",
        decided_at=now(),
        digest=DIGEST,
        reason="r",
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


def _decision(session: Session, person: Person, verdict: Verdict = Verdict.APPROVE) -> Decision:
    gate = gates.open_gate(session, name="g", title="t", subject="s", shown={"a": 1}, flow_run_id="run")
    return gates.decide(
        session, gate_id=gate.id, digest=gate.digest, verdict=verdict, person=person, reason="looked at it"
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
        with store.write() as session, pytest.raises(NotClearedError, match="decision"):
            outbox.enqueue(session, PayloadKind.DATASET, _registration(), subject="d", key="k")

    def test_a_dataset_does_not_leave_with_a_no(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            decision = _decision(session, owner, Verdict.REJECT)
            with pytest.raises(NotClearedError, match="decision"):
                outbox.enqueue(session, PayloadKind.DATASET, _registration(), subject="d", key="k", decision=decision)

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

    def test_what_waits_holds_back_what_is_about_the_same_subject(self, store: Store) -> None:
        """A model's `succeeded` must not overtake its `running`; another model's need not wait for it."""
        with store.write() as session:
            for key, subject in (("a1", "a"), ("a2", "a"), ("b1", "b")):
                outbox.enqueue(session, PayloadKind.HEARTBEAT, HEARTBEAT, subject=subject, key=key)
            first = outbox.due(session)[0]
            outbox.mark_later(session, first.id or 0, "not now")
            assert [item.idempotency_key for item in outbox.due(session)] == ["b1"]

    def test_a_clock_that_was_set_back_makes_nothing_wait_for_years(self, store: Store) -> None:
        item = self._queue(store)
        with store.write() as session:
            late = session.get_one(OutboxItem, item.id)
            late.not_before = now() + timedelta(days=365)
            session.add(late)
            session.flush()
            assert [i.id for i in outbox.due(session)] == [item.id]

    def test_an_absent_registry_makes_nothing_wait(self, store: Store) -> None:
        item = self._queue(store)
        with store.write() as session:
            outbox.note_problem(session, item.id or 0, "away")
            assert [(i.id, i.last_error, i.attempts) for i in outbox.due(session)] == [(item.id, "away", 1)]

    def test_a_person_may_have_a_refused_payload_tried_again(self, store: Store) -> None:
        item = self._queue(store)
        with store.write() as session:
            outbox.mark_refused(session, item.id or 0, "409")
            assert [i.id for i in outbox.refused(session)] == [item.id]
            outbox.try_again(session, item.id or 0)
            assert [i.id for i in outbox.due(session)] == [item.id]
            with pytest.raises(NotFoundError, match="no refused payload"):
                outbox.try_again(session, item.id or 0)

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
        (evidence,) = left["decisions"]
        assert (evidence["person"], evidence["digest"]) == ("Person 1 <p1@north.example>", decision.digest)

    def test_departures_name_each_of_those_who_had_to_allow_it(
        self, store: Store, person: Callable[[Role], Person]
    ) -> None:
        people = [person(Role.DATA_OWNER), person(Role.DATA_OWNER)]
        with store.write() as session:
            gate = gates.open_gate(
                session, name="g", title="t", subject="s", shown={}, flow_run_id="run", settings=GateSettings(quorum=2)
            )
            for owner, reason in zip(people, ("aggregates only", "none is rare"), strict=True):
                gates.decide(
                    session,
                    gate_id=gate.id,
                    digest=gate.digest,
                    verdict=Verdict.APPROVE,
                    person=owner,
                    reason=reason,
                )
            decision = gates.decision_of(session, gate.id)
            item = outbox.enqueue(
                session, PayloadKind.DATASET, _registration(), subject="d", key="d", decision=decision
            )
            outbox.mark_offered(session, item.id or 0)
            (left,) = outbox.departures(session)
        assert [(each["person"], each["reason"]) for each in left["decisions"]] == [
            ("Person 1 <p1@north.example>", "aggregates only"),
            ("Person 2 <p2@north.example>", "none is rare"),
        ]


class TestForgetHeartbeats:
    def test_old_heartbeats_go_and_the_rest_stays(self, store: Store, owner: Person) -> None:
        with store.write() as session:
            decision = _decision(session, owner)
            kept = outbox.enqueue(
                session, PayloadKind.DATASET, _registration(), subject="d", key="d", decision=decision
            )
            beat = outbox.enqueue(session, PayloadKind.HEARTBEAT, HEARTBEAT, subject="s", key="sent")
            outbox.enqueue(session, PayloadKind.HEARTBEAT, HEARTBEAT, subject="s", key="queued")
            for item in (kept, beat):
                outbox.mark_sent(session, item.id or 0)
        with store.write() as session:
            assert outbox.forget_heartbeats(session, now() - timedelta(days=1)) == 0
            assert outbox.forget_heartbeats(session, now() + timedelta(seconds=1)) == 1
        with store.read() as session:
            assert {item.idempotency_key for item in session.exec(select(OutboxItem))} == {"d", "queued"}

    def test_one_that_was_refused_goes_too_and_one_that_waits_for_its_answer_stays(self, store: Store) -> None:
        with store.write() as session:
            for key in ("refused", "unanswered"):
                item = outbox.enqueue(session, PayloadKind.HEARTBEAT, HEARTBEAT, subject="s", key=key)
                outbox.mark_offered(session, item.id or 0)
                if key == "refused":
                    outbox.mark_refused(session, item.id or 0, "409")
        with store.write() as session:
            assert outbox.forget_heartbeats(session, now() + timedelta(seconds=1)) == 1
            assert [each["state"] for each in outbox.departures(session)] == ["no answer yet"]
