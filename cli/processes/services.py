"""Parts of a process: started in order, stopped in the opposite one, whatever happens in between."""

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Protocol, Self

import structlog

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Service(Protocol):
    """Something that runs in this process."""

    def start(self) -> object: ...

    def stop(self) -> object: ...


class Services:
    """Started services; leaving the block stops them, the last first. One that cannot stop does not keep the others."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._log = structlog.get_logger()

    def start(self, name: str, service: Service) -> object:
        """Start a service and see to its end.

        Returns:
            What its `start` gives back: an address, say.
        """
        self._log.info("starting", service=name)
        started = service.start()
        self.at_end(name, service.stop)
        return started

    def at_end(self, name: str, stop: Callable[[], object]) -> None:
        self._stack.callback(self._stop, name, stop)

    def _stop(self, name: str, stop: Callable[[], object]) -> None:
        try:
            stop()
        except Exception as error:  # noqa: BLE001 - the other services must still be stopped
            self._log.warning("a service did not stop well", service=name, error=f"{type(error).__name__}: {error}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class StopSignal:
    """Set by SIGTERM or Ctrl-C. A second one while stopping ends the process at once."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        return self._event.wait(timeout_s)

    def set(self) -> None:
        self._event.set()

    def _handle(self, number: int, _frame: object) -> None:
        if self._event.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._event.set()
