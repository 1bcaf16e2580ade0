"""Each run once, in its own name, whoever else looks for work."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from prefect import flow, get_run_logger, task
from prefect.events.worker import EventsWorker
from prefect.runtime import flow_run as this_run
from prefect.settings import get_current_settings, temporary_settings

from agents.errors import HomeError
from agents.prefect_api import PrefectApi
from flows.warm import WarmRunner
from flows.warm.executor import Executor
from flows.warm.runner import RunnerError

Start = Callable[..., str]
Until = Callable[..., None]
RunWarm = Callable[..., WarmRunner]


def _post(url: str, path: str, body: dict[str, Any]) -> Any:
    response = httpx2.post(url + path, json=body, trust_env=False)
    response.raise_for_status()
    return response.json()


def _logs(url: str, flow_run: str) -> list[str]:
    wanted = {"logs": {"flow_run_id": {"any_": [flow_run]}}, "limit": 200}
    return [entry["message"] for entry in _post(url, "/logs/filter", wanted)]


@pytest.fixture
def name() -> str:
    return f"t-{uuid4().hex[:8]}"


class TestClaim:
    def test_two_runners_run_each_run_once(
        self, run_warm: RunWarm, start: Start, api: PrefectApi, until: Until, name: str
    ) -> None:
        bodies: list[str] = []

        @flow(name=name)
        async def body() -> None:
            bodies.append(str(this_run.get_id()))

        runners = [run_warm(body, poll_s=60), run_warm(body, poll_s=60)]
        runs = [start(f"{name}/test") for _ in range(20)]
        for run in runs:
            for runner in runners:
                runner.nudge(run)
        until(lambda: all(api.state(run)[0] == "COMPLETED" for run in runs), "20 runs")
        assert sorted(bodies) == sorted(runs)

    def test_a_run_that_another_thread_tells_of_starts_under_the_runners_settings(
        self, run_warm: RunWarm, until: Until, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[dict[str, str]] = []

        @flow(name=name)
        async def body() -> None:
            pass

        runner = run_warm(body, poll_s=60, headers={"X-Runner": name})
        # The events of the server would tell of a real run, too: here nobody else does.
        offered = lambda _self, _run: seen.append(dict(get_current_settings().client.custom_headers))  # noqa: E731
        monkeypatch.setattr(Executor, "offer", offered)
        runner.nudge(str(uuid4()))
        until(lambda: seen, "the runner to be told")
        assert seen == [{"X-Runner": name}]

    def test_a_run_of_tomorrow_stays_scheduled(
        self, run_warm: RunWarm, start: Start, api: PrefectApi, prefect_url: str, until: Until, name: str
    ) -> None:
        @flow(name=name)
        async def body() -> None:
            pass

        runner = run_warm(body)
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        today, later = start(f"{name}/test"), start(f"{name}/test")
        until(lambda: api.state(later)[0] == "COMPLETED", "the first run")
        state = {"type": "SCHEDULED", "name": "Scheduled", "state_details": {"scheduled_time": tomorrow}}
        deployment = httpx2.get(f"{prefect_url}/deployments/name/{name}/test", trust_env=False).json()["id"]
        run = _post(prefect_url, f"/deployments/{deployment}/create_flow_run", {"state": state})["id"]
        runner.nudge(run)
        until(lambda: api.state(today)[0] == "COMPLETED" and run not in map(str, _live(runner)), "a look at it")
        assert api.state(run) == ("SCHEDULED", "Scheduled")

    def test_no_more_at_once_than_the_limit(
        self, run_warm: RunWarm, start: Start, api: PrefectApi, until: Until, name: str
    ) -> None:
        live, most = 0, 0

        @flow(name=name)
        async def body() -> None:
            nonlocal live, most
            live += 1
            most = max(most, live)
            while most < 2:  # noqa: ASYNC110 - another run sets it
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.5)  # a third would have come by now
            live -= 1

        run_warm(body, limit=2)
        runs = [start(f"{name}/test") for _ in range(6)]
        until(lambda: all(api.state(run)[0] == "COMPLETED" for run in runs), "6 runs")
        assert most == 2

    def test_a_run_that_fails_harms_no_other(
        self, run_warm: RunWarm, start: Start, api: PrefectApi, until: Until, name: str
    ) -> None:
        @flow(name=name)
        async def body(bad: bool) -> None:  # noqa: FBT001 - a flow's parameter
            if bad:
                raise ValueError("no")
            await asyncio.sleep(0.1)

        run_warm(body)
        good, bad = start(f"{name}/test", bad=False), start(f"{name}/test", bad=True)
        until(lambda: api.state(good)[0] == "COMPLETED" and api.state(bad)[0] == "FAILED", "both ends")


class TestLock:
    def test_a_second_runner_of_the_same_home_is_refused(self, run_warm: RunWarm, name: str, tmp_path: Path) -> None:
        @flow(name=name)
        async def body() -> None:
            pass

        run_warm(body, lock=tmp_path / "one.lock")
        with pytest.raises(HomeError, match=r"are run already \(process \d+\)"):
            run_warm(body, lock=tmp_path / "one.lock")

    def test_a_runner_whose_lock_was_taken_away_ends(
        self, run_warm: RunWarm, name: str, tmp_path: Path, until: Until
    ) -> None:
        @flow(name=name)
        async def body() -> None:
            pass

        runner = run_warm(body, lock=tmp_path / "one.lock")
        (tmp_path / "one.lock").unlink()
        until(lambda: not runner.alive, "its end")

    def test_without_a_server_it_does_not_start(self, tmp_path: Path, name: str) -> None:
        @flow(name=name)
        async def body() -> None:
            pass

        runner = WarmRunner([body], deployment="test", api_url="http://127.0.0.1:9/api", lock=tmp_path / "lock")
        with pytest.raises(RunnerError, match=r"127\.0\.0\.1:9"):
            runner.start(1)


class TestOneServer:
    def test_flows_of_a_second_one_are_refused(self, run_warm: RunWarm, tmp_path: Path, name: str) -> None:
        """Prefect's client would send what they say to the first."""

        @flow(name=name)
        async def body() -> None:
            pass

        run_warm(body)
        with pytest.raises(RunnerError, match=r"need a process of their own"):
            run_warm(body, api_url="http://127.0.0.1:9/api", lock=tmp_path / "other")
        run_warm(body)

    def test_what_an_earlier_server_s_runs_left_does_not_take_this_one_s_events(
        self, run_warm: RunWarm, start: Start, api: PrefectApi, prefect_url: str, until: Until, name: str
    ) -> None:
        @task(name="counted")
        async def counted() -> None:
            pass

        @flow(name=name)
        async def body() -> None:
            await counted()

        with temporary_settings(updates={"api.url": "http://127.0.0.1:9/api"}):
            EventsWorker.instance()
        run_warm(body)
        run = start(f"{name}/test")
        until(lambda: api.state(run)[0] == "COMPLETED", "the run")

        def ends() -> list[str]:
            wanted = {"flow_runs": {"id": {"any_": [run]}}}
            return [task_run["state"]["type"] for task_run in _post(prefect_url, "/task_runs/filter", wanted)]

        until(lambda: ends() == ["COMPLETED"], "its task's end")


