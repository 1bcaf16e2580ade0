"""From a person's decision to the flow's first line, through the whole stack: sign-in layer, Prefect, events, warm runner.

Run it with `pytest -s -n 0 tests/bench/bench_signed_in_latency.py`. The floor is the same run's own creation to first line: what
Prefect and the runner need without any decision.
"""

import statistics
import time
from collections.abc import Callable

import pytest

from tests.flows.server.conftest import (  # noqa: F401 - fixtures
    ASKING,
    Place,
    cluster,
    identity_provider,
    place,
    resting_place,
    site_database,
)

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # it measures
]
ROUNDS = 30
WANTED_S = 0.5


def test_decision_to_first_line(place: Place, until: Callable[..., None]) -> None:  # noqa: F811 - the fixture
    created, resumed = [], []
    with place.client("ann") as ann:
        for _ in range(ROUNDS):
            asked = time.monotonic()
            run = place.ask(rest=False)
            until(lambda run=run: run in ASKING.began, "the run to begin")
            created.append(ASKING.began[run] - asked)
            until(lambda run=run: place.state(run) == "PAUSED", "the run to rest")
            form = place.form(run)
            decided = time.monotonic()
            assert ann.post(f"/api/flow_runs/{run}/resume", json=form).status_code == 201
            until(lambda run=run, decided=decided: ASKING.began[run] > decided, "the run to go on")
            resumed.append(ASKING.began[run] - decided)
        logs = ann.post("/api/logs/filter", json={"logs": {"flow_run_id": {"any_": [run]}}}).json()
    floor, p50, p95 = (_quantile(created, 0.5), _quantile(resumed, 0.5), _quantile(resumed, 0.95))
    print(f"\nlogs kept of the last run: {len(logs)}")
    print(f"created -> first line: p50 {floor * 1000:.0f} ms, p95 {_quantile(created, 0.95) * 1000:.0f} ms, n={ROUNDS}")
    print(f"decided -> first line: p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms, n={ROUNDS}")
    print(f"ratio to the floor: {p50 / floor:.2f}; wanted: p95 <= {WANTED_S * 1000:.0f} ms")


def _quantile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]
