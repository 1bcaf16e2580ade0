"""Decisions on the stage, by script and by hand."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from api.schemas.benchmarks import DecisionCreate, GatePublic, Verdict
from cli.demo.cast import Actor, actor
from cli.demo.decide import Decider
from cli.demo.stage import Stage
from cli.errors import FailedError
from tests.cli.federation import Federation, federation

_LIMIT_S = 60.0


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """One of its own: what is released here is released."""
    with federation(tmp_path_factory.mktemp("decisions")) as there:
        yield there


@pytest.fixture
def ada(registry: Federation) -> Actor:
    """A committee member of a registry that listens."""
    return actor("Ada", "Committee", "university", ASSAY_REGISTRY_URL=registry.url, ASSAY_TOKEN=registry.tokens["ada"])


@pytest.fixture
def question(registry: Federation) -> Iterator[GatePublic]:
    """Bob asks to release the leaderboard: Ada may decide."""
    with registry.client("bob") as bob:
        gate = bob.benchmarks.release(registry.ids["benchmark"])
    yield gate
    registry.decide(gate)


def _stage(*, by_hand: bool) -> tuple[Stage, io.StringIO]:
    seen = io.StringIO()
    return Stage(Console(file=seen, width=250, highlight=False), by_hand=by_hand), seen


class TestDecide:
    def test_a_scripted_person_decides_for_the_digest_that_waits(self, ada: Actor, question: GatePublic) -> None:
        stage, seen = _stage(by_hand=False)
        decider = Decider(stage)
        with stage.phase("Deciding"):
            decider.decide(ada, question.title, "all sites have reported", show=True)
        [noted] = decider.decisions
        assert (noted["digest"], noted["verdict"], noted["reason"]) == (
            question.digest,
            "approve",
            "all sites have reported",
        )
        assert "Ada" in noted["person"]
        assert f"GATE  {question.title}" in seen.getvalue()
        shown, decided = (played.command for played in stage.phases[0].commands)
        assert shown == f"assay gate show {question.id}"
        assert decided.startswith(f"assay gate approve {question.id} --digest {question.digest}")

    def test_by_hand_it_says_what_to_type_and_waits_for_it(
        self, ada: Actor, question: GatePublic, registry: Federation
    ) -> None:
        stage, seen = _stage(by_hand=True)
        decider = Decider(stage)
        with stage.phase("Deciding"), _reader(registry, seen, question, Verdict.APPROVE, "I looked"):
            decider.decide(ada, question.title, "all sites have reported")
        # The reader's own words count, not those that were proposed.
        assert [(noted["verdict"], noted["reason"]) for noted in decider.decisions] == [("approve", "I looked")]
        assert f"gate approve {question.id} --digest {question.digest} --reason 'all sites" in seen.getvalue()
        assert stage.phases[0].commands == []

    def test_a_reader_who_rejects_has_stopped_the_workflow(
        self, ada: Actor, question: GatePublic, registry: Federation
    ) -> None:
        stage, seen = _stage(by_hand=True)
        with (
            pytest.raises(FailedError, match="you rejected"),
            stage.phase("Deciding"),
            _reader(registry, seen, question, Verdict.REJECT, "not yet"),
        ):
            Decider(stage).decide(ada, question.title, "all sites have reported")


@contextmanager
def _reader(
    registry: Federation, seen: io.StringIO, question: GatePublic, verdict: Verdict, reason: str
) -> Iterator[None]:
    """Somebody who decides as soon as they are told how."""

    def read_and_decide() -> None:
        end = time.monotonic() + _LIMIT_S
        while "In another terminal" not in seen.getvalue() and time.monotonic() < end:
            time.sleep(0.02)
        with registry.client("ada") as client:
            client.gates.decide(question.id, DecisionCreate(digest=question.digest, verdict=verdict, reason=reason))

    typing = threading.Thread(target=read_and_decide)
    typing.start()
    try:
        yield
    finally:
        typing.join()