class TestAttribute:
    def test_prints_go_to_the_run_that_printed(
        self, run_warm: RunWarm, start: Start, api: PrefectApi, prefect_url: str, until: Until, name: str
    ) -> None:
        short_is_over = asyncio.Event()

        @flow(name=name, log_prints=True)
        async def body(word: str) -> None:
            print(f"{word} begins")  # noqa: T201 - what is tested
            if word == "short":
                return
            await short_is_over.wait()
            print(f"{word} ends")  # noqa: T201

        runner = run_warm(body)
        long = start(f"{name}/test", word="long")
        until(lambda: api.state(long)[0] == "RUNNING", "the long run")
        short = start(f"{name}/test", word="short")
        until(lambda: api.state(short)[0] == "COMPLETED", "the short run")
        runner._loop.call_soon_threadsafe(short_is_over.set)  # type: ignore[union-attr]
        until(lambda: "long ends" in _logs(prefect_url, long), "the last line of the long run")
        said = [line for line in _logs(prefect_url, long) if line.startswith(("long", "short"))]
        assert sorted(said) == ["long begins", "long ends"]

    def test_many_runs_at_once_log_under_their_own_names(
        self, run_warm: RunWarm, start: Start, api: PrefectApi, prefect_url: str, until: Until, name: str
    ) -> None:
        seen: dict[str, str] = {}

        @flow(name=name)
        async def body(word: str) -> None:
            for step in range(3):
                get_run_logger().info("word %s step %s", word, step)
                await asyncio.sleep(0.01)
            await asyncio.to_thread(get_run_logger().info, "word %s step %s", word, "thread")
            seen[word] = str(this_run.get_id())

        run_warm(body)
        runs = {f"w{n}": start(f"{name}/test", word=f"w{n}") for n in range(8)}
        until(lambda: all(api.state(run)[0] == "COMPLETED" for run in runs.values()), "8 runs")
        assert seen == runs
        for word, run in runs.items():
            lines = {f"word {word} step {step}" for step in (0, 1, 2, "thread")}
            until(lambda lines=lines, run=run: lines <= set(_logs(prefect_url, run)), "its log")
            assert {line for line in _logs(prefect_url, run) if line.startswith("word")} == lines


def _live(runner: WarmRunner) -> frozenset[Any]:
    assert runner._executor is not None
    return runner._executor.live
