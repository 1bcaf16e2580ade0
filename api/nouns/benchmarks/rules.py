"""Benchmarks: specified by a committee, approved by a platform administrator, open for associations until closed."""

from api.access.acting import Act, key
from api.core.errors import ConflictError
from api.core.rows import add, lock, unless_taken
from api.nouns.associations import rules as associations
from api.nouns.benchmarks import specification
from api.nouns.benchmarks.access import committee_size
from api.nouns.benchmarks.states import Action, step
from api.nouns.benchmarks.tables import Benchmark, Membership
from api.nouns.cubes.tables import Cube
from api.nouns.gates import rules as gates
from api.nouns.gates.tables import Gate
from api.schemas.benchmarks import (
    AssociationKind,
    AssociationPolicy,
    BenchmarkCreate,
    BenchmarkPolicyUpdate,
    BenchmarkPublic,
    GateKind,
)
from cubes.metrics import MetricSchema


def create(act: Act, new: BenchmarkCreate) -> Benchmark:
    """A draft; whoever makes it is its owner and the first of its committee.

    Raises:
        ConflictError: the name is taken.
        InvalidInputError: the specification does not hold together.
    """
    specification.check(act, new)
    row = Benchmark(**new.model_dump(mode="json"), owner_id=act.user_id)
    benchmark = add(act.session, row, _taken(new.name))
    act.session.add(Membership(benchmark_id=key(benchmark.id), user_id=act.user_id))
    act.note("benchmark.created", _subject(benchmark), name=benchmark.name, owner_id=act.user_id)
    return benchmark


def update(act: Act, benchmark_id: int, new: BenchmarkCreate) -> Benchmark:
    """Put another specification in the place of a draft's or a rejected benchmark's.

    Raises:
        ConflictError: it was submitted already, or the name is taken.
        InvalidInputError: the specification does not hold together.
    """
    benchmark = lock(act.session, Benchmark, benchmark_id)
    step(benchmark, Action.EDIT)
    specification.check(act, new, known_demo_dataset=benchmark.demo_dataset_digest)
    with unless_taken(act.session, _taken(new.name)):
        benchmark.sqlmodel_update(new.model_dump(mode="json"))
        act.session.add(benchmark)
    act.note("benchmark.updated", _subject(benchmark), specification=new.model_dump(mode="json"))
    return benchmark


def submit(act: Act, benchmark_id: int) -> Gate:
    """Ask the platform administrators for approval.

    Raises:
        ConflictError: not a draft or rejected, or the committee is smaller than a quorum that it asks for.
    """
    benchmark = lock(act.session, Benchmark, benchmark_id)
    step(benchmark, Action.SUBMIT)
    enough_for_quorum(benchmark, committee_size(act.session, benchmark_id))
    act.session.add(benchmark)
    act.note("benchmark.submitted", _subject(benchmark))
    title = f"Approve the benchmark {benchmark.name}?"
    return gates.open_gate(act, GateKind.BENCHMARK, benchmark_id, benchmark, title=title, quorum=1)


def close(act: Act, benchmark_id: int) -> Benchmark:
    """End a benchmark: nothing runs any more, and nobody joins. What was measured stays."""
    benchmark = lock(act.session, Benchmark, benchmark_id)
    step(benchmark, Action.CLOSE)
    act.session.add(benchmark)
    associations.end_requests(act, benchmark_id, reason="the benchmark was closed")
    act.note("benchmark.closed", _subject(benchmark))
    return benchmark


def update_policy(act: Act, benchmark_id: int, new: BenchmarkPolicyUpdate) -> Benchmark:
    """Change who may join and how: for what is asked from now on; open gates keep their quorum.

    Raises:
        ConflictError: not possible in this state, or the committee is smaller than the quorum.
    """
    benchmark = lock(act.session, Benchmark, benchmark_id)
    step(benchmark, Action.UPDATE_POLICY)
    changed = new.model_dump(mode="json", exclude_none=True)
    benchmark.sqlmodel_update(changed)
    enough_for_quorum(benchmark, committee_size(act.session, benchmark_id))
    act.session.add(benchmark)
    act.note("benchmark.policy_updated", _subject(benchmark), **changed)
    return benchmark


def replace_metrics_cube(act: Act, benchmark_id: int, cube_id: int) -> Benchmark:
    """Measure with another metrics cube from now on: sites score again, without inferring again.

    Open requests and releases end: they tell of numbers that the old cube made.

    Raises:
        ConflictError: the benchmark is not approved, or the cube is the present one.
        InvalidInputError: no metrics cube, or one that does not report the benchmark's metrics.
    """
    benchmark = lock(act.session, Benchmark, benchmark_id)
    step(benchmark, Action.REPLACE_METRICS_CUBE)
    before = benchmark.metrics_cube_id
    if before == cube_id:
        raise ConflictError(f"cube {cube_id!r} is the metrics cube of {benchmark.name!r} already.", "Name another one.")
    specification.check_metrics_cube(act.session, cube_id, [MetricSchema.model_validate(m) for m in benchmark.metrics])
    benchmark.metrics_cube_id = cube_id
    act.session.add(benchmark)
    digests = {name: act.session.get_one(Cube, n).pack_digest for name, n in (("before", before), ("after", cube_id))}
    act.note("benchmark.metrics_cube_replaced", _subject(benchmark), **digests)
    reason = "the metrics cube was replaced: run the compatibility flow again, then ask again"
    associations.end_requests(act, benchmark_id, reason=reason, kind=AssociationKind.MODEL)
    release = gates.live_gate(act.session, GateKind.LEADERBOARD, benchmark_id)
    if release is not None:
        gates.cancel(act, release, "the metrics cube was replaced")
    return benchmark


def enough_for_quorum(benchmark: Benchmark, size: int) -> None:
    """Refuse a committee that could never reach its own quorum.

    Raises:
        ConflictError: says both numbers.
    """
    policies = (AssociationPolicy.model_validate(p) for p in (benchmark.model_policy, benchmark.dataset_policy))
    quorum = max(policy.quorum for policy in policies)
    if quorum > size:
        raise ConflictError(
            f"a quorum of {quorum} cannot be reached by a committee of {size}.",
            "Add members to the committee, or lower the quorum.",
        )


def public(benchmark: Benchmark) -> BenchmarkPublic:
    return BenchmarkPublic.model_validate(benchmark.model_dump())


def _subject(benchmark: Benchmark) -> str:
    return f"benchmark:{benchmark.id}"


def _taken(name: str) -> ConflictError:
    return ConflictError(f"a benchmark {name!r} exists already.", "Choose another name.")
