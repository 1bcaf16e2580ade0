"""`prepare` to its end: five steps of work, one question, and nothing said outside before the answer."""

import pytest

from agents.errors import NotPermittedError
from agents.store.tables import DatasetState, GateState, JobState, OutboxItem, ScoreState
from api.schemas.benchmarks import Verdict
from api.schemas.border import DatasetRegistration, PayloadKind
from tests.flows.agency import Agency


def _queued(north: Agency, dataset: str) -> list[OutboxItem]:
    return [item for item in north.queued(PayloadKind.DATASET) if item.subject == dataset]


class TestRegister:
    def test_what_a_data_owner_approved_is_registered(self, north: Agency) -> None:
        job = north.prepare("approved")
        gate = north.gate(job)
        assert gate.name == "register_dataset"
        assert gate.shown["dataset"] == {
            "name": "approved",
            "title": "Dataset",
            "cases": gate.shown["statistics"]["cases"],
        }
        assert (north.job(job).progress["step"], north.dataset("approved").state) == ("gate", DatasetState.PREPARED)
        assert _queued(north, "approved") == []
        assert north.approve(job).state == JobState.DONE
        (item,) = _queued(north, "approved")
        registration = DatasetRegistration.model_validate_json(item.body)
        assert registration.statistics == gate.shown["statistics"]
        assert (registration.decision.person, registration.decision.digest) == (
            "Owner <owner@north.example>",
            gate.digest,
        )
        north.here.site.border.flush()
        assert north.dataset("approved").state == DatasetState.REGISTERED

    def test_steps_before_the_gate_are_not_repeated_after_it(self, north: Agency) -> None:
        """A woken run starts from the top; a new name on the same files finds what was made of them, too."""
        before = north.steps()
        north.approve(north.prepare("again"))
        north.approve(north.prepare("and-again"))
        made = north.steps() - before
        assert all(made[task] <= 1 for task in ("prepare", "sanity_check", "statistics"))

    def test_its_tasks_are_seen_in_prefect(self, north: Agency) -> None:
        job = north.prepare("seen")
        north.gate(job)
        seen = dict.fromkeys(("prepare seen", "sanity check seen", "statistics seen"), "COMPLETED")
        north.until(lambda: {run["name"]: run["state"]["type"] for run in north.task_runs(job)} == seen, "its tasks")


class TestReject:
    def test_the_reason_is_kept_and_nothing_leaves(self, north: Agency) -> None:
        before = len(north.queued(PayloadKind.DATASET))
        job = north.prepare("rejected")
        north.decide(north.gate(job), Verdict.REJECT, reason="two patients are missing")
        ended = north.end(job)
        said = "rejected by Owner <owner@north.example>: two patients are missing"
        assert (ended.state, ended.message) == (JobState.REJECTED, said)
        assert (north.dataset("rejected").state, north.dataset("rejected").message) == (DatasetState.REJECTED, said)
        assert north.state(job) == "COMPLETED"
        assert len(north.queued(PayloadKind.DATASET)) == before

    def test_an_operator_may_not_decide(self, north: Agency) -> None:
        job = north.prepare("not-yours")
        gate = north.gate(job)
        with pytest.raises(NotPermittedError, match=r"op@north\.example"):
            north.decide(gate, person=north.operator)
        assert north.gate(job).state == GateState.WAITING
        assert north.state(job) == "PAUSED"


class TestFail:
    def test_the_preparator_s_words_are_for_the_site_alone(self, north: Agency) -> None:
        labels = north.here.raw / "labels" / "labels.csv"
        good = labels.read_text()
        labels.write_text(good.replace(",M", ",maybe", 1))
        try:
            job = north.end(north.prepare("bad-label"))
        finally:
            labels.write_text(good)
        assert job.state == JobState.FAILED
        assert "diagnosis must be M or B" in job.message
        assert north.dataset("bad-label").message == job.message
        assert north.state(job) == "FAILED"
        assert north.scores("bad-label", ScoreState.NEW) == []
