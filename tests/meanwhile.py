"""Two at once: the second comes in the middle of what the first does."""

import fcntl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import pytest

Done = TypeVar("Done")


def second_at(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, second: Callable[[], Done]) -> Future[Done]:
    """When this thread first calls `owner.name`, another begins; this one goes on once that has ended or waits for a lock.

    Returns:
        What comes of the second.
    """
    first, real, lock = threading.get_ident(), getattr(owner, name), fcntl.flock
    paused, ended = threading.Event(), Future[Done]()

    def work() -> None:
        try:
            ended.set_result(second())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            ended.set_exception(error)

    def flock(descriptor: int, how: int) -> None:
        if threading.get_ident() != first:
            paused.set()
        lock(descriptor, how)

    def call(*arguments: object, **named: object) -> object:
        if threading.get_ident() == first and not other.ident:
            other.start()
            assert paused.wait(60)
        return real(*arguments, **named)

    other = threading.Thread(target=work, daemon=True)
    ended.add_done_callback(lambda _: paused.set())
    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(owner, name, call)
    return ended
