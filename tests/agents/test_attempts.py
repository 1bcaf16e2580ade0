"""Attempts: one holder each; what a dead process left goes on where its step still runs, and is over otherwise."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agents.attempts import abandoned, keys_under_way, take_attempt
from agents.home import Home
from agents.runtimes.protocol import RuntimeSetupError

pytestmark = pytest.mark.anyio
Asked = Callable[[str], Awaitable[bool]]


async def nothing_runs(_key: str) -> bool:
    return False


async def all_runs(_key: str) -> bool:
    return True


class TestTake:
    async def test_attempts_are_numbered_from_one(self, home: Home) -> None:
        attempt = await take_attempt(home, "infer-ab", nothing_runs)
        assert (attempt.key, attempt.resumed) == ("infer-ab-1", False)
        assert attempt.folder.is_dir()
        assert attempt.log.parent == home.path / "logs"
        attempt.close()

    async def test_two_at_once_are_two_attempts(self, home: Home) -> None:
        first = await take_attempt(home, "infer-ab", all_runs)
        second = await take_attempt(home, "infer-ab", all_runs)
        assert {first.key, second.key} == {"infer-ab-1", "infer-ab-2"}
        assert not second.resumed
        first.close()
        second.close()

    async def test_a_number_is_never_given_again(self, home: Home) -> None:
        for number in (1, 2, 3):
            attempt = await take_attempt(home, "infer-ab", nothing_runs)
            assert attempt.key == f"infer-ab-{number}"
            attempt.close()

    async def test_another_step_has_numbers_of_its_own(self, home: Home) -> None:
        (await take_attempt(home, "infer-ab", nothing_runs)).close()
        attempt = await take_attempt(home, "infer-ab-cd", nothing_runs)
        assert attempt.key == "infer-ab-cd-1"
        attempt.close()
        again = await take_attempt(home, "infer-ab", nothing_runs)
        assert again.key == "infer-ab-2"
        again.close()


class TestTakeUp:
    async def test_what_was_left_and_still_runs_goes_on(self, home: Home) -> None:
        left = await take_attempt(home, "infer-ab", nothing_runs)
        (left.folder / "output").mkdir()
        left.leave()
        found = await take_attempt(home, "infer-ab", all_runs)
        assert (found.key, found.resumed) == (left.key, True)
        assert (found.folder / "output").is_dir()
        found.close()

    async def test_what_no_longer_runs_is_over(self, home: Home) -> None:
        left = await take_attempt(home, "infer-ab", nothing_runs)
        left.leave()
        found = await take_attempt(home, "infer-ab", nothing_runs)
        assert (found.key, found.resumed) == ("infer-ab-2", False)
        assert not left.folder.exists()
        found.close()

    async def test_what_nobody_can_say_of_is_for_whoever_asks_next(self, home: Home) -> None:
        async def away(_key: str) -> bool:
            raise RuntimeSetupError("the cluster does not answer")

        left = await take_attempt(home, "infer-ab", nothing_runs)
        left.leave()
        with pytest.raises(RuntimeSetupError):
            await take_attempt(home, "infer-ab", away)
        found = await take_attempt(home, "infer-ab", all_runs)
        assert (found.key, found.resumed) == (left.key, True)
        found.close()

    async def test_a_process_that_ends_lets_go(self, home: Home) -> None:
        folder = home.folder("attempts") / "infer-ab-1"
        folder.mkdir()
        program = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)"
        holder = await asyncio.create_subprocess_exec(sys.executable, "-c", program, f"{folder}.lock")
        assert await holder.wait() == 0
        found = await take_attempt(home, "infer-ab", all_runs)
        assert found.resumed
        found.close()


class TestAbandoned:
    async def test_keys_under_way_are_those_with_a_folder(self, home: Home) -> None:
        held = await take_attempt(home, "infer-ab", nothing_runs)
        left = await take_attempt(home, "evaluate-cd", nothing_runs)
        left.leave()
        assert keys_under_way(home) == {"infer-ab-1", "evaluate-cd-1"}
        held.close()

    async def test_only_what_nobody_holds_for_long_is_abandoned(self, home: Home) -> None:
        held = await take_attempt(home, "infer-ab", nothing_runs)
        left = await take_attempt(home, "evaluate-cd", nothing_runs)
        left.leave()
        assert [attempt.key for attempt in abandoned(home, 60, time.time(), since_s=0)] == []
        found = list(abandoned(home, 60, time.time() + 120, since_s=0))
        assert [attempt.key for attempt in found] == [left.key]
        for attempt in found:
            attempt.close()
        assert keys_under_way(home) == {held.key}
        held.close()

    async def test_nobody_could_take_it_up_before_they_began(self, home: Home) -> None:
        """A step of hours, whose agent was started anew a moment ago."""
        left = await take_attempt(home, "infer-ab", nothing_runs)
        left.leave()
        later = time.time() + 7200
        assert list(abandoned(home, 3600, later, since_s=later - 1)) == []
        [found] = abandoned(home, 3600, later + 3600, since_s=later - 1)
        assert found.key == left.key
        found.close()

    def test_folders_of_others_are_left_alone(self, home: Home) -> None:
        other: Path = home.folder("attempts") / "compatibility-x"
        other.mkdir()
        assert list(abandoned(home, 0, time.time() + 1e6, since_s=0)) == []
        assert other.is_dir()
