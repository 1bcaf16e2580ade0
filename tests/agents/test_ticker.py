"""A ticker goes on, whatever one round meets."""

import threading

from agents.ticker import Ticker

LONG_S = 60.0


class TestTicker:
    def test_a_kick_is_answered_at_once(self) -> None:
        rounds = threading.Semaphore(0)
        ticker = Ticker("t", 3600, rounds.release)
        ticker.start()
        assert rounds.acquire(timeout=LONG_S)
        ticker.kick()
        assert rounds.acquire(timeout=LONG_S)
        ticker.stop()

    def test_a_round_that_fails_is_not_the_last(self) -> None:
        rounds = threading.Semaphore(0)

        def fail() -> None:
            rounds.release()
            raise OSError("away")

        ticker = Ticker("t", 0.01, fail)
        ticker.start()
        assert all(rounds.acquire(timeout=LONG_S) for _ in range(3))
        ticker.stop()

    def test_it_ends_when_told(self) -> None:
        ticker = Ticker("t", 3600, lambda: None)
        ticker.start()
        ticker.stop()
        assert not ticker._thread.is_alive()

    def test_stopping_what_never_started_is_fine(self) -> None:
        Ticker("t", 3600, lambda: None).stop()
