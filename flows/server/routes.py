"""Who may ask Prefect for what: one table of standings and routes. What has no row here is refused to everybody.

`tests/flows/server/test_routes.py` holds it against Prefect's own OpenAPI document: a route that an upgrade adds, or takes
away, fails there.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from api.schemas.sign_in import Standing

_LETTERS: Final = {
    "v": Standing.VIEWER,
    "d": Standing.DELEGATE,
    "o": Standing.OPERATOR,
    "w": Standing.WORKER,
    "s": Standing.SERVICE,
    "a": Standing.ADMINISTRATOR,
}


class Check(StrEnum):
    """What is looked at beyond the standing."""

    NONE = "none"
    PUBLIC = "public"
    """Nobody needs to be signed in: it answers that the server lives."""
    RUN = "run"
    """The flow run in the path is one of theirs."""
    TASK_RUN = "task run"
    ARTIFACT = "artifact"
    NARROW = "narrow"
    """The filter of flow runs in the body is narrowed to theirs."""
    LOGS = "logs"
    """Asks for logs of flow runs or task runs of theirs, by their identifiers."""
    OF_RUN = "of run"
    """The flow run named by the query's `flow_run_id` is theirs."""
    OF_TASK_RUN = "of task run"
    RUNS = "runs"
    """The flow runs listed in the body are theirs."""
    NAMED = "named"
    """The flow runs that the body is about are theirs."""
    POOL = "pool"
    """The work pool in the path is their own."""
    ALL = "all"
    """Cannot be narrowed: refused to whoever does not see all runs."""
    STREAM = "stream"
    """Each event is read; whoever sees some runs is passed those of their runs alone (flows.server.stream)."""
    RESUME = "resume"
    """Only with a decision; the form is validated, and rewritten from it."""
    STATE = "state"
    """People may only cancel, and only who sees all runs; a run that rests at a gate cannot be set going; never by force."""
    TASK_STATE = "task state"
    """The task run is of one of theirs; never by force."""
    INPUT = "input"
    """The answer to a gate cannot be written."""
    SHOWN = "shown"
    """The run is theirs, and what its gate shows is theirs to read."""
    SETTINGS = "settings"
    """All of the server's settings for administrators; for others what its pages need, and nothing of the host."""
    ASK = "ask"
    """Asks for a run, or what runs come from: no state of one's own choosing, nothing that the server would render."""


@dataclass(frozen=True, slots=True)
class Row:
    """One route: who may use it, and what is checked then."""

    who: frozenset[Standing]
    check: Check


