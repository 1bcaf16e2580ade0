"""Routes of the audit log: read and prove, nothing else."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from sqlmodel import col, select

from api.core.audit import AuditLog, AuditRow, public
from api.core.database import SessionDep
from api.core.paging import Paging, page
from api.core.problems import documented
from api.nouns.audit import evidence
from api.schemas.common import Line, Page
from api.schemas.records import AuditEntry, AuditHead, AuditVerification

router = APIRouter(tags=["audit"])


def _log(request: Request) -> AuditLog:
    log: AuditLog = request.app.state.audit
    return log


Log = Annotated[AuditLog, Depends(_log)]


@router.get("/v1/audit", responses=documented())
def list_entries(
    session: SessionDep,
    paging: Paging,
    *,
    action: Line | None = None,
    subject: Line | None = None,
    actor: Line | None = None,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> Page[AuditEntry]:
    """Oldest first; `after` is the sequence of the last entry that the caller knows."""
    query = select(AuditRow).where(AuditRow.sequence > after).order_by(col(AuditRow.sequence))
    if action is not None:
        query = query.where(AuditRow.action == action)
    if subject is not None:
        query = query.where(AuditRow.subject == subject)
    if actor is not None:
        query = query.where(AuditRow.actor == actor)
    return page(session, query, paging, public)


@router.get("/v1/audit/head", responses=documented(404))
def read_head(
    session: SessionDep, log: Log, *, at: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None
) -> AuditHead:
    """Where the chain has come to, or where it was with entry `at`: what somebody kept then can be held against it."""
    return log.head(session, at=at)


@router.get("/v1/audit/verification", responses=documented())
def verify(session: SessionDep, log: Log) -> AuditVerification:
    """The whole chain, computed again; and results and releases held against what it tells of them."""
    found = log.verify(session)
    if not found.intact:
        return found
    changed = evidence.changed_rows(session)
    return found.model_copy(update={"intact": not changed, "changed_rows": changed})
