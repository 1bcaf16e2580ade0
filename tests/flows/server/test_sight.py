"""Whoever may see some runs sees those, and finds out nothing about the others."""

from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flows.server.routes import ROUTES
from tests.flows.server.conftest import MINE, OTHERS, Place

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture(scope="module")
def mine(place: Place) -> str:
    return place.ask(tag=MINE)


@pytest.fixture(scope="module")
def others(place: Place) -> str:
    return place.ask(tag=OTHERS)


class TestViewer:
    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"flow_runs": None},
            {"flow_runs": {"tags": {"any_": [OTHERS]}}},
            {"flow_runs": {"tags": {"any_": [MINE, OTHERS]}}},
            {"flow_runs": {"tags": {"all_": [OTHERS]}}},
            {"flow_runs": {"tags": {"is_null_": False}}},
            {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}},
        ],
        ids=str,
    )
    def test_a_filter_finds_theirs_alone(self, place: Place, mine: str, others: str, body: dict[str, Any]) -> None:
        with place.client("vic") as vic:
            found = {run["id"] for run in vic.post("/api/flow_runs/filter", json=body).json()}
        assert others not in found
        assert (mine in found) == (OTHERS not in str(body) or MINE in str(body))

    def test_alternatives_are_refused(self, place: Place) -> None:
        with place.client("vic") as vic:
            for runs in ({"operator": "or_"}, {"tags": {"operator": "or_", "all_": [OTHERS]}}):
                assert vic.post("/api/flow_runs/filter", json={"flow_runs": runs}).status_code == 422

    def test_a_count_does_not_tell(self, place: Place, mine: str, others: str) -> None:
        with place.client("vic") as vic, place.client("ann") as ann:
            ids = {"flow_runs": {"id": {"any_": [mine, others]}}}
            assert vic.post("/api/flow_runs/count", json=ids).json() == 1
            assert ann.post("/api/flow_runs/count", json=ids).json() == 2

    @pytest.mark.parametrize("path", ["", "/graph", "/graph-v2", "/logs/download"])
    def test_another_run_is_as_if_it_were_not_there(self, place: Place, mine: str, others: str, path: str) -> None:
        with place.client("vic") as vic:
            assert vic.get(f"/api/flow_runs/{mine}{path}").status_code == 200
            assert vic.get(f"/api/flow_runs/{others}{path}").status_code == 404

    def test_logs_are_named_by_their_run(self, place: Place, mine: str, others: str) -> None:
        with place.client("vic") as vic:

            def ask(**logs: Any) -> int:
                return vic.post("/api/logs/filter", json={"logs": logs}).status_code

            assert ask(flow_run_id={"any_": [mine]}) == 200
            assert ask(flow_run_id={"any_": [mine, others]}) == 404
            assert ask(level={"ge_": 0}) == 403
            assert ask() == 403

    def test_a_gates_form_is_not_for_them(self, place: Place, mine: str) -> None:
        keys = place.client("ann").get(f"/api/flow_runs/{mine}").json()["state"]["state_details"]["run_input_keyset"]
        with place.client("vic") as vic:
            assert vic.get(f"/api/flow_runs/{mine}/input/{keys['description']}").status_code == 403
            assert vic.get(f"/gates/{place.gate(mine).id}").status_code == 403

    def test_settings_are_those_of_the_pages_alone(self, place: Place) -> None:
        for who in ("vic", "ann"):
            with place.client(who) as client:
                found = client.get("/api/admin/settings").json()
            assert found == {"server": {"analytics_enabled": False, "ui": {"show_promotional_content": False}}}

    def test_what_cannot_be_narrowed_is_refused(self, place: Place) -> None:
        with place.client("vic") as vic:
            assert vic.post("/api/events/filter", json={}).status_code == 403
            assert vic.post("/api/ui/flows/next-runs", json={}).status_code == 403


class TestWorker:
    def test_neither_another_pool_nor_another_run(self, place: Place, mine: str) -> None:
        token = place.ledger.issue_worker_token("pool-a")
        with place.client(Authorization=f"Bearer {token}") as worker:
            assert worker.get("/api/work_pools/pool-b").status_code == 403
            assert worker.get(f"/api/flow_runs/{mine}").status_code == 404
            body = {"state": {"type": "RUNNING"}}
            assert worker.post(f"/api/flow_runs/{mine}/set_state", json=body).status_code == 404
            assert worker.post("/api/logs/", json=[{"flow_run_id": mine}]).status_code == 404
            assert worker.post("/api/flow_runs/filter", json={}).json() == []


class TestWebsocket:
    def _status(self, place: Place, path: str, **headers: str) -> int:
        url = place.url.replace("http", "ws") + path
        try:
            with connect(url, additional_headers=headers, subprotocols=["prefect"], proxy=None):  # type: ignore[list-item]  # a NewType of str
                return 101
        except InvalidStatus as error:
            return error.response.status_code

    @pytest.mark.parametrize(
        "path",
        [
            *(
                route.removeprefix("WS ").replace("{work_pool_name}", "p")
                for route in ROUTES
                if route.startswith("WS ")
            ),
            "/nothing",
            "/events/out/",
        ],
    )
    def test_without_identity(self, place: Place, path: str) -> None:
        assert self._status(place, f"/api{path}") == 403
        assert place.refused(path)

    @pytest.mark.parametrize("path", ["/", "/v2/", "/waiting", "/api", "/api/flow_runs/filter"])
    def test_where_there_is_none(self, place: Place, path: str) -> None:
        assert self._status(place, path, **place.service) == 403

    def test_by_whoever_may(self, place: Place) -> None:
        assert self._status(place, "/api/events/in", **place.service) == 101
        assert self._status(place, "/api/events/out", **place.people["ann"].headers) == 101
        for who in ("vic", "ann"):
            assert self._status(place, "/api/events/in", **place.people[who].headers) == 403
        assert self._status(place, "/api/events/out", **place.people["vic"].headers) == 101
        assert self._status(place, "/api/logs/out", **place.people["vic"].headers) == 403

    def test_from_another_sites_page(self, place: Place) -> None:
        with place.browser("ann") as ann:
            cookie = ann.headers["cookie"]
        assert self._status(place, "/api/events/out", Cookie=cookie, Origin="https://evil.example") == 403
        assert self._status(place, "/api/events/out", Cookie=cookie, Origin=place.url) == 101
