"""What is looked at in a request beyond who sent it. Each check passes it on, changed where it must be, or refuses."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

from api.schemas.sign_in import PEOPLE, SignedIn, Standing
from flows.server.http import Refused
from flows.server.routes import Check
from flows.server.sight import Sight, sees_all

_CANCELLING: Final = frozenset({"CANCELLING", "CANCELLED"})
_RENDERED: Final = "__prefect_kind"
_WITH_BODY: Final = frozenset(
    {Check.NARROW, Check.LOGS, Check.RUNS, Check.NAMED, Check.STATE, Check.TASK_STATE, Check.INPUT, Check.ASK}
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the checks see it."""

    who: SignedIn
    places: Mapping[str, str]
    query: str
    body: Any = None

    @property
    def id(self) -> str:
        return self.places.get("id", "")


class Checks:
    """The checks of the table's last column, but for resuming, which is a story of its own.

    Args:
        sight: whose runs are whose.
        may_read: asks the gates' keeper whether somebody may read what a flow run's gate shows.
    """

    def __init__(self, sight: Sight, may_read: Callable[[SignedIn, str], Awaitable[bool]]) -> None:
        self._sight, self._may_read = sight, may_read
        self._of: dict[Check, Callable[[Asked], Awaitable[Any]]] = {
            Check.NONE: self._nothing,
            Check.SETTINGS: self._nothing,
            Check.STREAM: self._nothing,
            Check.PUBLIC: self._nothing,
            Check.RUN: self._run,
            Check.TASK_RUN: self._task_run,
            Check.ARTIFACT: self._artifact,
            Check.NARROW: self._narrow,
            Check.LOGS: self._logs,
            Check.OF_RUN: self._of_run,
            Check.OF_TASK_RUN: self._of_task_run,
            Check.RUNS: self._runs,
            Check.NAMED: self._named,
            Check.POOL: self._pool,
            Check.ALL: self._all,
            Check.STATE: self._state,
            Check.TASK_STATE: self._task_state,
            Check.INPUT: self._input,
            Check.SHOWN: self._shown,
            Check.ASK: self._ask,
        }

    @staticmethod
    def needs_body(check: Check, who: SignedIn) -> bool:
        """Whether the body is read, and sent on as it was understood: nobody else parses what we have looked at."""
        only_sight = check in {Check.NARROW, Check.LOGS, Check.RUNS, Check.NAMED}
        return check in _WITH_BODY and not (only_sight and sees_all(who))

    async def apply(self, check: Check, asked: Asked) -> bytes | None:
        """The body to send on; None for the one that came.

        Raises:
            Refused: with the reason.
        """
        body = await self._of[check](asked)
        return json.dumps(body).encode() if self.needs_body(check, asked.who) else None

    async def _nothing(self, asked: Asked) -> Any:
        return asked.body

    async def _run(self, asked: Asked) -> Any:
        await self._sight.require_run(asked.who, asked.id)
        return asked.body

    async def _task_run(self, asked: Asked) -> Any:
        await self._sight.require_run_of(asked.who, "task_runs", asked.id)
        return asked.body

    async def _artifact(self, asked: Asked) -> Any:
        await self._sight.require_run_of(asked.who, "artifacts", asked.id)
        return asked.body

    async def _narrow(self, asked: Asked) -> Any:
        return self._sight.narrow(asked.who, asked.body)

    async def _logs(self, asked: Asked) -> Any:
        """Logs know no other filters than identifiers; so there must be some, all of them theirs."""
        if sees_all(asked.who):
            return asked.body
        logs = asked.body.get("logs") if isinstance(asked.body, Mapping) else None
        logs = logs if isinstance(logs, Mapping) and logs.get("operator", "and_") == "and_" else {}
        runs, task_runs = _identifiers(logs.get("flow_run_id")), _identifiers(logs.get("task_run_id"))
        if not runs and not task_runs:
            raise Refused(HTTPStatus.FORBIDDEN, "name the flow runs or task runs whose logs you want")
        await self._sight.require_runs(asked.who, runs)
        for task_run in task_runs:
            await self._sight.require_run_of(asked.who, "task_runs", task_run)
        return asked.body

    async def _of_run(self, asked: Asked) -> Any:
        if not sees_all(asked.who):
            await self._sight.require_run(asked.who, _one(asked.query, "flow_run_id"))
        return asked.body

    async def _of_task_run(self, asked: Asked) -> Any:
        if not sees_all(asked.who):
            await self._sight.require_run_of(asked.who, "task_runs", _one(asked.query, "task_run_id"))
        return asked.body

    async def _runs(self, asked: Asked) -> Any:
        if not sees_all(asked.who):
            ids = asked.body.get("flow_run_ids") if isinstance(asked.body, Mapping) else None
            if not isinstance(ids, list):
                raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "flow_run_ids: list the flow runs")
            await self._sight.require_runs(asked.who, ids)
        return asked.body

    async def _named(self, asked: Asked) -> Any:
        if not sees_all(asked.who):
            items = asked.body if isinstance(asked.body, list) else [asked.body]
            named = [item.get("flow_run_id") if isinstance(item, Mapping) else None for item in items]
            await self._sight.require_runs(asked.who, named)
        return asked.body

    async def _pool(self, asked: Asked) -> Any:
        pool = asked.places.get("work_pool_name", asked.places.get("name"))
        if asked.who.standing == Standing.WORKER and pool != asked.who.pool:
            raise Refused(HTTPStatus.FORBIDDEN, f"work pool {pool!r} is not yours")
        return asked.body

    async def _all(self, asked: Asked) -> Any:
        if not sees_all(asked.who):
            raise Refused(HTTPStatus.FORBIDDEN, "this cannot be narrowed to the runs that are yours to see")
        return asked.body

    async def _state(self, asked: Asked) -> Any:
        """A run at a gate is kept there by a rule inside Prefect's own transaction (flows.server.policy)."""
        await self._sight.require_run(asked.who, asked.id)
        body = _without_force(asked.body)
        state = body.get("state")
        wanted = state.get("type") if isinstance(state, Mapping) else None
        if asked.who.standing in PEOPLE and wanted not in _CANCELLING:
            raise Refused(
                HTTPStatus.FORBIDDEN, f"nobody sets a run to {wanted!r} by hand: decide at its gate, or cancel it"
            )
        if asked.who.standing in PEOPLE and not sees_all(asked.who):
            raise Refused(HTTPStatus.FORBIDDEN, "whoever sees the runs of some benchmarks alone cancels none")
        return body

    async def _task_state(self, asked: Asked) -> Any:
        await self._sight.require_run_of(asked.who, "task_runs", asked.id)
        return _without_force(asked.body)

    async def _input(self, asked: Asked) -> Any:
        """A flow may show its form; the answer to it is written by resuming alone."""
        await self._sight.require_run(asked.who, asked.id)
        key = asked.body.get("key") if isinstance(asked.body, Mapping) else None
        if not isinstance(key, str) or not key.endswith(("-schema", "-description")):
            raise Refused(HTTPStatus.FORBIDDEN, f"input {key!r} is not a flow's to write: gates are answered by people")
        return asked.body

    async def _shown(self, asked: Asked) -> Any:
        """What a gate shows is confidential between its two sides, also from others who see the run."""
        await self._sight.require_run(asked.who, asked.id)
        if asked.who.standing in PEOPLE and not await self._may_read(asked.who, asked.id):
            raise Refused(HTTPStatus.FORBIDDEN, f"{asked.who.name} may not read what this run's gate shows")
        return asked.body

    async def _ask(self, asked: Asked) -> Any:
        if not isinstance(asked.body, Mapping):
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "the body is not an object")
        if is_rendered(asked.body):
            raise rendered()
        state = asked.body.get("state")
        if state is not None and (not isinstance(state, Mapping) or state.get("type") != "SCHEDULED"):
            raise Refused(HTTPStatus.FORBIDDEN, "a run begins scheduled, and in no other state")
        return asked.body


def is_rendered(value: Any) -> bool:
    """Whether the server would render something in it: a template, or a variable's value."""
    if isinstance(value, Mapping):
        return _RENDERED in value or any(map(is_rendered, value.values()))
    return isinstance(value, list) and any(map(is_rendered, value))


def rendered() -> Refused:
    return Refused(
        HTTPStatus.UNPROCESSABLE_ENTITY, f"{_RENDERED!r}: templates and variables are not taken; write the value itself"
    )


def _without_force(body: Any) -> dict[str, Any]:
    """By force, Prefect would ask none of its rules, ours among them."""
    if not isinstance(body, Mapping):
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "the body is not an object")
    return {**body, "force": False}


def _identifiers(group: Any) -> list[str]:
    found = group.get("any_") if isinstance(group, Mapping) else None
    return [str(item) for item in found] if isinstance(found, list) else []


def _one(query: str, name: str) -> str:
    values = parse_qs(query).get(name, [])
    if len(values) != 1:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"name one {name}")
    return values[0]
