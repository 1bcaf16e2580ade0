"""From a decision to the flow's first line after the gate, against what nothing but Prefect needs, in the same run.

Run it with `pytest -s -n 0 tests/bench/bench_decision_latency.py`. Rounds of the different kinds take turns, so that a busy
machine is busy for all of them: compare the ratios. The requests between the decision and the first line are counted, too.

    event     an asyncio event that another thread sets: what this machine needs to wake anything
    request   one small request to the same server: what one step of all that follows costs
    bare      Prefect's own resume of a suspended run, executed warm: no decision, no gate
    gate      a person's decision in the site's book, seen by the agent's loop, up to the first line after the gate
"""

import asyncio
import logging
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from prefect import flow
from prefect.flow_runs import asuspend_flow_run
from prefect.runtime import flow_run as this_run

from agents.home import SiteSettings, create_home
from agents.loop import LocalLoop
from agents.prefect_api import PrefectApi
from agents.site import Site
from agents.store import gates
from agents.store.people import add_person
from agents.store.tables import Role
from api.schemas.benchmarks import Verdict
from flows.gates import hold
from flows.job_runs import SiteGateBook
from flows.warm import WarmRunner

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # it measures
ROUNDS = 30
Until = Callable[..., None]


@dataclass
class Moments:
    """When what began, by flow run."""

    first_line: dict[str, list[float]] = field(default_factory=dict)
    passed: dict[str, float] = field(default_factory=dict)
    requests: list[tuple[float, str]] = field(default_factory=list)

    def begin(self) -> None:
        self.first_line.setdefault(str(this_run.get_id()), []).append(time.monotonic())


class _Requests(logging.Handler):
    """Notes each request that a client in this process has had an answer to."""

    def __init__(self, moments: Moments) -> None:
        super().__init__(logging.INFO)
        self._moments = moments

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and len(record.args) > 1:
            self._moments.requests.append((time.monotonic(), f"{record.args[0]} {record.args[1]}"))


@pytest.fixture
def moments() -> Iterator[Moments]:
    moments = Moments()
    handler = _Requests(moments)
    loggers = [logging.getLogger(name) for name in ("httpx", "httpx2")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield moments
    for logger in loggers:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def test_decision_to_first_line(prefect_url: str, tmp_path: Path, until: Until, moments: Moments) -> None:
    site = Site(create_home(tmp_path / "home", SiteSettings(site="north", registry_url="http://127.0.0.1:9"), "s").path)
    name = uuid4().hex[:8]

    @flow(name=f"bare-{name}", persist_result=False)
    async def bare() -> None:
        moments.begin()
        if len(moments.first_line[str(this_run.get_id())]) == 1:
            await asuspend_flow_run(key=uuid4().hex)

    @flow(name=f"gate-{name}", persist_result=False)
    async def gate() -> None:
        moments.begin()
        await hold(
            SiteGateBook(site),
            name="release_results",
            title="Send?",
            subject="d1",
            show=lambda: {"items": [{"item": "1", "metrics": {"auroc": 0.9}}]},
            describe=lambda _shown: "| item |\n|---|\n| 1 |",
        )
        moments.passed[str(this_run.get_id())] = time.monotonic()

    api = PrefectApi(prefect_url, timeout_s=60)
    runner = WarmRunner([bare, gate], deployment="bench", api_url=prefect_url, lock=tmp_path / "lock")
    runner.start()
    loop = LocalLoop(site, api, runner.nudge)
    loop.ticker.start()
    try:
        figures = _measure(site, api, runner, moments, until, name)
    finally:
        loop.ticker.stop()
        runner.stop()
        api.close()
        site.close()
    floor = statistics.median(figures["bare"])
    print(f"\n{ROUNDS} rounds of each      p50 ms   p95 ms   p50 x bare")
    for kind, taken in figures.items():
        print(f"{kind:<20}{_ms(taken, 50):>10}{_ms(taken, 95):>9}{statistics.median(taken) / floor:>12.2f}")


def _measure(
    site: Site, api: PrefectApi, runner: WarmRunner, moments: Moments, until: Until, name: str
) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {
        kind: [] for kind in ("event", "request", "bare", "gate: first line", "gate: passed")
    }
    with site.store.write() as session:
        owner, _token = add_person(session, email="o@north.example", name="Owner", role=Role.DATA_OWNER)
    for _ in range(ROUNDS):
        figures["event"].append(_event())
        figures["request"].append(_request(api.url))

        run = _at_rest(api, runner, until, f"bare-{name}/bench")
        began = time.monotonic()
        assert api.resume(run, {})
        runner.nudge(run)
        until(lambda run=run: len(moments.first_line[run]) > 1, "the bare run")
        figures["bare"].append(moments.first_line[run][1] - began)

        run = _at_rest(api, runner, until, f"gate-{name}/bench")
        moments.requests.clear()
        began = time.monotonic()
        with site.store.write() as session:
            asked = gates.gate_of_run(session, run)
            assert asked is not None
            gates.decide(
                session, gate_id=asked.id, digest=asked.digest, verdict=Verdict.APPROVE, person=owner, reason="seen"
            )
        until(lambda run=run: run in moments.passed, "the run behind its gate")
        figures["gate: first line"].append(moments.first_line[run][1] - began)
        figures["gate: passed"].append(moments.passed[run] - began)
    _tell_requests(moments, began, moments.passed[run])
    return figures


def _at_rest(api: PrefectApi, runner: WarmRunner, until: Until, deployment: str) -> str:
    run = api.create_flow_run(deployment, {}, idempotency_key=uuid4().hex)
    runner.nudge(run)

    def rests() -> bool:
        executor = runner._executor
        return api.state(run)[0] == "PAUSED" and executor is not None and run not in map(str, executor.live)

    until(rests, "its rest")
    return run


def _event() -> float:
    """An event set from another thread, as a nudge is."""

    async def wait() -> float:
        event, loop = asyncio.Event(), asyncio.get_running_loop()
        began: list[float] = []

        def tell() -> None:
            began.append(time.monotonic())
            loop.call_soon_threadsafe(event.set)

        threading.Thread(target=tell).start()
        await event.wait()
        return time.monotonic() - began[0]

    return asyncio.run(wait())


def _request(url: str) -> float:
    with httpx2.Client(trust_env=False, verify=False) as client:
        client.get(f"{url}/health")
        began = time.monotonic()
        client.get(f"{url}/health")
        return time.monotonic() - began


def _tell_requests(moments: Moments, began: float, ended: float) -> None:
    between = [(at - began, what) for at, what in moments.requests if at <= ended]
    print(f"\n{len(between)} requests between the last decision and the line after its gate:")
    for at, what in between:
        print(f"{at * 1000:>8.0f} ms  {what.partition('/api')[0].split()[0]} {what.partition('/api')[2]}")


def _ms(taken: list[float], percent: int) -> str:
    return f"{statistics.quantiles(taken, n=100, method='inclusive')[percent - 1] * 1000:.1f}"
