"""The gate of a benchmark: a platform administrator sees all of it before it becomes available."""

from typing import Any

from sqlmodel import Session

from api.access.acting import Act
from api.nouns.benchmarks.access import committee
from api.nouns.benchmarks.states import MACHINE, Action, step
from api.nouns.benchmarks.tables import Benchmark
from api.nouns.gates.cards import cube_card, label, model_card
from api.nouns.gates.kinds import KINDS, Kind, Outcome
from api.nouns.gates.tables import Gate
from api.schemas.benchmarks import GateKind, Verdict

_STANDS_ELSEWHERE = {"state", "released_at", "owner_id", "preparator_cube_id", "metrics_cube_id", "reference_model_id"}


def _show(session: Session, gate: Gate) -> dict[str, Any]:
    benchmark = session.get_one(Benchmark, gate.subject_id)
    reference = benchmark.reference_model_id
    return {
        "benchmark": benchmark.model_dump(mode="json", exclude=_STANDS_ELSEWHERE),
        "owner": label(session, benchmark.owner_id),
        "committee": [user.label for user in committee(session, gate.subject_id)],
        "preparator": cube_card(session, benchmark.preparator_cube_id),
        "metrics_cube": cube_card(session, benchmark.metrics_cube_id),
        "reference_model": None if reference is None else model_card(session, reference),
    }


def _check(session: Session, gate: Gate) -> None:
    benchmark = session.get_one(Benchmark, gate.subject_id)
    MACHINE.next(benchmark.state, Action.APPROVE, f"benchmark {benchmark.name!r}")


def _conclude(act: Act, gate: Gate, outcome: Outcome) -> None:
    benchmark = act.session.get_one(Benchmark, gate.subject_id)
    step(benchmark, Action.APPROVE if outcome.verdict == Verdict.APPROVE else Action.REJECT)
    act.session.add(benchmark)
    act.note(f"benchmark.{benchmark.state.value}", f"benchmark:{benchmark.id}", gate=gate.id, reason=outcome.reason)


KINDS[GateKind.BENCHMARK] = Kind(_show, _check, _conclude)
