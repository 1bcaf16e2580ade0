"""What left this hospital, and who approved it."""

import json

import pytest
from sqlmodel import Session

from agents.home import GateSettings
from agents.store import gates, outbox
from agents.store.people import add_person
from agents.store.tables import Decision, Gate, Person, Role
from api.schemas.benchmarks import Verdict
from api.schemas.border import ExecutionEvent, ExecutionState, PayloadKind, Step
from api.storage.columns import now
from cubes.digests import digest_bytes
from tests.cli.support import Assay, Here, sha


def _event(seed: str) -> ExecutionEvent:
    return ExecutionEvent(
        execution=sha(seed),
        benchmark_id=4,
        model_id=1,
        dataset_id=7,
        step=Step.INFER,
        state=ExecutionState.RUNNING,
        attempt=1,
        started_at=now(),
    )


def _approve(session: Session, gate: Gate, person: Person, reason: str) -> Decision:
    return gates.decide(
        session, gate_id=gate.id, digest=gate.digest, verdict=Verdict.APPROVE, person=person, reason=reason
    )


def _leave(here: Here, key: str) -> None:
    """Let an event leave, as the border notes it."""
    with here.store.write() as session:
        item = outbox.enqueue(session, PayloadKind.EXECUTION_EVENT, _event("e"), subject="forest", key=key)
        outbox.mark_sent(session, item.id or 0)


@pytest.fixture
def _left(here: Here) -> None:
    """Two events, one of them beside a decision of the data owner's."""
    _leave(here, "event-0001")
    gate = here.gate({"items": []})
    with here.store.write() as session:
        decision = _approve(session, gate, session.get_one(Person, here.ids[Role.DATA_OWNER]), "aggregates only")
        item = outbox.enqueue(
            session, PayloadKind.EXECUTION_EVENT, _event("f"), subject="logistic", key="event-0002", decision=decision
        )
        outbox.mark_sent(session, item.id or 0)


@pytest.mark.usefixtures("owner")
class TestDepartures:
    def test_nothing(self, assay: Assay) -> None:
        assert assay("departures").out == "Nothing has left this hospital.\n"
        assert assay("departures", "--json").json == []

    @pytest.mark.usefixtures("_left")
    def test_who_allowed_what_and_why(self, assay: Assay) -> None:
        ended = assay("departures")
        assert "Data_Owner <data_owner@north.example>" in ended.out
        assert "aggregates only" in ended.out
        assert "taken" not in ended.out  # all of it was
        assert "2 execution_event" in ended.err

    @pytest.mark.usefixtures("_left")
    def test_every_byte_is_accounted_for(self, assay: Assay) -> None:
        first, second = assay("departures", "--json").json
        assert first["decisions"] == []
        (decision,) = second["decisions"]
        assert decision["digest"].startswith("sha256:")
        assert all(item["bytes"] > 0 and item["sha256"].startswith("sha256:") for item in (first, second))

    @pytest.mark.usefixtures("_left")
    def test_the_bytes_of_one_as_they_left(self, assay: Assay) -> None:
        first, second = assay("departures", "--json").json
        for item in (first, second):
            body = assay("departures", "--content", str(item["id"])).out
            assert (digest_bytes(body.encode()), len(body)) == (item["sha256"], item["bytes"])
            assert json.loads(body)["execution"] in {sha("e"), sha("f")}

    def test_bytes_of_what_did_not_leave(self, assay: Assay) -> None:
        ended = assay("departures", "--content", "77")
        assert ended.code == 5
        assert "nothing that left has the number 77" in ended.err

    def test_what_was_refused_and_what_was_not_answered_left_too(self, assay: Assay, here: Here) -> None:
        with here.store.write() as session:
            for key in ("event-0001", "event-0002"):
                item = outbox.enqueue(session, PayloadKind.EXECUTION_EVENT, _event("e"), subject="forest", key=key)
                outbox.mark_offered(session, item.id or 0)
            outbox.mark_refused(session, item.id or 0, "refused with 409")
        unanswered, refused = assay("departures", "--json").json
        assert (unanswered["state"], refused["state"]) == ("no answer yet", "refused")
        assert "no answer yet" in assay("departures").out
        body = assay("departures", "--content", str(refused["id"])).out
        assert digest_bytes(body.encode()) == refused["sha256"]

    def test_everybody_who_had_to_allow_it_is_named(self, assay: Assay, here: Here) -> None:
        with here.store.write() as session:
            second, _token = add_person(session, email="second@north.example", name="Second", role=Role.DATA_OWNER)
            first = session.get_one(Person, here.ids[Role.DATA_OWNER])
            gate = gates.open_gate(
                session, name="g", title="t", subject="s", shown={}, flow_run_id="run", settings=GateSettings(quorum=2)
            )
            for person in (first, second):
                decision = _approve(session, gate, person, f"{person.name} looked")
            item = outbox.enqueue(
                session, PayloadKind.EXECUTION_EVENT, _event("e"), subject="forest", key="event-0001", decision=decision
            )
            outbox.mark_sent(session, item.id or 0)
        (left,) = assay("departures", "--json").json
        assert [each["person"] for each in left["decisions"]] == [first.label, second.label]
        shown = " ".join(assay("departures").out.split())
        assert all(words in shown for words in (first.label, second.label, "Data_Owner looked; Second looked"))

    @pytest.mark.usefixtures("_left")
    def test_narrowed(self, assay: Assay) -> None:
        assert [item["subject"] for item in assay("departures", "--decided", "--json").json] == ["logistic"]
        assert assay("departures", "--kind", "result", "--json").json == []

    def test_what_is_queued_has_not_left(self, assay: Assay, here: Here) -> None:
        with here.store.write() as session:
            outbox.enqueue(session, PayloadKind.EXECUTION_EVENT, _event("e"), subject="forest", key="event-0003")
        assert assay("departures", "--json").json == []
        (waiting,) = assay("agent", "outbox", "--json").json
        assert (waiting["subject"], waiting["state"], "body" in waiting) == ("forest", "queued", False)
