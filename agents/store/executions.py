"""Executions and scores: what ran, how it ended, what it measured, and what of it may leave."""

from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from agents.errors import NotFoundError
from agents.store.outbox import enqueue
from agents.store.tables import Execution, Score, ScoreState
from api.schemas.border import ErrorClass, ExecutionEvent, ExecutionState, PayloadKind, Step
from api.storage.columns import now


def begin_step(session: Session, execution: Execution, step: Step) -> Execution:
    """Note that a step of an execution starts (again), and queue the event that says so."""
    known = find_execution(session, execution.identity, execution.benchmark_id, execution.model_id)
    if known is None:
        known = execution
    else:
        known.attempt += 1 if step in {Step.INFER, known.step} else 0
        # The dataset may have been registered again under a new number: the newest counts.
        known.dataset_id, known.score = execution.dataset_id, execution.score
    known.step, known.state, known.started_at, known.finished_at = step, ExecutionState.RUNNING, now(), None
    known.error_class, known.exit_code, known.message = None, None, ""
    session.add(known)
    session.flush()
    _queue_event(session, known)
    return known


def note_waiting(session: Session, execution: Execution, why: str) -> None:
    """Note why a step does not run yet, for people of the site to see."""
    known = session.get_one(Execution, execution.id)
    if known.state == ExecutionState.RUNNING:
        known.message = why[:2_000]
        session.add(known)


def end_step(
    session: Session,
    execution: Execution,
    *,
    error: ErrorClass | None = None,
    exit_code: int | None = None,
    message: str = "",
) -> None:
    """Note how a step ended, and queue the event that says so: class and exit code, never the message."""
    known = session.get_one(Execution, execution.id)
    known.state = ExecutionState.SUCCEEDED if error is None else ExecutionState.FAILED
    known.finished_at, known.error_class, known.exit_code, known.message = now(), error, exit_code, message[:20_000]
    session.add(known)
    _queue_event(session, known)


def find_execution(session: Session, identity: str, benchmark_id: int, model_id: int) -> Execution | None:
    query = select(Execution).where(
        Execution.identity == identity, Execution.benchmark_id == benchmark_id, Execution.model_id == model_id
    )
    return session.exec(query).first()


def list_executions(session: Session) -> list[Execution]:
    return list(session.exec(select(Execution).order_by(col(Execution.id))))


def running_executions(session: Session, benchmark_id: int, dataset: str) -> list[Execution]:
    query = select(Execution).where(
        Execution.benchmark_id == benchmark_id,
        Execution.dataset_name == dataset,
        Execution.state == ExecutionState.RUNNING,
    )
    return list(session.exec(query))


def find_score(session: Session, identity: str, benchmark_id: int, model_id: int) -> Score | None:
    query = select(Score).where(
        Score.identity == identity, Score.benchmark_id == benchmark_id, Score.model_id == model_id
    )
    return session.exec(query).first()


def save_score(session: Session, score: Score) -> Score:
    """Keep a score; the same identity again is the same score."""
    known = find_score(session, score.identity, score.benchmark_id, score.model_id)
    if known is not None:
        return known
    session.add(score)
    session.flush()
    return score


def scores_in(session: Session, *states: ScoreState) -> list[Score]:
    return list(session.exec(select(Score).where(col(Score.state).in_(states)).order_by(col(Score.id))))


def get_score(session: Session, score_id: int) -> Score:
    score = session.get(Score, score_id)
    if score is None:
        raise NotFoundError(f"there is no score {score_id!r} at this site")
    return score


def set_score_state(session: Session, score_id: int, state: ScoreState) -> Score:
    score = get_score(session, score_id)
    score.state = state
    session.add(score)
    return score


def describe(execution: Execution) -> dict[str, Any]:
    """An execution for people of the site, message included."""
    return execution.model_dump(mode="json", exclude={"id"})


def _queue_event(session: Session, execution: Execution) -> None:
    event = ExecutionEvent(
        execution=execution.identity,
        benchmark_id=execution.benchmark_id,
        model_id=execution.model_id,
        dataset_id=execution.dataset_id,
        step=execution.step,
        state=execution.state,
        attempt=execution.attempt,
        started_at=execution.started_at,
        finished_at=execution.finished_at,
        exit_code=execution.exit_code,
        error_class=execution.error_class,
    )
    moment: datetime = execution.finished_at or execution.started_at
    key = f"event-{execution.id}-{execution.attempt}-{execution.step.value}-{execution.state.value}-{moment.timestamp():.6f}"
    enqueue(session, PayloadKind.EXECUTION_EVENT, event, subject=execution.model_name, key=key)
