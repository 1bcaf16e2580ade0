"""An endpoint that behaves badly: tried again where that helps, given up where it does not, and written down."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agents.endpoints.calls import Caller
from agents.endpoints.settings import EndpointSettings

PACK = "sha256:" + "1" * 64
Make = Callable[..., Caller]


def settings(url: str, **changes: object) -> EndpointSettings:
    return EndpointSettings.model_validate({"url": url, "cubes": [PACK], "requests_per_minute": 1e6, **changes})


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def make(endpoint: Any, tmp_path: Path, slept: list[float]) -> Iterator[Make]:
    made: list[Caller] = []

    def make(**changes: object) -> Caller:
        chosen = settings(endpoint.url, **changes)
        made.append(Caller(chosen, "a-key", tmp_path / "calls", sleep=slept.append))
        return made[-1]

    yield make
    for caller in made:
        caller.close()


class TestAsk:
    def test_an_answer_and_its_record(self, make: Make, endpoint: Any, tmp_path: Path) -> None:
        caller = make(price_per_request=0.01, price_per_thousand_tokens=0.2)
        answer = caller.ask(b'{"patient": "secret"}')
        assert (answer.status, json.loads(answer.body)["prediction"]) == (200, 0.75)
        assert endpoint.keys == ["Bearer a-key"]
        (record,) = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
        assert (record["status"], record["tries"], record["tokens"], record["cost"]) == (200, 1, 500, 0.11)
        assert record["seconds"] >= 0
        assert "secret" not in (tmp_path / "calls").read_text()

    @pytest.mark.parametrize("mood", [429, 500, 503, "cut"])
    def test_what_passes_is_tried_again(self, make: Make, endpoint: Any, slept: list[float], mood: int | str) -> None:
        endpoint.moods = [mood, mood]
        caller = make()
        assert caller.ask(b"{}").status == 200
        assert caller.calls[0].tries == 3
        assert [pause for pause in slept if pause >= 1] == [1.0, 2.0]

    def test_it_waits_as_long_as_it_is_asked_to(self, make: Make, endpoint: Any, slept: list[float]) -> None:
        endpoint.moods, endpoint.retry_after = [429], "7"
        assert make().ask(b"{}").status == 200
        assert 7.0 in slept

    def test_not_for_ever(self, make: Make, endpoint: Any) -> None:
        endpoint.moods = [503] * 10
        answer = make(tries=3).ask(b"{}")
        assert (answer.status, json.loads(answer.body)) == (503, {"error": "the endpoint answered 503"})
        assert len(endpoint.asked) == 3

    @pytest.mark.parametrize("mood", [400, 401, 404])
    def test_what_does_not_pass_is_not(self, make: Make, endpoint: Any, mood: int) -> None:
        endpoint.moods = [mood]
        assert make().ask(b"{}").status == mood
        assert len(endpoint.asked) == 1

    def test_a_slow_one_is_given_up(self, make: Make, endpoint: Any) -> None:
        endpoint.moods = ["slow"]
        answer = make(timeout_s=0.2, tries=1).ask(b"{}")
        assert answer.status == 504
        assert b"did not answer" in answer.body

    @pytest.mark.parametrize(("mood", "said"), [("nonsense", "not JSON"), ("huge", "too large"), ("moved", "302")])
    def test_nonsense_is_no_answer(self, make: Make, endpoint: Any, mood: str, said: str) -> None:
        endpoint.moods = [mood] * 4
        answer = make(most_bytes=100_000).ask(b"{}")
        assert answer.status == 502
        assert said in str(answer.body)


class TestLimit:
    def test_requests_of_one_step(self, make: Make, endpoint: Any) -> None:
        caller = make(most_requests=2)
        assert [caller.ask(b"{}").status for _ in range(3)] == [200, 200, 429]
        assert len(endpoint.asked) == 2

    def test_bytes_of_one_request(self, make: Make, endpoint: Any) -> None:
        assert make(most_bytes=10).ask(b"x" * 11).status == 413
        assert endpoint.asked == []

    def test_requests_a_minute(self, make: Make, slept: list[float]) -> None:
        caller = make(requests_per_minute=1)
        for _ in range(3):
            caller.ask(b"{}")
        assert len(slept) == 2
        assert sum(slept) > 60.0


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"url": "http://model.example/v1"}, "not encrypted"),
            ({"url": "https://user:password@model.example/v1"}, "does not belong into a URL"),
            ({"url": "file:///etc/passwd"}, "url"),
            ({"cubes": []}, "cubes"),
            ({"secret": "../registry.token"}, "secret"),
        ],
    )
    def test_unsafe_ones_are_refused(self, changes: dict[str, object], said: str) -> None:
        with pytest.raises(ValidationError, match=said):
            settings(**{"url": "https://model.example/v1", **changes})  # type: ignore[arg-type]
