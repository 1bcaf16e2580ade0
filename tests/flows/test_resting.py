"""A question that nobody is asked any more leaves no flow run that rests: at a site and at the registry, whoever was away."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.cancelling import cancel_job
from agents.errors import ConflictError
from agents.prefect_api import PrefectApi, PrefectError
from agents.store import Store, jobs
from agents.store.delegations import delegate, end_delegations
from agents.store.people import add_person
from agents.store.tables import Gate, GateState, Job, JobKind, JobState, Role
from api.schemas.benchmarks import GatePublic
from api.schemas.benchmarks import GateState as RegistryGateState
from api.schemas.records import AuditHead, SiteWork
from api.storage.columns import now
from flows.gates import GateAnswer
from tests.flows.agency import LONG_S, Agency
from tests.flows.committee import Committee

Until = Callable[..., None]
NOWHERE = "http://127.0.0.1:9/api"


@pytest.fixture(scope="module")
def registered(north: Agency) -> Agency:
    """With a dataset `d1` that is registered."""
    north.register_at_once("d1")
    return north


def _ends(agency: Agency, job: Job) -> Job:
    agency.until(lambda: agency.state(job) == "CANCELLED", f"the end of {job.subject}", limit_s=LONG_S)
    return agency.job(job)


def _offer(agency: Agency, *models: int) -> None:
    """Models that have not run yet: the registry's list, and what is asked about them, is another each time."""
    here = agency.here
    here.offer(*(here.model(f"# {here._packs} {number}\n" + here.program_text) for number in models))


class TestCancelled:
    def test_while_prefect_is_away_it_ends_when_that_is_back(self, registered: Agency) -> None:
        _offer(registered, 1)
        job = registered.evaluate(1, name="d1")
        gate = registered.gate(job)
        away = PrefectApi(NOWHERE, timeout_s=1)
        with registered.away():
            ended = cancel_job(registered.here.site.store, away, registered.job(job), by="Operator <op@north.example>")
            assert (ended.state, registered.state(job)) == (JobState.CANCELLED, "PAUSED")
        away.close()
        assert _ends(registered, job).message == "cancelled by Operator <op@north.example>"
        with pytest.raises(ConflictError, match="superseded"):
            registered.decide(gate)

    def test_by_command_while_the_whole_agent_is_away(self, registered: Agency) -> None:
        _offer(registered, 1)
        job = registered.evaluate(1, name="d1")
        registered.gate(job)
        with registered.away():
            done = registered.type("job", "cancel", job.id, agent=False)
            assert done.returncode == 0, done.stderr
        assert _ends(registered, job).state == JobState.CANCELLED

    def test_what_begins_this_very_moment_is_not_said_to_have_ended(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "site.db")
        with store.write() as session:
            seen = jobs.ask(session, JobKind.RELEASE, subject="d", parameters={}, requested_by=None)
        with store.write() as session:
            jobs.mark_started(session, seen.id, "run-1")
        with pytest.raises(ConflictError, match="begun this very moment"):
            cancel_job(store, None, seen, by="x")
        with store.read() as session:
            assert jobs.find_job(session, seen.id).state == JobState.RUNNING
        store.close()

    def test_what_runs_is_not_said_to_have_ended(self, tmp_path: Path) -> None:
        store, away = Store(tmp_path / "site.db"), PrefectApi(NOWHERE, timeout_s=1)
        with store.write() as session:
            job = jobs.ask(session, JobKind.RELEASE, subject="d", parameters={}, requested_by=None)
            jobs.mark_started(session, job.id, "run-1")
        with pytest.raises(PrefectError):
            cancel_job(store, away, job, by="x")
        with store.read() as session:
            assert jobs.find_job(session, job.id).state == JobState.RUNNING
        away.close()
        store.close()


class TestVoid:
    def test_an_approval_that_counts_no_longer_ends_what_waited_for_it(self, registered: Agency) -> None:
        """Its delegate may not decide any more, and whose vote it was cannot give it a second time."""
        _offer(registered, 1)
        job = registered.evaluate(1, name="d1")
        gate, owner = registered.gate(job), registered.here.owner
        store = registered.here.site.store
        with store.write() as session:
            helper, _ = add_person(session, email="help@north.example", name="Help", role=Role.VIEWER)
            delegate(session, owner, helper, until=now() + timedelta(days=1))
        with registered.away():
            registered.decide(gate, person=helper)
            with store.write() as session:
                end_delegations(session, owner)
        assert "no longer counts, ask for it again" in _ends(registered, job).message
        assert registered.approve(registered.evaluate(1, name="d1")).state == JobState.DONE