_TABLE: Final = (
    # The server.
    ("GET /health", "", Check.PUBLIC),
    ("GET /ready", "", Check.PUBLIC),
    ("GET /hello", "voswa", Check.NONE),
    ("GET /version", "voswa", Check.NONE),
    ("GET /admin/version", "voswa", Check.NONE),
    ("GET /admin/settings", "voa", Check.SETTINGS),
    ("GET /admin/storage", "swa", Check.NONE),  # refused to it, a client silently drops events of task runs
    ("PUT /admin/storage", "", Check.NONE),
    ("DELETE /admin/storage", "", Check.NONE),
    ("GET /csrf-token", "voswa", Check.NONE),
    ("GET /collections/views/{view}", "voa", Check.NONE),
    ("POST /templates/validate", "a", Check.NONE),
    ("POST /ui/schemas/validate", "voa", Check.NONE),
    # Flow runs.
    ("POST /flow_runs/", "", Check.NONE),
    ("POST /flow_runs/filter", "voswa", Check.NARROW),
    ("POST /flow_runs/count", "vosa", Check.NARROW),
    ("POST /flow_runs/paginate", "vosa", Check.NARROW),
    ("POST /flow_runs/history", "voa", Check.NARROW),
    ("POST /flow_runs/lateness", "voa", Check.NARROW),
    ("POST /flow_runs/bulk_delete", "", Check.NONE),
    ("POST /flow_runs/bulk_set_state", "", Check.NONE),
    ("GET /flow_runs/{id}", "voswa", Check.RUN),
    ("PATCH /flow_runs/{id}", "sw", Check.RUN),
    ("DELETE /flow_runs/{id}", "a", Check.NONE),
    ("GET /flow_runs/{id}/graph", "voa", Check.RUN),
    ("GET /flow_runs/{id}/graph-v2", "voa", Check.RUN),
    ("GET /flow_runs/{id}/logs/download", "voa", Check.RUN),
    ("PATCH /flow_runs/{id}/labels", "sw", Check.RUN),
    ("POST /flow_runs/{id}/resume", "dosa", Check.RESUME),
    ("POST /flow_runs/{id}/set_state", "oswa", Check.STATE),
    ("POST /flow_runs/{id}/input", "sw", Check.INPUT),
    ("POST /flow_runs/{id}/input/filter", "dosw", Check.SHOWN),
    ("GET /flow_runs/{id}/input/{key}", "doswa", Check.SHOWN),  # a gate's form shows what nobody has approved yet
    ("DELETE /flow_runs/{id}/input/{key}", "", Check.NONE),
    ("GET /flow_run_states/", "voswa", Check.OF_RUN),
    ("GET /flow_run_states/{id}", "swa", Check.ALL),
    ("POST /ui/flow_runs/history", "voa", Check.NARROW),
    ("POST /ui/flow_runs/count-task-runs", "voa", Check.RUNS),
    # Task runs.
    ("POST /task_runs/", "sw", Check.NAMED),
    ("POST /task_runs/filter", "vosa", Check.NARROW),
    ("POST /task_runs/count", "voa", Check.NARROW),
    ("POST /task_runs/paginate", "voa", Check.NARROW),
    ("POST /task_runs/history", "voa", Check.NARROW),
    ("GET /task_runs/{id}", "voswa", Check.TASK_RUN),
    ("PATCH /task_runs/{id}", "sw", Check.TASK_RUN),
    ("DELETE /task_runs/{id}", "a", Check.NONE),
    ("POST /task_runs/{id}/set_state", "sw", Check.TASK_STATE),
    ("GET /task_run_states/", "voswa", Check.OF_TASK_RUN),
    ("GET /task_run_states/{id}", "swa", Check.ALL),
    ("POST /task_workers/filter", "a", Check.NONE),
    ("POST /ui/task_runs/count", "voa", Check.NARROW),
    ("POST /ui/task_runs/dashboard/counts", "voa", Check.NARROW),
    ("GET /ui/task_runs/{id}", "voa", Check.TASK_RUN),
    ("WS /task_runs/subscriptions/scheduled", "", Check.NONE),
    # Logs, artifacts, events.
    ("POST /logs/", "sw", Check.NAMED),
    ("POST /logs/filter", "voa", Check.LOGS),
    ("WS /logs/out", "oa", Check.ALL),  # lines name no tags to narrow by; logs of one's runs are read by filters
    ("POST /artifacts/", "sw", Check.NAMED),
    ("POST /artifacts/filter", "voa", Check.NARROW),
    ("POST /artifacts/count", "voa", Check.NARROW),
    ("POST /artifacts/latest/filter", "voa", Check.NARROW),
    ("POST /artifacts/latest/count", "voa", Check.NARROW),
    ("GET /artifacts/{id}", "vosa", Check.ARTIFACT),
    ("GET /artifacts/{key}/latest", "osa", Check.ALL),
    ("PATCH /artifacts/{id}", "sw", Check.ARTIFACT),
    ("DELETE /artifacts/{id}", "a", Check.NONE),
    ("POST /events", "sw", Check.NONE),
    ("POST /events/filter", "oa", Check.ALL),
    ("GET /events/filter/next", "oa", Check.ALL),
    ("POST /events/count-by/{countable}", "oa", Check.ALL),
    ("WS /events/in", "sw", Check.NONE),
    ("WS /events/out", "vosa", Check.STREAM),  # for programs: Prefect's pages ask again by themselves and open none
    # Flows and deployments: the product's own. Runs of them are asked for by the agent alone.
    ("POST /flows/", "s", Check.NONE),
    ("POST /flows/filter", "voa", Check.NARROW),
    ("POST /flows/count", "voa", Check.NARROW),
    ("POST /flows/paginate", "voa", Check.NARROW),
    ("POST /flows/bulk_delete", "", Check.NONE),
    ("GET /flows/name/{name}", "vosa", Check.NONE),
    ("GET /flows/{id}", "voswa", Check.NONE),
    ("PATCH /flows/{id}", "", Check.NONE),
    ("DELETE /flows/{id}", "a", Check.NONE),
    ("POST /ui/flows/count-deployments", "voa", Check.NONE),
    ("POST /ui/flows/next-runs", "oa", Check.ALL),
    ("POST /deployments/", "s", Check.ASK),
    ("POST /deployments/filter", "voa", Check.NARROW),
    ("POST /deployments/count", "voa", Check.NARROW),
    ("POST /deployments/paginate", "voa", Check.NARROW),
    ("POST /deployments/bulk_delete", "", Check.NONE),
    ("POST /deployments/get_scheduled_flow_runs", "s", Check.NONE),
    ("GET /deployments/name/{flow_name}/{deployment_name}", "vosa", Check.NONE),
    ("GET /deployments/{id}", "voswa", Check.NONE),
    ("PATCH /deployments/{id}", "", Check.NONE),
    ("DELETE /deployments/{id}", "a", Check.NONE),
    ("POST /deployments/{id}/create_flow_run", "s", Check.ASK),
    ("POST /deployments/{id}/create_flow_run/bulk", "", Check.NONE),
    ("POST /deployments/{id}/pause_deployment", "a", Check.NONE),
    ("POST /deployments/{id}/resume_deployment", "a", Check.NONE),
    ("POST /deployments/{id}/schedule", "", Check.NONE),
    ("GET /deployments/{id}/schedules", "voa", Check.NONE),
    ("POST /deployments/{id}/schedules", "", Check.NONE),
    ("PATCH /deployments/{id}/schedules/{schedule_id}", "", Check.NONE),
    ("DELETE /deployments/{id}/schedules/{schedule_id}", "", Check.NONE),
    ("GET /deployments/{id}/work_queue_check", "voa", Check.NONE),
    # Work pools, queues, workers.
    ("POST /work_pools/", "sa", Check.ASK),
    ("POST /work_pools/filter", "oa", Check.NONE),
    ("POST /work_pools/count", "voa", Check.NONE),
    ("GET /work_pools/{name}", "oswa", Check.POOL),
    ("PATCH /work_pools/{name}", "swa", Check.POOL),
    ("DELETE /work_pools/{name}", "a", Check.NONE),
    ("POST /work_pools/{name}/concurrency_status", "owa", Check.POOL),
    ("POST /work_pools/{name}/get_scheduled_flow_runs", "wa", Check.POOL),
    ("POST /work_pools/{work_pool_name}/queues", "a", Check.NONE),
    ("POST /work_pools/{work_pool_name}/queues/filter", "owa", Check.POOL),
    ("GET /work_pools/{work_pool_name}/queues/{name}", "owa", Check.POOL),
    ("PATCH /work_pools/{work_pool_name}/queues/{name}", "a", Check.NONE),
    ("DELETE /work_pools/{work_pool_name}/queues/{name}", "a", Check.NONE),
    ("POST /work_pools/{work_pool_name}/workers/filter", "owa", Check.POOL),
    ("POST /work_pools/{work_pool_name}/workers/heartbeat", "w", Check.POOL),
    ("DELETE /work_pools/{work_pool_name}/workers/{name}", "a", Check.NONE),
    ("WS /work_pools/{work_pool_name}/workers/connect", "w", Check.POOL),
    ("POST /work_queues/", "a", Check.NONE),
    ("POST /work_queues/filter", "oa", Check.NONE),
    ("GET /work_queues/name/{name}", "owa", Check.NONE),
    ("GET /work_queues/{id}", "owa", Check.NONE),
    ("PATCH /work_queues/{id}", "a", Check.NONE),
    ("DELETE /work_queues/{id}", "a", Check.NONE),
    ("POST /work_queues/{id}/concurrency_status", "oa", Check.NONE),
    ("POST /work_queues/{id}/get_runs", "", Check.NONE),
    ("GET /work_queues/{id}/status", "owa", Check.NONE),
    # Limits.
    ("POST /concurrency_limits/", "a", Check.NONE),
    ("POST /concurrency_limits/filter", "oa", Check.NONE),
    ("POST /concurrency_limits/increment", "sw", Check.NONE),
    ("POST /concurrency_limits/decrement", "sw", Check.NONE),
    ("GET /concurrency_limits/tag/{tag}", "osa", Check.NONE),
    ("DELETE /concurrency_limits/tag/{tag}", "a", Check.NONE),
    ("POST /concurrency_limits/tag/{tag}/reset", "a", Check.NONE),
    ("GET /concurrency_limits/{id}", "oa", Check.NONE),
    ("DELETE /concurrency_limits/{id}", "a", Check.NONE),
    ("POST /v2/concurrency_limits/", "a", Check.NONE),
    ("POST /v2/concurrency_limits/filter", "oa", Check.NONE),
    ("POST /v2/concurrency_limits/increment", "sw", Check.NONE),
    ("POST /v2/concurrency_limits/increment-with-lease", "sw", Check.NONE),
    ("POST /v2/concurrency_limits/decrement", "sw", Check.NONE),
    ("POST /v2/concurrency_limits/decrement-with-lease", "sw", Check.NONE),
    ("POST /v2/concurrency_limits/leases/{lease_id}/renew", "sw", Check.NONE),
    ("GET /v2/concurrency_limits/{id_or_name}", "osa", Check.NONE),
    ("PATCH /v2/concurrency_limits/{id_or_name}", "a", Check.NONE),
    ("DELETE /v2/concurrency_limits/{id_or_name}", "a", Check.NONE),
    # Automations act inside the server, past this layer: nobody makes one here.
    ("POST /automations/", "", Check.NONE),
    ("POST /automations/filter", "oa", Check.NONE),
    ("POST /automations/count", "oa", Check.NONE),
    ("POST /automations/templates/validate", "", Check.NONE),
    ("GET /automations/related-to/{resource_id}", "oa", Check.NONE),
    ("DELETE /automations/owned-by/{resource_id}", "a", Check.NONE),
    ("GET /automations/{id}", "oa", Check.NONE),
    ("PUT /automations/{id}", "", Check.NONE),
    ("PATCH /automations/{id}", "", Check.NONE),
    ("DELETE /automations/{id}", "a", Check.NONE),
    # Blocks and variables hold secrets, and a form that is rendered on the server can read them out.
    ("GET /block_capabilities/", "a", Check.NONE),
    ("POST /block_documents/", "a", Check.NONE),
    ("POST /block_documents/count", "a", Check.NONE),
    ("POST /block_documents/filter", "a", Check.NONE),
    ("GET /block_documents/{id}", "a", Check.NONE),
    ("PATCH /block_documents/{id}", "a", Check.NONE),
    ("DELETE /block_documents/{id}", "a", Check.NONE),
    ("POST /block_schemas/", "a", Check.NONE),
    ("POST /block_schemas/filter", "a", Check.NONE),
    ("GET /block_schemas/checksum/{checksum}", "swa", Check.NONE),
    ("GET /block_schemas/{id}", "a", Check.NONE),
    ("DELETE /block_schemas/{id}", "a", Check.NONE),
    ("POST /block_types/", "a", Check.NONE),
    ("POST /block_types/filter", "a", Check.NONE),
    ("POST /block_types/install_system_block_types", "a", Check.NONE),
    ("GET /block_types/slug/{slug}", "swa", Check.NONE),
    ("GET /block_types/slug/{slug}/block_documents", "a", Check.NONE),
    ("GET /block_types/slug/{slug}/block_documents/name/{block_document_name}", "a", Check.NONE),
    ("GET /block_types/{id}", "a", Check.NONE),
    ("PATCH /block_types/{id}", "a", Check.NONE),
    ("DELETE /block_types/{id}", "a", Check.NONE),
    ("POST /variables/", "a", Check.NONE),
    ("POST /variables/count", "a", Check.NONE),
    ("POST /variables/filter", "a", Check.NONE),
    ("GET /variables/name/{name}", "a", Check.NONE),
    ("PATCH /variables/name/{name}", "a", Check.NONE),
    ("DELETE /variables/name/{name}", "a", Check.NONE),
    ("GET /variables/{id}", "a", Check.NONE),
    ("PATCH /variables/{id}", "a", Check.NONE),
    ("DELETE /variables/{id}", "a", Check.NONE),
    ("PUT /saved_searches/", "oa", Check.ALL),
    ("POST /saved_searches/filter", "oa", Check.ALL),
    ("GET /saved_searches/{id}", "oa", Check.ALL),
    ("DELETE /saved_searches/{id}", "oa", Check.ALL),
)


