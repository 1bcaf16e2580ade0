"""Ends: cancelled by a person, stopped with the agent, killed with it, lost with the server."""

import asyncio
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from prefect import flow
from prefect.flow_runs import asuspend_flow_run
from prefect.runtime import flow_run as this_run

from agents.prefect_api import PrefectApi
from flows.warm import WarmRunner

Start = Callable[..., str]
Until = Callable[..., None]
RunWarm = Callable[..., WarmRunner]
Program = Callable[[str], "subprocess.Popen[bytes]"]
START_S = 240.0
"""A Python that imports Prefect, on cores that others use, too."""


@pytest.fixture
def name() -> str:
    return f"t-{uuid4().hex[:8]}"


@pytest.fixture
def noted(tmp_path: Path) -> Callable[[], list[str]]:
    def noted() -> list[str]:
        log = tmp_path / "log"
        return log.read_text().splitlines() if log.exists() else []

    return noted


class TestCancel:
    def test_a_running_body_ends_and_another_goes_on(
        self, run_warm: RunWarm, start: Start, api: PrefectApi, until: Until, name: str
    ) -> None:
        ended: list[str] = []
        go_on = threading.Event()

        @flow(name=name)
        async def body(word: str) -> None:
            try:
                while not go_on.is_set():  # noqa: ASYNC110 - the test's own thread sets it
                    await asyncio.sleep(0.02)
            finally:
                ended.append(word)

        run_warm(body)
        victim, other = start(f"{name}/test", word="victim"), start(f"{name}/test", word="other")
        until(lambda: {api.state(run)[0] for run in (victim, other)} == {"RUNNING"}, "both")
        assert api.cancel(victim)
        until(lambda: api.state(victim) == ("CANCELLED", "Cancelled"), "the end")
        assert ended == ["victim"]
        go_on.set()
        until(lambda: api.state(other)[0] == "COMPLETED", "the other")

    def test_a_body_in_a_thread_is_cancelled_at_once(
        self, run_warm: RunWarm, start: Start, api: PrefectApi, until: Until, name: str
    ) -> None:
        release = threading.Event()

        @flow(name=name)
        async def body() -> None:
            await asyncio.to_thread(release.wait, 120)

        run_warm(body)
        run = start(f"{name}/test")
        try:
            until(lambda: api.state(run)[0] == "RUNNING", "its start")
            assert api.cancel(run)
            until(lambda: api.state(run)[0] == "CANCELLED", "its end")
            assert not release.is_set()
        finally:
            release.set()

    def test_a_suspended_run_ends_by_itself(
        self, run_warm: RunWarm, start: Start, api: PrefectApi, until: Until, name: str
    ) -> None:
        @flow(name=name)
        async def body() -> None:
            await asuspend_flow_run(key=uuid4().hex)

        run_warm(body)
        run = start(f"{name}/test")
        until(lambda: api.state(run)[0] == "PAUSED", "its rest")
        assert api.cancel(run)
        assert api.state(run)[0] == "CANCELLED"

    def test_a_run_that_nobody_runs_is_cancelled_by_the_poll(
        self, run_warm: RunWarm, start: Start, api: PrefectApi, prefect_url: str, until: Until, name: str
    ) -> None:
        @flow(name=name)
        async def body() -> None:
            pass

        run_warm(body).stop()
        run = start(f"{name}/test")
        _set_state(prefect_url, run, "RUNNING")
        _set_state(prefect_url, run, "CANCELLING")
        run_warm(body)
        until(lambda: api.state(run)[0] == "CANCELLED", "its end")


