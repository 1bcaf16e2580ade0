"""Committees: never empty, and never too small for what they have promised."""

from sqlmodel import Session

from api.access.acting import Act
from api.core.errors import ConflictError, InvalidInputError, NotFoundError
from api.core.rows import add, lock
from api.nouns.benchmarks.access import committee
from api.nouns.benchmarks.rules import enough_for_quorum
from api.nouns.benchmarks.tables import Benchmark, Membership
from api.nouns.people.tables import User


def add_member(act: Act, benchmark_id: int, user_id: int) -> User:
    """Take a person into a committee.

    Raises:
        InvalidInputError: there is no such person, or they are no longer active.
        ConflictError: they are on it already.
    """
    benchmark = lock(act.session, Benchmark, benchmark_id)
    user = _person(act.session, user_id)
    already = ConflictError(f"{user.email!r} is on the committee of {benchmark.name!r} already.", "")
    add(act.session, Membership(benchmark_id=benchmark_id, user_id=user_id), already)
    act.note("committee.member_added", f"benchmark:{benchmark_id}", user_id=user_id, person=user.label)
    return user


def remove_member(act: Act, benchmark_id: int, user_id: int) -> None:
    """Take a person off a committee; when it is the owner, the longest-standing member becomes it.

    Raises:
        NotFoundError: they are not on it.
        ConflictError: they are the last, or the rest would be too few for the quorum.
    """
    benchmark = lock(act.session, Benchmark, benchmark_id)
    membership = act.session.get(Membership, (benchmark_id, user_id))
    if membership is None:
        raise NotFoundError(
            f"user {user_id!r} is not on the committee of {benchmark.name!r}.", "See `assay benchmark committee`."
        )
    rest = [user for user in committee(act.session, benchmark_id) if user.id != user_id]
    if not rest:
        raise ConflictError(
            f"user {user_id!r} is the last on the committee of {benchmark.name!r}.", "Add somebody else first."
        )
    enough_for_quorum(benchmark, len(rest))
    act.session.delete(membership)
    if benchmark.owner_id == user_id:
        benchmark.owner_id = rest[0].id or 0
        act.session.add(benchmark)
    act.note("committee.member_removed", f"benchmark:{benchmark_id}", user_id=user_id, owner_id=benchmark.owner_id)


def _person(session: Session, user_id: int) -> User:
    user = session.get(User, user_id)
    if user is None or not user.active:
        raise InvalidInputError(f"there is no active user {user_id!r}.", "See `assay user list`.")
    return user
