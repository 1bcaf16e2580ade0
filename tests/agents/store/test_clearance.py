"""The last look at a result: it is the one that was shown, and tells of the decision that let it go."""

from collections.abc import Callable

import pytest
from sqlmodel import Session

from agents.errors import NotClearedError
from agents.home import GateSettings
from agents.store import Store, gates
from agents.store.clearance import clear
from agents.store.tables import Decision, OutboxItem, Person, Role, Score
from api.schemas.benchmarks import Verdict
from api.schemas.border import ApprovedResult, Isolation, PayloadKind, ProbeOutcome, SiteDecision
from api.storage.columns import now
from cubes.digests import canonical, digest_bytes
from flows.release import _item

DIGEST = digest_bytes(b"")
PROBE = ProbeOutcome(runtime="process", isolation=Isolation.ISOLATED, checks={"no_network": True}, probed_at=now())


def _score() -> Score:
    return Score(
        id=1,
        identity=DIGEST,
        execution=DIGEST,
        benchmark_id=1,
        model_id=1,
        model_name="net",
        model_digest=DIGEST,
        metrics_digest=DIGEST,
        dataset_id=1,
        dataset_name="d1",
        dataset_root=DIGEST,
        cases=100,
        metrics={"auroc": "float:nan"},
        probe=PROBE.model_dump(mode="json"),
        started_at=now(),
        finished_at=now(),
    )


@pytest.fixture
def approved(store: Store, person: Callable[[Role], Person]) -> tuple[Score, list[Decision]]:
    """A score, and the two approvals that its gate asked for."""
    score, people = _score(), [person(Role.DATA_OWNER), person(Role.DATA_OWNER)]
    with store.write() as session:
        gate = gates.open_gate(
            session,
            name="release_results",
            title="t",
            subject="d1",
            shown={"items": [_item(score, "fna")]},
            flow_run_id="run",
            settings=GateSettings(quorum=2),
        )
        return score, [
            gates.decide(
                session, gate_id=gate.id, digest=gate.digest, verdict=Verdict.APPROVE, person=each, reason=each.name
            )
            for each in people
        ]


def _clear(session: Session, score: Score, said: Decision, named: Decision) -> None:
    """Look at the score's result as it tells of one decision and lies in the outbox beside one."""
    fields = score.model_dump(exclude={"id", "identity", "model_name", "dataset_name", "state"})
    decision = SiteDecision(
        gate="release_results",
        verdict=said.verdict,
        person=said.person,
        decided_at=said.decided_at,
        digest=said.digest,
        reason=said.reason,
    )
    result = ApprovedResult.model_validate({**fields, "score": score.identity, "decision": decision})
    body = canonical(result.model_dump(mode="json"))
    item = OutboxItem(
        kind=PayloadKind.RESULT,
        subject="net",
        body=body,
        size=len(body),
        sha256=digest_bytes(body),
        idempotency_key="k",
        decision_id=named.id,
    )
    clear(session, item)


def test_the_decision_that_made_them_enough_lets_it_go(store: Store, approved: tuple[Score, list[Decision]]) -> None:
    score, (_first, second) = approved
    with store.read() as session:
        _clear(session, score, second, second)


@pytest.mark.parametrize(
    ("said", "named", "why"), [(0, 1, "not the one that was made"), (1, 0, "not the one that settled it")]
)
def test_the_first_of_two_does_not(
    store: Store, approved: tuple[Score, list[Decision]], said: int, named: int, why: str
) -> None:
    score, decisions = approved
    with store.read() as session, pytest.raises(NotClearedError, match=why):
        _clear(session, score, decisions[said], decisions[named])
