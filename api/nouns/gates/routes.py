"""Routes of gates and decisions; the last three are for the registry's own review flow."""

from fastapi import APIRouter
from sqlmodel import col, select

from api.access.acting import ActDep
from api.access.identity import CurrentPrincipal
from api.core.database import SessionDep
from api.core.paging import Paging, narrow, page
from api.core.problems import documented
from api.core.rows import find
from api.nouns.gates import rules
from api.nouns.gates.access import visible, waits_for
from api.nouns.gates.states import LIVE
from api.nouns.gates.tables import Decision, Gate
from api.schemas.benchmarks import DecisionCreate, DecisionPublic, FlowRunUpdate, GateKind, GatePublic, GateState
from api.schemas.common import Id, Page

router = APIRouter(tags=["gates"])


@router.get("/v1/gates", responses=documented())
def list_gates(
    session: SessionDep,
    principal: CurrentPrincipal,
    paging: Paging,
    *,
    state: GateState | None = None,
    kind: GateKind | None = None,
    benchmark_id: Id | None = None,
    subject_id: Id | None = None,
    live: bool = False,
    waiting: bool = False,
) -> Page[GatePublic]:
    """Gates that concern the caller, oldest first. `live`: not concluded; `waiting`: the caller may decide there now."""
    query = narrow(
        select(Gate).where(visible(principal)).order_by(col(Gate.id)),
        [(Gate.state, state), (Gate.kind, kind), (Gate.benchmark_id, benchmark_id), (Gate.subject_id, subject_id)],
    )
    if live:
        query = query.where(col(Gate.state).in_(LIVE))
    if waiting:
        query = query.where(waits_for(principal))

    def shown(gate: Gate) -> GatePublic:
        return rules.public(session, gate)

    return page(session, query, paging, shown)


@router.get("/v1/gates/{gate_id}", responses=documented(404))
def read_gate(session: SessionDep, gate_id: Id) -> GatePublic:
    return rules.public(session, find(session, Gate, gate_id))


@router.get("/v1/gates/{gate_id}/decisions", responses=documented(404))
def list_decisions(session: SessionDep, gate_id: Id, paging: Paging) -> Page[DecisionPublic]:
    """All decisions at a gate, oldest first, also about earlier revisions of what it showed."""
    query = select(Decision).where(Decision.gate_id == gate_id).order_by(col(Decision.id))
    return page(session, query, paging, rules.public_decision)


@router.post("/v1/gates/{gate_id}/decisions", status_code=201, responses=documented(404, 409))
def decide(act: ActDep, gate_id: Id, new: DecisionCreate) -> DecisionPublic:
    return rules.public_decision(rules.decide(act, gate_id, new))


@router.put("/v1/gates/{gate_id}/flow-run", responses=documented(404))
def set_flow_run(act: ActDep, gate_id: Id, update: FlowRunUpdate) -> GatePublic:
    return rules.public(act.session, rules.set_flow_run(act, gate_id, update.flow_run_id))


@router.post("/v1/gates/{gate_id}/refresh", responses=documented(404))
def refresh(act: ActDep, gate_id: Id) -> GatePublic:
    """Compute what is shown again; another digest opens the gate again, and earlier decisions no longer count."""
    return rules.public(act.session, rules.refresh(act, gate_id))


@router.post("/v1/gates/{gate_id}/conclude", responses=documented(404, 409))
def conclude(act: ActDep, gate_id: Id) -> GatePublic:
    """Check everything again and move the subject; nothing moves where anything does not fit."""
    return rules.public(act.session, rules.conclude(act, gate_id))
