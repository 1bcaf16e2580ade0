"""Benchmarks with their committees and leaderboards."""

from typing import TYPE_CHECKING

from api.client.noun import Listed, Noun
from api.schemas.benchmarks import (
    BenchmarkCreate,
    BenchmarkPolicyUpdate,
    BenchmarkPublic,
    CommitteeMember,
    GatePublic,
    Leaderboard,
    MetricsCubeUpdate,
)
from api.schemas.people import UserPublic

if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812 - inside the classes `list` is the method


class Benchmarks(Noun[BenchmarkPublic, BenchmarkCreate]):
    """Benchmarks; `name`, `state` and `owner_id` filter."""

    def update(self, benchmark_id: int, new: BenchmarkCreate) -> BenchmarkPublic:
        """Replace the specification of a draft, or of one that was rejected."""
        return self._transport.post(f"{self._path}/{benchmark_id}", BenchmarkPublic, new, method="PUT")

    def submit(self, benchmark_id: int) -> GatePublic:
        """Ask the platform administrators for approval; the gate at which they decide."""
        return self._transport.post(f"{self._path}/{benchmark_id}/submit", GatePublic)

    def close(self, benchmark_id: int) -> BenchmarkPublic:
        """End it: nothing runs any more, and nobody joins."""
        return self._transport.post(f"{self._path}/{benchmark_id}/close", BenchmarkPublic)

    def update_policy(self, benchmark_id: int, new: BenchmarkPolicyUpdate) -> BenchmarkPublic:
        """Change who may join; for what is asked from now on."""
        return self._transport.post(f"{self._path}/{benchmark_id}/policy", BenchmarkPublic, new, method="PATCH")

    def replace_metrics_cube(self, benchmark_id: int, cube_id: int) -> BenchmarkPublic:
        """Measure with another metrics cube: sites score again what they have inferred."""
        new = MetricsCubeUpdate(metrics_cube_id=cube_id)
        return self._transport.post(f"{self._path}/{benchmark_id}/metrics-cube", BenchmarkPublic, new, method="PUT")

    def committee(self, benchmark_id: int) -> "List[UserPublic]":
        """The committee, longest-standing member first."""
        return list(Listed(self._transport, f"{self._path}/{benchmark_id}/committee", UserPublic).all())

    def add_member(self, benchmark_id: int, member: CommitteeMember) -> UserPublic:
        """Take a person into the committee."""
        return self._transport.post(f"{self._path}/{benchmark_id}/committee", UserPublic, member)

    def remove_member(self, benchmark_id: int, user_id: int) -> None:
        """Take a person off the committee.

        Raises:
            Refused: 409 when they are the last, or the rest too few for the quorum.
        """
        path = f"{self._path}/{benchmark_id}/committee/{user_id}"
        self._transport.post(path, type(None), method="DELETE")

    def leaderboard(self, benchmark_id: int, *, released: bool | None = None) -> Leaderboard:
        """The committee's as it is now, or with `released` as it was released; everybody else's as it was released.

        Raises:
            Refused: 404 while nothing was released.
        """
        return self._transport.get(f"{self._path}/{benchmark_id}/leaderboard", Leaderboard, {"released": released})

    def release(self, benchmark_id: int) -> GatePublic:
        """Ask the rest of the committee to release the leaderboard as it is now; the gate at which they decide."""
        return self._transport.post(f"{self._path}/{benchmark_id}/release", GatePublic)
