"""A thread that does one thing again and again, and survives what goes wrong with it."""

import threading
from collections.abc import Callable
from typing import Final

import structlog

_LONGEST_WAIT_S: Final = 60.0


class Ticker:
    """Calls `tick` every `interval_s` seconds, at once after `kick()`, until `stop()`.

    An exception is logged by class and message, at this site alone, and makes the next try wait longer.
    """

    def __init__(self, name: str, interval_s: float, tick: Callable[[], None]) -> None:
        self._interval_s, self._tick = interval_s, tick
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._log = structlog.get_logger().bind(loop=name)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def kick(self) -> None:
        self._wake.set()

    def stop(self, timeout_s: float = 30.0) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self._tick()
                failures = 0
            except Exception as error:  # noqa: BLE001 - a loop outlives whatever one round meets; it is logged and tried again
                failures += 1
                self._log.warning("round failed", error=type(error).__name__, detail=str(error), failures=failures)
            self._wake.wait(min(self._interval_s * 2 ** min(failures, 8), max(self._interval_s, _LONGEST_WAIT_S)))
