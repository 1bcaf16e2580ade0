"""One request by one party, as the rules see it."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlmodel import Session

from api.access.identity import CurrentPrincipal, Principal
from api.core.audit import AuditLog
from api.core.database import SessionDep
from api.core.errors import NotPermittedError
from api.nouns.people.tables import User


@dataclass(frozen=True, slots=True)
class Act:
    """Who asks, the transaction it happens in, and the log that tells of it."""

    session: Session
    principal: Principal
    audit: AuditLog

    @property
    def user(self) -> User:
        """The person who asks.

        Raises:
            NotPermittedError: it is a site or the service.
        """
        if self.principal.user is None:
            raise NotPermittedError("this is for people.", "Use a personal token.")
        return self.principal.user

    @property
    def user_id(self) -> int:
        return key(self.user.id)

    def note(self, action: str, subject: str, **detail: Any) -> None:
        """Tell of it in the audit log: the entry stands exactly when this transaction does."""
        self.audit.append(self.session, actor=self.principal.actor, action=action, subject=subject, detail=detail)


def key(number: int | None) -> int:
    """The key of a row that is in the database."""
    if number is None:
        raise LookupError("the row is not in the database yet")
    return number


def _act(request: Request, session: SessionDep, principal: CurrentPrincipal) -> Act:
    return Act(session, principal, request.app.state.audit)


ActDep = Annotated[Act, Depends(_act, scope="function")]
