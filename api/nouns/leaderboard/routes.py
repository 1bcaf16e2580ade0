"""Routes of leaderboards and their release."""

from fastapi import APIRouter

from api.access.acting import ActDep
from api.access.identity import CurrentPrincipal
from api.core.database import SessionDep
from api.core.problems import documented
from api.nouns.gates.rules import public as public_gate
from api.nouns.leaderboard import gate as _gate  # noqa: F401 - says what the gate of a release does
from api.nouns.leaderboard import rules
from api.schemas.benchmarks import GatePublic, Leaderboard
from api.schemas.common import Id

router = APIRouter(tags=["benchmarks"])


@router.get("/v1/benchmarks/{benchmark_id}/leaderboard", responses=documented(404))
def read_leaderboard(
    session: SessionDep, principal: CurrentPrincipal, benchmark_id: Id, *, released: bool = False
) -> Leaderboard:
    """The committee's as it is now, or with `released` as it was released; everybody else's as it was released."""
    return rules.leaderboard_for(session, principal, benchmark_id, released=released)


@router.post("/v1/benchmarks/{benchmark_id}/release", responses=documented(404, 409))
def ask_release(act: ActDep, benchmark_id: Id) -> GatePublic:
    """Ask for the release of the leaderboard as it is now; the answer is the gate at which others of the committee decide."""
    return public_gate(act.session, rules.ask_release(act, benchmark_id))
