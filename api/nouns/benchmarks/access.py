"""Who sees a benchmark, and who is on its committee."""

from sqlalchemy import ColumnElement, func, or_, true
from sqlmodel import Session, col, select

from api.access.acting import key
from api.access.belongings import committees_of
from api.access.identity import Principal
from api.access.matrix import Role
from api.access.relations import relates
from api.core.errors import NotFoundError
from api.nouns.benchmarks.states import PUBLIC
from api.nouns.benchmarks.tables import Benchmark, Membership
from api.nouns.people.tables import User


def visible(principal: Principal) -> ColumnElement[bool]:
    """Benchmarks that a party sees: public ones, and those whose committee they are on. Administrators see all."""
    if principal.service or (principal.user is not None and principal.user.platform_administrator):
        return true()
    return or_(col(Benchmark.state).in_(PUBLIC), col(Benchmark.id).in_(committees_of(principal)))


def find_visible(session: Session, principal: Principal, benchmark_id: int) -> Benchmark:
    """A benchmark that a party sees.

    Raises:
        NotFoundError: there is none, or it is not theirs to see.
    """
    found = session.exec(select(Benchmark).where(col(Benchmark.id) == benchmark_id, visible(principal))).first()
    if found is None:
        raise NotFoundError(f"there is no benchmark {benchmark_id!r}.", "See `assay benchmark list`.")
    return found


def is_on_committee(session: Session, principal: Principal, benchmark_id: int) -> bool:
    return principal.user is not None and session.get(Membership, (benchmark_id, principal.user.id)) is not None


def committee_size(session: Session, benchmark_id: int) -> int:
    query = select(func.count()).select_from(Membership).where(col(Membership.benchmark_id) == benchmark_id)
    return session.exec(query).one()


def committee(session: Session, benchmark_id: int) -> list[User]:
    """The committee, longest-standing member first."""
    query = (
        select(User)
        .join(Membership, col(Membership.user_id) == col(User.id))
        .where(col(Membership.benchmark_id) == benchmark_id)
        .order_by(col(Membership.added_at), col(User.id))
    )
    return list(session.exec(query))


@relates("benchmark_id")
def _benchmark(session: Session, principal: Principal, benchmark_id: int) -> set[Role]:
    benchmark = find_visible(session, principal, benchmark_id)
    return {Role.COMMITTEE} if is_on_committee(session, principal, key(benchmark.id)) else set()
