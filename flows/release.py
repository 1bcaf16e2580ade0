"""Site flow `release`: let results go, item by item, after a person looked at each number."""

from typing import Any

from prefect import flow

from agents.errors import ConflictError
from agents.planner import find_benchmark
from agents.site import Site
from agents.store import outbox
from agents.store.clearance import shown_probe
from agents.store.executions import get_score, set_score_state
from agents.store.gates import decision_of
from agents.store.tables import Job, Score, ScoreState
from api.schemas.border import ApprovedResult, PayloadKind, ProbeOutcome, SiteDecision
from cubes.digests import digest_of, short, untag_non_finite
from flows.describe import describe_release
from flows.gates import Decision, GateRejected, hold
from flows.job_runs import SiteGateBook, run_job, set_outcome, site_decision

GATE = "release_results"


@flow(name="release", persist_result=False)
async def release_flow(job_id: str) -> None:
    """Ask: send these results? What is approved goes into the outbox; what is withheld stays, marked so."""
    await run_job(job_id, _ask_and_send)


async def _ask_and_send(site: Site, job: Job) -> None:
    scores: list[int] = job.parameters["scores"]
    try:
        decision = await hold(
            SiteGateBook(site),
            name=GATE,
            title=f"Send these results of dataset {job.subject}?",
            subject=job.subject,
            show=lambda: _shown(site, scores),
            describe=describe_release,
        )
    except GateRejected:
        _withhold(site, scores)
        raise
    approved = {item["item"]: item for item in decision.shown["items"] if item["item"] not in decision.withheld}
    for score in scores:
        _release(site, score, approved.get(str(score)), decision)
    set_outcome(site, job.id, {"approved": len(approved), "withheld": len(scores) - len(approved)})


def _shown(site: Site, scores: list[int]) -> dict[str, Any]:
    with site.store.read() as session:
        found = [get_score(session, score) for score in scores]
    work = site.work()
    asking = {score.benchmark_id: find_benchmark(work, score.benchmark_id) for score in found}
    names = {number: "no longer asked for" if each is None else each.name for number, each in asking.items()}
    return {"items": [_item(score, names[score.benchmark_id]) for score in found]}


def _item(score: Score, benchmark: str) -> dict[str, Any]:
    """All that would be sent of a score, and what people call it."""
    return {
        "item": str(score.id),
        "model": score.model_name,
        "model_id": score.model_id,
        "model_digest": score.model_digest,
        "benchmark": {"id": score.benchmark_id, "name": benchmark},
        "dataset": score.dataset_name,
        "dataset_id": score.dataset_id,
        "dataset_root": score.dataset_root,
        "metrics_digest": score.metrics_digest,
        "execution": score.execution,
        "score": score.identity,
        "cases": score.cases,
        "isolation": score.probe["isolation"],
        "asked": score.probe.get("only_host") or "nobody",
        "started_at": score.started_at.isoformat(),
        "finished_at": score.finished_at.isoformat(),
        "probe": shown_probe(ProbeOutcome.model_validate(score.probe)),
        "metrics": score.metrics,
    }


def _release(site: Site, score_id: int, item: dict[str, Any] | None, decision: Decision) -> None:
    """Queue one approved result, in the transaction that says it is approved.

    Raises:
        ConflictError: the score is no longer the one that was shown.
    """
    with site.store.write() as session:
        score = get_score(session, score_id)
        if item is None:
            set_score_state(session, score_id, ScoreState.WITHHELD)
            return
        if digest_of(_item(score, item["benchmark"]["name"])) != digest_of(item):
            raise ConflictError(
                f"score {score_id} of {score.model_name!r} changed after it was approved: nothing leaves"
            )
        if score.state in {ScoreState.NEW, ScoreState.WITHHELD}:  # else this very run queued it before it broke off
            set_score_state(session, score_id, ScoreState.APPROVED)
        outbox.enqueue(
            session,
            PayloadKind.RESULT,
            _payload(score, decision),
            subject=score.model_name,
            key=f"result-{short(score.identity)}-{score.benchmark_id}-{score.id}",
            decision=decision_of(session, decision.gate_id),
        )


def _payload(score: Score, decision: Decision) -> ApprovedResult:
    return ApprovedResult(
        execution=score.execution,
        score=score.identity,
        benchmark_id=score.benchmark_id,
        model_id=score.model_id,
        dataset_id=score.dataset_id,
        model_digest=score.model_digest,
        metrics_digest=score.metrics_digest,
        dataset_root=score.dataset_root,
        metrics=untag_non_finite(score.metrics),
        cases=score.cases,
        started_at=score.started_at,
        finished_at=score.finished_at,
        probe=ProbeOutcome.model_validate(score.probe),
        decision=SiteDecision.model_validate(site_decision(GATE, decision)),
    )


def _withhold(site: Site, scores: list[int]) -> None:
    with site.store.write() as session:
        for score in scores:
            set_score_state(session, score, ScoreState.WITHHELD)
