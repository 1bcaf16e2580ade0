"""Routes of associations."""

from http import HTTPStatus

from fastapi import APIRouter
from sqlmodel import col, select

from api.access.acting import ActDep
from api.access.identity import CurrentPrincipal
from api.core.database import SessionDep
from api.core.paging import Paging, narrow, page
from api.core.problems import documented
from api.core.rows import find
from api.nouns.associations import gate as _gate  # noqa: F401 - says what the gate of an association does
from api.nouns.associations import rules
from api.nouns.associations.access import visible
from api.nouns.associations.tables import Association, Change
from api.schemas.benchmarks import (
    AssociationChange,
    AssociationCreate,
    AssociationKind,
    AssociationPublic,
    AssociationState,
    Compatibility,
    PriorityUpdate,
    Withdrawal,
)
from api.schemas.common import Id, Page

router = APIRouter(tags=["associations"])


@router.get("/v1/associations", responses=documented())
def list_associations(
    session: SessionDep,
    principal: CurrentPrincipal,
    paging: Paging,
    *,
    benchmark_id: Id | None = None,
    kind: AssociationKind | None = None,
    state: AssociationState | None = None,
    model_id: Id | None = None,
    dataset_id: Id | None = None,
) -> Page[AssociationPublic]:
    """Associations of the caller's benchmarks, models and datasets."""
    query = narrow(
        select(Association).where(visible(principal)).order_by(col(Association.id)),
        [
            (Association.benchmark_id, benchmark_id),
            (Association.kind, kind),
            (Association.state, state),
            (Association.model_id, model_id),
            (Association.dataset_id, dataset_id),
        ],
    )

    def shown(association: Association) -> AssociationPublic:
        return rules.public(session, association)

    return page(session, query, paging, shown)


@router.post("/v1/associations", status_code=HTTPStatus.CREATED, responses=documented(404, 409))
def request_association(act: ActDep, new: AssociationCreate) -> AssociationPublic:
    """Ask for a place in a benchmark, or invite to it. The other side decides, unless the policy lets the owner in."""
    return rules.public(act.session, rules.request(act, new))


@router.get("/v1/associations/{association_id}", responses=documented(404))
def read_association(session: SessionDep, association_id: Id) -> AssociationPublic:
    return rules.public(session, find(session, Association, association_id))


@router.get("/v1/associations/{association_id}/history", responses=documented(404))
def list_history(session: SessionDep, association_id: Id, paging: Paging) -> Page[AssociationChange]:
    """Every change, oldest first."""
    query = select(Change).where(Change.association_id == association_id).order_by(col(Change.id))
    return page(session, query, paging, _public_change)


@router.post("/v1/associations/{association_id}/withdraw", responses=documented(404, 409))
def withdraw_association(act: ActDep, association_id: Id, withdrawal: Withdrawal) -> AssociationPublic:
    """Take a model or a dataset out of a benchmark, by its owner or the committee."""
    return rules.public(act.session, rules.withdraw(act, association_id, withdrawal.reason))


@router.put("/v1/associations/{association_id}/compatibility", responses=documented(404, 409))
def attach_compatibility(act: ActDep, association_id: Id, report: Compatibility) -> AssociationPublic:
    """Bring the report of a model that was invited; without it the invitation cannot be accepted."""
    return rules.public(act.session, rules.attach_compatibility(act, association_id, report))


@router.put("/v1/associations/{association_id}/priority", responses=documented(404, 409))
def set_priority(act: ActDep, association_id: Id, update: PriorityUpdate) -> AssociationPublic:
    """Models of a higher priority run first at every site."""
    return rules.public(act.session, rules.set_priority(act, association_id, update.priority))


@router.post("/v1/associations/{association_id}/consent", responses=documented(404, 409))
def consent(act: ActDep, association_id: Id) -> AssociationPublic:
    """Let others see the model's released results, where the benchmark asks its owner."""
    return rules.public(act.session, rules.set_consent(act, association_id, given=True))


@router.delete("/v1/associations/{association_id}/consent", responses=documented(404, 409))
def revoke_consent(act: ActDep, association_id: Id) -> AssociationPublic:
    return rules.public(act.session, rules.set_consent(act, association_id, given=False))


def _public_change(change: Change) -> AssociationChange:
    return AssociationChange.model_validate(change.model_dump(include=set(AssociationChange.model_fields)))
