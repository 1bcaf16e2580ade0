"""Which runs somebody may see: all, those of their benchmarks, or those of their work pool."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

import httpx2

from api.schemas.sign_in import SignedIn, Standing
from flows.server.hosting import App
from flows.server.http import Refused


def sees_all(who: SignedIn) -> bool:
    return who.standing != Standing.WORKER and who.tags is None


class Sight:
    """Looks into Prefect, past the layer, to see whose a run is.

    Args:
        prefect: the application behind the layer.
    """

    def __init__(self, prefect: App) -> None:
        transport = httpx2.ASGITransport(app=prefect, raise_app_exceptions=False)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://prefect/api")

    async def require_run(self, who: SignedIn, run_id: object) -> None:
        """Raises Refused (404) unless the flow run is one that somebody may see: whether it exists is not theirs to know."""
        if sees_all(who):
            return
        run = await self._read("flow_runs", run_id)
        if run is None or not _is_theirs(who, run):
            raise _unknown("flow run", run_id)

    async def sees(self, who: SignedIn, run_id: UUID) -> bool:
        """Whether a flow run is one that somebody may see."""
        try:
            await self.require_run(who, run_id)
        except Refused:
            return False
        return True

    async def require_run_of(self, who: SignedIn, kind: str, identifier: object) -> None:
        """The same for the flow run of a task run or an artifact (`kind` is Prefect's plural)."""
        if sees_all(who):
            return
        found = await self._read(kind, identifier)
        if found is None or found.get("flow_run_id") is None:
            raise _unknown(kind, identifier)
        await self.require_run(who, found["flow_run_id"])

    async def require_runs(self, who: SignedIn, run_ids: Iterable[object]) -> None:
        for run_id in dict.fromkeys(map(str, run_ids)):
            await self.require_run(who, run_id)

    def narrow(self, who: SignedIn, body: Any) -> Any:
        """A filter with which only runs that somebody may see are found, whatever else it asks for.

        Raises:
            Refused: 422, a filter of alternatives: what is added to it would be one more of them.
        """
        if sees_all(who):
            return body
        body = dict(body) if isinstance(body, Mapping) else {}
        if who.standing == Standing.WORKER:
            return body | {"work_pools": {"operator": "and_", "name": {"any_": [who.pool]}}}
        runs = _group(body, "flow_runs")
        tags = _group(runs, "tags")
        wanted = tags.get("any_")
        mine = sorted(who.tags or ())
        if isinstance(wanted, list):
            mine = [tag for tag in mine if tag in wanted]
        # A tag that no run has, instead of an empty list: how an empty list is read is another's decision.
        tags = tags | {"operator": "and_", "any_": mine or ["\x1fnothing"]}
        return body | {"flow_runs": runs | {"operator": "and_", "tags": tags}}

    async def _read(self, kind: str, identifier: object) -> dict[str, Any] | None:
        try:
            number = UUID(str(identifier))
        except ValueError:
            raise _unknown(kind, identifier) from None
        response = await self.client.get(f"/{kind}/{number}")
        return dict(response.json()) if response.is_success else None


def _is_theirs(who: SignedIn, run: Mapping[str, Any]) -> bool:
    if who.standing == Standing.WORKER:
        return who.pool is not None and run.get("work_pool_name") == who.pool
    return who.tags is None or not who.tags.isdisjoint(run.get("tags") or [])


def _group(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    group = body.get(name) or {}
    if not isinstance(group, Mapping) or group.get("operator", "and_") != "and_":
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"{name}: a filter of alternatives cannot be narrowed to your runs"
        )
    return dict(group)


def _unknown(kind: str, identifier: object) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, f"there is no {kind.removesuffix('s').replace('_', ' ')} {str(identifier)!r}")
