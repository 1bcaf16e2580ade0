"""The gate of a release: the committee sees exactly the rows that would become visible."""

from typing import Any

from sqlmodel import Session

from api.access.acting import Act, key
from api.nouns.benchmarks.states import MACHINE, Action
from api.nouns.benchmarks.tables import Benchmark
from api.nouns.gates.kinds import KINDS, Kind, Outcome
from api.nouns.gates.tables import Gate
from api.nouns.leaderboard.rules import counted, made_of, newest_result
from api.nouns.leaderboard.tables import Release, ReleaseResult
from api.schemas.benchmarks import GateKind, Verdict
from api.storage.columns import now


def _show(session: Session, gate: Gate) -> dict[str, Any]:
    benchmark = session.get_one(Benchmark, gate.subject_id)
    # Fixed when it is asked: else results that keep coming would keep anybody from deciding.
    up_to = gate.shown.get("results_up_to", newest_result(session, gate.subject_id))
    results = counted(session, benchmark, up_to=up_to)
    return {
        "leaderboard": made_of(session, benchmark, results).model_dump(mode="json"),
        "results": sorted(key(result.id) for result in results),
        "results_up_to": up_to,
        "model_owner_consent": benchmark.model_owner_consent,
    }


def _check(session: Session, gate: Gate) -> None:
    benchmark = session.get_one(Benchmark, gate.subject_id)
    MACHINE.next(benchmark.state, Action.RELEASE, f"benchmark {benchmark.name!r}")


def _conclude(act: Act, gate: Gate, outcome: Outcome) -> None:
    subject = f"benchmark:{gate.subject_id}"
    if outcome.verdict == Verdict.REJECT:
        act.note("leaderboard.release_rejected", subject, gate=gate.id, reason=outcome.reason)
        return
    moment = now()
    release = Release(
        benchmark_id=gate.subject_id,
        gate_id=key(gate.id),
        results_up_to=gate.shown["results_up_to"],
        leaderboard={**gate.shown["leaderboard"], "released_at": moment.isoformat()},
        released_at=moment,
    )
    benchmark = act.session.get_one(Benchmark, gate.subject_id)
    benchmark.released_at = moment
    act.session.add_all([release, benchmark])
    act.session.flush()
    shown = (ReleaseResult(release_id=key(release.id), result_id=number) for number in gate.shown["results"])
    act.session.add_all(shown)
    act.note(
        "leaderboard.released",
        subject,
        gate=gate.id,
        release=release.id,
        results_up_to=release.results_up_to,
        released_at=moment.isoformat(),
    )


KINDS[GateKind.LEADERBOARD] = Kind(_show, _check, _conclude)
