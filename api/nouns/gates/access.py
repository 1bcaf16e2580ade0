"""Who sees a gate, and who may decide there.

A benchmark's gate is for platform administrators; an association's for the side that did not ask; a leaderboard's for the
committee. Nobody decides about what they asked for themselves.
"""

from sqlalchemy import ColumnElement, and_, exists, false, or_, true
from sqlmodel import Session, col, select

from api.access.belongings import committees_of, datasets_of, models_of
from api.access.identity import Principal
from api.access.matrix import Role
from api.access.relations import relates
from api.access.sides import Sides, either, roles_towards
from api.core.rows import find
from api.nouns.associations.tables import Association
from api.nouns.gates.tables import Decision, Gate
from api.schemas.benchmarks import GateKind, GateState


def decides(principal: Principal) -> ColumnElement[bool]:
    """Gates where a person's role decides; what they asked for themselves is still among them."""
    if principal.user is None:
        return false()
    asked = and_(~col(Association.invited), col(Association.benchmark_id).in_(committees_of(principal)))
    invited = and_(col(Association.invited), _owned(principal))
    associations = select(col(Association.id)).where(or_(asked, invited))
    return or_(
        and_(_is(GateKind.BENCHMARK), true() if principal.user.platform_administrator else false()),
        and_(_is(GateKind.ASSOCIATION), col(Gate.subject_id).in_(associations)),
        and_(_is(GateKind.LEADERBOARD), _of_committee(principal)),
    )


def visible(principal: Principal) -> ColumnElement[bool]:
    """Gates that a party sees: both sides of it, and nobody else. What is shown there is confidential."""
    return either(principal, _sides(principal))


def waits_for(principal: Principal) -> ColumnElement[bool]:
    """Open gates at which a person may decide and has not yet."""
    user_id = None if principal.user is None else principal.user.id
    decided = exists().where(
        col(Decision.gate_id) == col(Gate.id),
        col(Decision.revision) == col(Gate.revision),
        col(Decision.user_id) == user_id,
    )
    return and_(col(Gate.state) == GateState.OPEN, col(Gate.requested_by) != user_id, decides(principal), ~decided)


def may_decide(session: Session, principal: Principal, gate: Gate) -> bool:
    """Whether a person may decide at a gate: by their role now, and not about what they asked for."""
    wanted = (col(Gate.id) == gate.id, decides(principal))
    by_role = session.exec(select(Gate.id).where(*wanted)).first() is not None
    return by_role and principal.user is not None and principal.user.id != gate.requested_by


@relates("gate_id")
def _gate(session: Session, principal: Principal, gate_id: int) -> set[Role]:
    find(session, Gate, gate_id)
    return roles_towards(session, col(Gate.id), gate_id, _sides(principal))


def _sides(principal: Principal) -> Sides:
    theirs = select(col(Association.id)).where(_owned(principal))
    return {
        Role.APPROVER: decides(principal),
        Role.COMMITTEE: _of_committee(principal),
        Role.OWNER: and_(_is(GateKind.ASSOCIATION), col(Gate.subject_id).in_(theirs)),
    }


def _owned(principal: Principal) -> ColumnElement[bool]:
    return or_(
        col(Association.model_id).in_(models_of(principal)), col(Association.dataset_id).in_(datasets_of(principal))
    )


def _of_committee(principal: Principal) -> ColumnElement[bool]:
    return col(Gate.benchmark_id).in_(committees_of(principal))


def _is(kind: GateKind) -> ColumnElement[bool]:
    return col(Gate.kind) == kind