class TestStop:
    def test_what_runs_goes_on_after_the_next_start(
        self, run_warm: RunWarm, start: Start, api: PrefectApi, until: Until, name: str
    ) -> None:
        begun: list[str] = []
        may_end = False

        @flow(name=name)
        async def body() -> None:
            begun.append(str(this_run.get_id()))
            while not may_end:  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.02)

        runner = run_warm(body)
        run = start(f"{name}/test")
        until(lambda: begun == [run], "its start")
        runner.stop()
        assert api.state(run) == ("SCHEDULED", "AwaitingRetry")
        may_end = True
        run_warm(body)
        until(lambda: api.state(run)[0] == "COMPLETED", "its end")
        assert begun == [run, run]

    @pytest.mark.slow
    def test_sigterm_leaves_nothing_running(
        self,
        in_process: Program,
        start: Start,
        api: PrefectApi,
        until: Until,
        noted: Callable[[], list[str]],
        name: str,
    ) -> None:
        program = f"""
            @flow(name={name!r})
            async def body():
                note("begun " + str(this_run.get_id()))
                await asyncio.sleep(3600)
            FLOWS = [body]
        """
        process = in_process(program)
        until(lambda: "ready" in noted(), "the process", limit_s=START_S)
        runs = [start(f"{name}/test") for _ in range(4)]
        until(lambda: {f"begun {run}" for run in runs} <= set(noted()), "4 bodies")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert noted()[-1] == "stopped"
        assert {api.state(run) for run in runs} == {("SCHEDULED", "AwaitingRetry")}


class TestRecover:
    @pytest.mark.slow
    def test_after_kill_9_everything_goes_on_and_gates_rest(
        self,
        in_process: Program,
        run_warm: RunWarm,
        start: Start,
        api: PrefectApi,
        until: Until,
        noted: Callable[[], list[str]],
        name: str,
    ) -> None:
        program = f"""
            from uuid import uuid4
            from prefect.flow_runs import asuspend_flow_run

            @flow(name={name!r})
            async def body(rests: bool):
                note("begun " + str(this_run.get_id()))
                if rests:
                    await asuspend_flow_run(key=uuid4().hex)
                await asyncio.sleep(3600)
            FLOWS = [body]
        """
        process = in_process(program)
        until(lambda: "ready" in noted(), "the process", limit_s=START_S)
        resting = start(f"{name}/test", rests=True)
        until(lambda: api.state(resting)[0] == "PAUSED", "the gate")
        runs = [start(f"{name}/test", rests=False) for _ in range(4)]
        until(lambda: {f"begun {run}" for run in runs} <= set(noted()), "4 bodies")
        process.kill()
        process.wait()
        assert {api.state(run)[0] for run in runs} == {"RUNNING"}

        again: list[str] = []

        @flow(name=name)
        async def body(rests: bool) -> None:  # noqa: ARG001, FBT001 - a flow's parameter
            again.append(str(this_run.get_id()))

        run_warm(body)
        until(lambda: {api.state(run)[0] for run in runs} == {"COMPLETED"}, "all of them")
        assert sorted(again) == sorted(runs)
        assert api.state(resting)[0] == "PAUSED"

    def test_a_run_that_nobody_runs_starts_again(
        self, run_warm: RunWarm, start: Start, api: PrefectApi, prefect_url: str, until: Until, name: str
    ) -> None:
        begun: list[str] = []

        @flow(name=name)
        async def body() -> None:
            begun.append(str(this_run.get_id()))

        runner = run_warm(body, poll_s=0.1)
        run = start(f"{name}/test")
        until(lambda: api.state(run)[0] == "COMPLETED", "its first end")
        lost = start(f"{name}/test")
        until(lambda: api.state(lost)[0] == "COMPLETED", "its first end")
        _set_state(prefect_url, lost, "RUNNING", force=True)  # as if its end had never reached the server
        until(lambda: begun == [run, lost, lost] and api.state(lost)[0] == "COMPLETED", "its second end")
        assert runner.alive


def _set_state(url: str, run: str, kind: str, *, force: bool = False) -> None:
    body = {"state": {"type": kind, "name": kind.title()}, "force": force}
    httpx2.post(f"{url}/flow_runs/{run}/set_state", json=body, trust_env=False).raise_for_status()
