"""`release` to its end: each number looked at, what was approved leaves, what was withheld stays."""

from collections.abc import Iterator

import pytest
from sqlmodel import Session

from agents.errors import InvalidInputError, NotPermittedError
from agents.store.tables import GateState, Job, JobKind, JobState, Score, ScoreState
from api.schemas.benchmarks import Verdict
from api.schemas.border import ApprovedResult, PayloadKind
from tests.flows.agency import Agency


@pytest.fixture(scope="module")
def scored(north: Agency) -> Agency:
    """With a dataset `d1` that is registered."""
    north.register_at_once("d1")
    return north


@pytest.fixture
def job(scored: Agency) -> Iterator[Job]:
    """The release of two new results, at its gate."""
    here = scored.here
    here.offer(*(here.model(f"# {here._packs}\n{here.program_text}") for _ in range(2)))
    scored.run(1, 2, name="d1")
    asked = scored.release_of("d1")
    scored.gate(asked)
    yield asked
    if scored.state(asked) == "PAUSED":
        scored.decide(scored.gate(asked), Verdict.REJECT)
        scored.end(asked)


def _results(scored: Agency, job: Job) -> list[ApprovedResult]:
    """What a job put into the outbox."""
    wanted = {score.identity for score in scored.scores("d1") if score.id in job.parameters["scores"]}
    found = [ApprovedResult.model_validate_json(item.body) for item in scored.queued(PayloadKind.RESULT)]
    return [result for result in found if result.score in wanted]


class TestRelease:
    def test_what_was_approved_leaves_as_it_was_shown(self, scored: Agency, job: Job) -> None:
        gate = scored.gate(job)
        assert _results(scored, job) == []
        assert {item["benchmark"]["name"] for item in gate.shown["items"]} == {"breast-fna"}
        assert scored.approve(job).outcome == {"approved": 2, "withheld": 0}
        sent = {result.model_id: result for result in _results(scored, job)}
        assert {item["metrics"]["auroc"] for item in gate.shown["items"]} == {
            result.metrics["auroc"] for result in sent.values()
        }
        assert {result.decision.digest for result in sent.values()} == {gate.digest}
        scored.here.site.border.flush()
        assert {score.state for score in _scores(scored, job)} == {ScoreState.SENT}
        assert scored.here.registry.taken[-1].kind == PayloadKind.RESULT

    def test_a_withheld_item_stays_while_the_rest_goes(self, scored: Agency, job: Job) -> None:
        first, second = job.parameters["scores"]
        assert scored.approve(job, withheld=[str(first)]).outcome == {"approved": 1, "withheld": 1}
        assert {score.id: score.state for score in _scores(scored, job)} == {
            first: ScoreState.WITHHELD,
            second: ScoreState.APPROVED,
        }
        # Models run side by side: either may have been scored first.
        model_of = {score.id: score.model_id for score in _scores(scored, job)}
        assert [result.model_id for result in _results(scored, job)] == [model_of[second]]

    def test_a_rejection_lets_nothing_go(self, scored: Agency, job: Job) -> None:
        scored.decide(scored.gate(job), Verdict.REJECT, reason="one case is recognisable")
        ended = scored.end(job)
        assert (ended.state, "one case is recognisable" in ended.message) == (JobState.REJECTED, True)
        assert {score.state for score in _scores(scored, job)} == {ScoreState.WITHHELD}
        assert _results(scored, job) == []


class TestRefuse:
    def test_an_operator_s_decision(self, scored: Agency, job: Job) -> None:
        with pytest.raises(NotPermittedError, match=r"op@north\.example"):
            scored.decide(scored.gate(job), person=scored.operator)
        assert scored.gate(job).state == GateState.WAITING

    def test_an_item_that_is_not_shown(self, scored: Agency, job: Job) -> None:
        with pytest.raises(InvalidInputError, match="no item '9999'"):
            scored.decide(scored.gate(job), withheld=["9999"])

    def test_a_number_that_changed_after_it_was_shown_is_asked_about_again(self, scored: Agency, job: Job) -> None:
        first = scored.gate(job)
        number = job.parameters["scores"][0]
        _set_metric(scored, number, 0.999)
        scored.decide(first)
        scored.until(lambda: scored.gate(job).id != first.id, "a new question")
        assert _results(scored, job) == []
        again = scored.gate(job)
        assert [item["metrics"]["auroc"] for item in again.shown["items"] if item["item"] == str(number)] == [0.999]
        assert scored.approve(job).state == JobState.DONE


class TestAsk:
    def test_results_that_were_withheld_may_be_asked_about_by_a_person(self, scored: Agency, job: Job) -> None:
        scored.decide(scored.gate(job), Verdict.REJECT)
        scored.end(job)
        again = scored.order(JobKind.RELEASE, "d1", scores=job.parameters["scores"])
        assert scored.approve(again).outcome == {"approved": 2, "withheld": 0}


def _scores(scored: Agency, job: Job) -> list[Score]:
    return [score for score in scored.scores("d1") if score.id in job.parameters["scores"]]


def _set_metric(scored: Agency, number: int, value: float) -> None:
    with scored.here.site.store.write() as session:
        score = Session.get_one(session, Score, number)
        score.metrics = {**score.metrics, "auroc": value}
        session.add(score)