class TestExpired:
    def test_what_waited_has_ended_and_says_why(self, registered: Agency) -> None:
        _offer(registered, 1)
        job = registered.evaluate(1, name="d1")
        gate = registered.gate(job)
        with registered.here.site.store.write() as session:
            late = session.get_one(Gate, gate.id)
            late.expires_at = now() - timedelta(seconds=1)
            session.add(late)
        ended = _ends(registered, job)
        assert ended.state == JobState.CANCELLED
        assert ended.message.startswith("nobody answered until ")
        with registered.here.site.store.read() as session:
            assert session.get_one(Gate, gate.id).state == GateState.EXPIRED
        with pytest.raises(ConflictError, match="ask for it again"):
            registered.decide(gate)


class TestWithdrawn:
    def test_models_that_are_in_the_benchmark_no_more(self, registered: Agency) -> None:
        _offer(registered, 1, 2)
        gone, stays = registered.evaluate(2, name="d1"), registered.evaluate(1, 2, name="d1")
        registered.gate(gone)
        registered.gate(stays)
        _offer(registered, 1)
        assert _ends(registered, gone).message == "it is no longer in the benchmark: withdrawn or closed"
        assert (registered.job(stays).state, registered.state(stays)) == (JobState.RUNNING, "PAUSED")

    def test_a_dataset_that_is_in_the_benchmark_no_more(self, registered: Agency) -> None:
        _offer(registered, 1)
        job = registered.evaluate(1, name="d1")
        registered.gate(job)
        here = registered.here
        here.registry.work = SiteWork(site_id=1, benchmarks=[], audit_head=AuditHead(sequence=here._packs, head="away"))
        here.site.border.pull_work()
        assert _ends(registered, job).state == JobState.CANCELLED


class TestReview:
    def test_a_withdrawn_association_ends_its_review_and_no_other(self, committee: Committee, until: Until) -> None:
        other, gate = committee.submitted(), committee.requested(quorum=1)
        others_run, run = committee.rests(other), committee.rests(gate)
        self._withdraw(committee, gate)
        until(lambda: committee.api.state(run)[0] == "CANCELLED", "the review to end", limit_s=LONG_S)
        assert committee.now(gate).state == RegistryGateState.CANCELLED
        assert committee.api.state(others_run)[0] == "PAUSED"

    def test_also_where_the_dispatcher_was_away(self, committee: Committee, until: Until) -> None:
        gate = committee.requested(quorum=1)
        run = committee.rests(gate)
        committee.stop()
        self._withdraw(committee, gate)
        assert committee.api.state(run)[0] == "PAUSED"
        committee.start()
        until(lambda: committee.api.state(run)[0] == "CANCELLED", "the review to end", limit_s=LONG_S)

    def test_also_one_that_was_decided_a_moment_ago(self, committee: Committee, until: Until) -> None:
        gate = committee.requested(quorum=1)
        run = committee.rests(gate)
        committee.stop()
        committee.decide("ada", gate)
        self._withdraw(committee, gate)
        committee.start()
        until(lambda: committee.api.state(run)[0] == "CANCELLED", "the review to end", limit_s=LONG_S)

    def test_a_runner_that_stops_lets_one_come_to_rest_with_its_form(
        self, committee: Committee, until: Until, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reached, stopping = threading.Event(), threading.Event()
        save = GateAnswer.asave.__func__  # type: ignore[attr-defined]  # of a class method

        async def late(form: type[GateAnswer], *arguments: Any) -> None:
            reached.set()
            while not stopping.is_set():  # noqa: ASYNC110 - set from another thread
                await asyncio.sleep(0.01)
            await save(form, *arguments)

        monkeypatch.setattr(GateAnswer, "asave", classmethod(late))
        gate = committee.requested(quorum=1)
        until(reached.is_set, "the review to be about to rest")
        runner = committee._runner
        assert runner is not None
        assert runner._executor is not None
        stop = threading.Thread(target=committee.stop)
        stop.start()
        until(lambda executor=runner._executor: executor._stopping, "the runner to stop")
        stopping.set()
        stop.join()
        assert committee.api.state(str(committee.now(gate).flow_run_id))[0] == "PAUSED"
        committee.start()
        committee.decide("ada", gate)
        committee.concluded(gate)

    @staticmethod
    def _withdraw(committee: Committee, gate: GatePublic) -> None:
        with committee.there.client("mel") as mel:
            mel.associations.withdraw(gate.subject_id, "a better one comes")
