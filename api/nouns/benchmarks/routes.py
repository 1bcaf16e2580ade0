"""Routes of benchmarks and their committees."""

from http import HTTPStatus

from fastapi import APIRouter
from sqlmodel import col, select

from api.access.acting import ActDep
from api.access.identity import CurrentPrincipal
from api.core.database import SessionDep
from api.core.paging import Paging, narrow, page
from api.core.problems import documented
from api.core.rows import find
from api.nouns.benchmarks import committees, rules
from api.nouns.benchmarks import gate as _gate  # noqa: F401 - says what the gate of a benchmark does
from api.nouns.benchmarks.access import visible
from api.nouns.benchmarks.tables import Benchmark, Membership
from api.nouns.gates.rules import public as public_gate
from api.nouns.people.tables import User
from api.schemas.benchmarks import (
    BenchmarkCreate,
    BenchmarkPolicyUpdate,
    BenchmarkPublic,
    BenchmarkState,
    CommitteeMember,
    GatePublic,
    MetricsCubeUpdate,
)
from api.schemas.common import Id, Name, Page
from api.schemas.people import UserPublic

router = APIRouter(tags=["benchmarks"])


@router.get("/v1/benchmarks", responses=documented())
def list_benchmarks(
    session: SessionDep,
    principal: CurrentPrincipal,
    paging: Paging,
    *,
    name: Name | None = None,
    state: BenchmarkState | None = None,
    owner_id: Id | None = None,
) -> Page[BenchmarkPublic]:
    """Benchmarks that the caller sees: approved and closed ones, and those whose committee they are on."""
    query = select(Benchmark).where(visible(principal)).order_by(col(Benchmark.id))
    wanted = [(Benchmark.name, name), (Benchmark.state, state), (Benchmark.owner_id, owner_id)]
    return page(session, narrow(query, wanted), paging, rules.public)


@router.post("/v1/benchmarks", status_code=HTTPStatus.CREATED, responses=documented(409))
def create_benchmark(act: ActDep, new: BenchmarkCreate) -> BenchmarkPublic:
    return rules.public(rules.create(act, new))


@router.get("/v1/benchmarks/{benchmark_id}", responses=documented(404))
def read_benchmark(session: SessionDep, benchmark_id: Id) -> BenchmarkPublic:
    return rules.public(find(session, Benchmark, benchmark_id))


@router.put("/v1/benchmarks/{benchmark_id}", responses=documented(404, 409))
def update_benchmark(act: ActDep, benchmark_id: Id, new: BenchmarkCreate) -> BenchmarkPublic:
    """Replace the specification of a draft, or of one that was rejected."""
    return rules.public(rules.update(act, benchmark_id, new))


@router.post("/v1/benchmarks/{benchmark_id}/submit", responses=documented(404, 409))
def submit_benchmark(act: ActDep, benchmark_id: Id) -> GatePublic:
    """Ask for approval; the answer is the gate at which a platform administrator decides."""
    return public_gate(act.session, rules.submit(act, benchmark_id))


@router.post("/v1/benchmarks/{benchmark_id}/close", responses=documented(404, 409))
def close_benchmark(act: ActDep, benchmark_id: Id) -> BenchmarkPublic:
    return rules.public(rules.close(act, benchmark_id))


@router.patch("/v1/benchmarks/{benchmark_id}/policy", responses=documented(404, 409))
def update_policy(act: ActDep, benchmark_id: Id, new: BenchmarkPolicyUpdate) -> BenchmarkPublic:
    """Change who may join; for associations that are asked for from now on."""
    return rules.public(rules.update_policy(act, benchmark_id, new))


@router.put("/v1/benchmarks/{benchmark_id}/metrics-cube", responses=documented(404, 409))
def replace_metrics_cube(act: ActDep, benchmark_id: Id, new: MetricsCubeUpdate) -> BenchmarkPublic:
    """Measure with another metrics cube: sites score again what they have inferred."""
    return rules.public(rules.replace_metrics_cube(act, benchmark_id, new.metrics_cube_id))


@router.get("/v1/benchmarks/{benchmark_id}/committee", responses=documented(404))
def list_committee(session: SessionDep, benchmark_id: Id, paging: Paging) -> Page[UserPublic]:
    """The committee, longest-standing member first."""
    query = select(User).join(Membership, col(Membership.user_id) == col(User.id))
    query = query.where(col(Membership.benchmark_id) == benchmark_id)
    return page(session, query.order_by(col(Membership.added_at), col(User.id)), paging, _public_user)


@router.post("/v1/benchmarks/{benchmark_id}/committee", status_code=HTTPStatus.CREATED, responses=documented(404, 409))
def add_member(act: ActDep, benchmark_id: Id, member: CommitteeMember) -> UserPublic:
    return _public_user(committees.add_member(act, benchmark_id, member.user_id))


@router.delete(
    "/v1/benchmarks/{benchmark_id}/committee/{member_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented(404, 409),
)
def remove_member(act: ActDep, benchmark_id: Id, member_id: Id) -> None:
    committees.remove_member(act, benchmark_id, member_id)


def _public_user(user: User) -> UserPublic:
    return UserPublic.model_validate(user.model_dump(include=set(UserPublic.model_fields)))
