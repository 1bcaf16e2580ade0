"""The table of standings and routes, held against Prefect's own description of itself."""

import importlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, WebSocketRoute

from api.schemas.sign_in import Standing
from flows.server.routes import ROUTES, Check, find_route


@pytest.fixture(scope="module")
def api() -> Any:
    return importlib.import_module("prefect.server.api.server").create_api_app()


@pytest.fixture(scope="module")
def document(api: Any) -> dict[str, Any]:
    found: dict[str, Any] = api.openapi()
    return found


def _routes(document: dict[str, Any]) -> set[str]:
    return {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}


def _walk(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, BaseRoute]]:
    """Each route of an application with its whole path, however deep it was included."""
    for route in routes:
        if hasattr(route, "original_router"):
            yield from _walk(route.original_router.routes, prefix + route.include_context.prefix)
        elif isinstance(route, Mount):
            yield from _walk(route.routes, prefix + route.path)
        else:
            yield re.sub(r":\w+}", "}", prefix + route.path), route


def _websockets(api: Any) -> set[str]:
    return {f"WS {path}" for path, route in _walk(api.routes) if isinstance(route, WebSocketRoute)}


class TestTable:
    def test_it_has_a_row_for_each_route_of_prefect_and_no_other(self, api: Any, document: dict[str, Any]) -> None:
        assert set(ROUTES) == _routes(document) | _websockets(api)
        assert len(ROUTES) == 192

    def test_websockets_are_found_in_prefects_own_application(self, api: Any, document: dict[str, Any]) -> None:
        assert len(_websockets(api)) == 5
        # The same walk finds all that the document has: it overlooks nothing.
        walked = {
            f"{method} {path}"
            for path, route in _walk(api.routes)
            if isinstance(route, APIRoute) and route.include_in_schema
            for method in route.methods or ()
        }
        assert walked == _routes(document)

    def test_what_prefect_serves_beside_its_document_has_no_row(self, api: Any, document: dict[str, Any]) -> None:
        hidden = {path for path, _ in _walk(api.routes)} - set(document["paths"])
        hidden -= {route.removeprefix("WS ") for route in _websockets(api)}
        assert {path for path in hidden if find_route("GET", path) or find_route("POST", path)} == set()

    def test_what_is_narrowed_has_a_filter_that_prefect_reads(self, document: dict[str, Any]) -> None:
        for route, row in ROUTES.items():
            if row.check == Check.NARROW:
                method, path = route.split()
                body = document["paths"][path][method.lower()]["requestBody"]["content"]["application/json"]["schema"]
                name = body.get("$ref", body.get("allOf", [{}])[0].get("$ref", "")).rsplit("/", 1)[-1]
                assert "flow_runs" in document["components"]["schemas"][name]["properties"], route

    def test_viewers_change_nothing(self) -> None:
        reading = {
            "filter",
            "count",
            "paginate",
            "history",
            "lateness",
            "counts",
            "count-task-runs",
            "count-deployments",
        }
        for route, row in ROUTES.items():
            if Standing.VIEWER in row.who and not route.startswith("GET "):
                assert route.rsplit("/", 1)[-1] in {*reading, "validate", "out"}, route

    def test_delegates_answer_gates_and_are_viewers_in_all_else(self) -> None:
        more = {
            route for route, row in ROUTES.items() if (Standing.DELEGATE in row.who) != (Standing.VIEWER in row.who)
        }
        assert more == {
            "POST /flow_runs/{id}/resume",
            "POST /flow_runs/{id}/input/filter",
            "GET /flow_runs/{id}/input/{key}",
        }
        assert all(Standing.DELEGATE in ROUTES[route].who for route in more)

    def test_gates_are_answered_by_resuming_alone(self) -> None:
        assert ROUTES["POST /flow_runs/{id}/resume"].check == Check.RESUME
        assert ROUTES["POST /flow_runs/{id}/set_state"].check == Check.STATE
        assert ROUTES["POST /flow_runs/{id}/input"].check == Check.INPUT
        for past in ("POST /flow_runs/", "POST /flow_runs/bulk_set_state", "DELETE /flow_runs/{id}/input/{key}"):
            assert ROUTES[past].who == frozenset()

    def test_nobody_makes_or_changes_an_automation(self) -> None:
        writes = ("POST /automations/", "PUT /automations/{id}", "PATCH /automations/{id}")
        assert all(ROUTES[route].who == frozenset() for route in writes)

    def test_health_is_all_that_is_public(self) -> None:
        assert {route for route, row in ROUTES.items() if row.check == Check.PUBLIC} == {"GET /health", "GET /ready"}


class TestFind:
    @pytest.mark.parametrize(
        ("method", "path", "route"),
        [
            ("POST", "/flow_runs/filter", "POST /flow_runs/filter"),
            ("GET", "/flow_runs/abc", "GET /flow_runs/{id}"),
            ("GET", "/work_queues/name/default", "GET /work_queues/name/{name}"),
            ("GET", "/variables/name/x", "GET /variables/name/{name}"),
            ("WS", "/work_pools/p/workers/connect", "WS /work_pools/{work_pool_name}/workers/connect"),
        ],
    )
    def test_a_fixed_name_wins_over_a_place(self, method: str, path: str, route: str) -> None:
        match = find_route(method, path)
        assert match is not None
        assert match.route == route

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/flow_runs/filter/"),
            ("POST", "//flow_runs/filter"),
            ("GET", "/flow_runs/a/../b"),
            ("HEAD", "/flow_runs/abc"),
            ("OPTIONS", "/flow_runs/filter"),
            ("GET", "/openapi.json"),
            ("GET", "/docs"),
            ("GET", ""),
        ],
    )
    def test_what_does_not_match_to_the_letter_has_no_row(self, method: str, path: str) -> None:
        assert find_route(method, path) is None
