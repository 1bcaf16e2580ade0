"""Signs of life."""

from typing import Any

from api.core.rows import lock
from api.nouns.sites.tables import Site
from api.nouns.work.receiving import Receiving, check_past
from api.schemas.border import Heartbeat, Received
from api.storage.columns import now


def note_heartbeat(receiving: Receiving, heartbeat: Heartbeat) -> Received:
    """Keep the newest sign of life.

    It is the same however often it comes, so no answer is kept for its key; and the audit log tells only of what is new
    in it: a site sends one every minute, for years.

    Raises:
        InvalidInputError: sent in times to come.
    """
    check_past("the heartbeat", heartbeat.sent_at)
    site = lock(receiving.act.session, Site, receiving.site_id)
    before = None if site.heartbeat is None else Heartbeat.model_validate(site.heartbeat)
    if before is None or before.sent_at <= heartbeat.sent_at:
        site.heartbeat, site.last_heartbeat_at = heartbeat.model_dump(mode="json"), now()
        receiving.act.session.add(site)
        if before is None or _told(before) != _told(heartbeat):
            receiving.act.note("site.heartbeat_changed", f"site:{site.id}", **_told(heartbeat))
    return Received(id=receiving.site_id)


def _told(heartbeat: Heartbeat) -> dict[str, Any]:
    probe = heartbeat.probe
    return {"agent_version": heartbeat.agent_version, "runtime": probe.runtime, "isolation": probe.isolation.value}
