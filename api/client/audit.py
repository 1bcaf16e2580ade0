"""The registry's audit log from outside."""

from typing import Any

from api.client.transport import Transport
from api.schemas.common import Page
from api.schemas.records import AuditEntry, AuditHead, AuditVerification


class Audit:
    """Entries for platform administrators; the proof that nothing was changed for everybody."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def entries(self, *, limit: int = 50, offset: int = 0, **filters: Any) -> Page[AuditEntry]:
        """Entries, oldest first; `action`, `subject` and `actor` filter."""
        return self._transport.get("/v1/audit", Page[AuditEntry], {"limit": limit, "offset": offset, **filters})

    def verify(self) -> AuditVerification:
        """Let the registry compute its whole chain again."""
        return self._transport.get("/v1/audit/verification", AuditVerification)

    def head(self, at: int | None = None) -> AuditHead:
        """Where the chain has come to: keep it, and history cannot be rewritten unnoticed. Or where it was with entry `at`.

        Raises:
            Refused: 404, there is no such entry.
        """
        return self._transport.get("/v1/audit/head", AuditHead, {"at": at})
