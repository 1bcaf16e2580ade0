"""A flow whose pod goes leaves its steps; one that a person cancelled does not. Signals are real, in this very process."""

import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from prefect._internal import control_listener

from flows.pools.leaving import steps_outlive


class Steps:
    """What a site is to whoever leaves its steps."""

    left = False

    def leave_steps(self) -> None:
        self.left = True


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What Prefect's own handler is told, as the engine installs one."""
    heard: list[str] = []

    def engine(_number: int, _frame: FrameType | None) -> None:
        heard.append("told")

    before = signal.signal(signal.SIGTERM, engine)
    yield heard
    control_listener.clear_intent()
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def site() -> Any:
    return Steps()


class TestToldToGo:
    @pytest.mark.parametrize("intent", ["relinquish", "reschedule"])
    def test_a_pod_that_goes_leaves_its_steps(self, site: Any, told: list[str], intent: Any) -> None:
        control_listener._set_intent(intent)
        with steps_outlive(site):
            signal.raise_signal(signal.SIGTERM)
        assert site.left
        assert told == ["told"]

    def test_a_flow_that_was_cancelled_takes_them_with_it(self, site: Any, told: list[str]) -> None:
        control_listener._set_intent("cancel")
        with steps_outlive(site):
            signal.raise_signal(signal.SIGTERM)
        assert not site.left
        assert told == ["told"]

    def test_afterwards_the_signal_is_the_engine_s_again(self, site: Any, told: list[str]) -> None:
        before = signal.getsignal(signal.SIGTERM)
        with steps_outlive(site):
            assert signal.getsignal(signal.SIGTERM) != before
        assert signal.getsignal(signal.SIGTERM) == before
        assert told == []


class TestInTheAgent:
    def test_a_flow_in_a_thread_leaves_signals_alone(self, site: Any, told: list[str]) -> None:
        before, seen = signal.getsignal(signal.SIGTERM), list[Callable[..., Any] | int | None]()

        def flow() -> None:
            with steps_outlive(site):
                seen.append(signal.getsignal(signal.SIGTERM))

        thread = threading.Thread(target=flow)
        thread.start()
        thread.join()
        assert seen == [before]
        assert told == []
