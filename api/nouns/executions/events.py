"""What a site tells of its executions: the newest state of each step wins, in whatever order the news arrive."""

from datetime import datetime

from sqlmodel import Session, select

from api.access.acting import key
from api.core.errors import ConflictError, InvalidInputError
from api.nouns.executions.pairs import approved_pair
from api.nouns.executions.tables import Execution
from api.nouns.work.receiving import Receiving, check_past
from api.schemas.border import ExecutionEvent, ExecutionState, Step
from cubes.digests import short

_STEPS = (Step.INFER, Step.EVALUATE)


def note_event(receiving: Receiving, event: ExecutionEvent) -> int:
    """Keep a step's state, unless a newer one is known.

    Returns:
        The number of the execution's step.

    Raises:
        NotFoundError: no such benchmark, model or dataset of the site's.
        ConflictError: the pair is not approved, or the execution is of something else than what is registered.
        InvalidInputError: not a step of an execution, or of a time to come.
    """
    if event.step not in _STEPS:
        raise InvalidInputError(
            f"{event.step.value!r} is no step of an execution.", "Its steps are infer and evaluate."
        )
    check_past("the step", event.finished_at or event.started_at)
    pair = approved_pair(
        receiving, benchmark_id=event.benchmark_id, model_id=event.model_id, dataset_id=event.dataset_id
    )
    if event.execution != pair.execution:
        raise ConflictError(
            f"the execution {short(event.execution)!r} is not {short(pair.execution)!r}, as what is registered makes it.",
            "Run what the registry asks for.",
        )
    session = receiving.act.session
    row = _known(session, event)
    if row is None or _newness(row.started_at, row.attempt, row.state) < _newness(
        event.started_at, event.attempt, event.state
    ):
        row = row or Execution(identity=event.execution, **event.model_dump(exclude={"execution"}))
        row.sqlmodel_update(event.model_dump(exclude={"execution"}))
        session.add(row)
        session.flush()
        detail = event.model_dump(mode="json", include={"step", "state", "attempt", "exit_code", "error_class"})
        receiving.act.note(f"execution.{event.state.value}", f"execution:{row.id}", identity=row.identity, **detail)
    return key(row.id)


def _known(session: Session, event: ExecutionEvent) -> Execution | None:
    query = select(Execution).where(
        Execution.benchmark_id == event.benchmark_id,
        Execution.model_id == event.model_id,
        Execution.dataset_id == event.dataset_id,
        Execution.identity == event.execution,
        Execution.step == event.step,
    )
    return session.exec(query).first()


def _newness(started_at: datetime, attempt: int, state: ExecutionState) -> tuple[datetime, int, bool]:
    """Orders what is known of a step: a later start, then a later attempt, then its end."""
    return started_at, attempt, state != ExecutionState.RUNNING