def _row(who: str, check: Check) -> Row:
    """A delegate may what a viewer may; where they may more, their own letter stands."""
    return Row(frozenset(_LETTERS[letter] for letter in who.replace("v", "vd")), check)


ROUTES: Final = {route: _row(who, check) for route, who, check in _TABLE}
"""`METHOD /template`, as in Prefect's OpenAPI document, to its row. `WS` stands for a websocket."""

_PLACE: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Match:
    """A request's row, and the values of its path's places."""

    route: str
    row: Row
    places: dict[str, str]


def find_route(method: str, path: str) -> Match | None:
    """The row of a request; None when there is none.

    A fixed name wins over a place, as `/flow_runs/filter` over `/flow_runs/{id}`. A slash at the end makes another path, and
    nothing is decoded a second time: what does not match to the letter is refused, whatever Prefect would make of it.
    """
    for route, pattern in _PATTERNS.get(method, ()):
        found = pattern.fullmatch(path)
        if found is not None:
            return Match(route, ROUTES[route], found.groupdict())
    return None


def _compiled() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    patterns: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for route in sorted(ROUTES, key=lambda known: [(part.startswith("{"), part) for part in known.split("/")]):
        method, template = route.split(" ")
        pattern = _PLACE.sub(r"(?P<\1>[^/]+)", re.escape(template).replace(r"\{", "{").replace(r"\}", "}"))
        patterns.setdefault(method, []).append((route, re.compile(pattern)))
    return patterns


_PATTERNS: Final = _compiled()
