"""Routes of executions."""

from http import HTTPStatus

from fastapi import APIRouter
from sqlmodel import col, select

from api.access.identity import CurrentPrincipal
from api.core.database import SessionDep
from api.core.paging import Paging, narrow, page
from api.core.problems import documented
from api.core.rows import find
from api.nouns.datasets.tables import Dataset
from api.nouns.executions import events
from api.nouns.executions.access import public, visible
from api.nouns.executions.tables import Execution
from api.nouns.work.receiving import ReceivingDep
from api.schemas.border import ExecutionEvent, ExecutionState, Received, Step
from api.schemas.common import Id, Page
from api.schemas.records import ExecutionPublic
from cubes.digests import Digest

router = APIRouter(tags=["executions"])


@router.get("/v1/executions", responses=documented())
def list_executions(
    session: SessionDep,
    principal: CurrentPrincipal,
    paging: Paging,
    *,
    benchmark_id: Id | None = None,
    model_id: Id | None = None,
    dataset_id: Id | None = None,
    site_id: Id | None = None,
    identity: Digest | None = None,
    step: Step | None = None,
    state: ExecutionState | None = None,
) -> Page[ExecutionPublic]:
    """The newest state of each step of the executions that the caller may see."""
    query = select(Execution).join(Dataset, col(Dataset.id) == col(Execution.dataset_id))
    query = narrow(
        query.where(visible(principal)).order_by(col(Execution.id)),
        [
            (Execution.benchmark_id, benchmark_id),
            (Execution.model_id, model_id),
            (Execution.dataset_id, dataset_id),
            (Dataset.site_id, site_id),
            (Execution.identity, identity),
            (Execution.step, step),
            (Execution.state, state),
        ],
    )

    def shown(execution: Execution) -> ExecutionPublic:
        return public(session, execution)

    return page(session, query, paging, shown)


@router.get("/v1/executions/{execution_id}", responses=documented(404))
def read_execution(session: SessionDep, execution_id: Id) -> ExecutionPublic:
    return public(session, find(session, Execution, execution_id))


@router.post("/v1/site/execution-events", status_code=HTTPStatus.CREATED, responses=documented(404, 409, 413))
def note_event(receiving: ReceivingDep, event: ExecutionEvent) -> Received:
    """Tell that a step of an execution changed its state."""
    return receiving.once(event, lambda: events.note_event(receiving, event))
