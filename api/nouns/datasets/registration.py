"""How a dataset becomes known: its site sends digests, and the statistics that a named person there let go."""

from typing import Any

from sqlmodel import select

from api.access.acting import key
from api.core.errors import ConflictError, InvalidInputError
from api.core.rows import find
from api.nouns.benchmarks.states import MACHINE, Action
from api.nouns.benchmarks.tables import Benchmark
from api.nouns.cubes.tables import Cube
from api.nouns.datasets.tables import Dataset
from api.nouns.work.receiving import Receiving, check_decision
from api.schemas.border import NEEDS_DECISION, DatasetRegistration, PayloadKind
from cubes.digests import short, tag_non_finite


def register(receiving: Receiving, new: DatasetRegistration) -> int:
    """Register a prepared dataset; the same name and contents for the same benchmark is the same dataset.

    Returns:
        Its number.

    Raises:
        NotFoundError: no such benchmark.
        ConflictError: the benchmark is not approved, the data were prepared by something else, or they are registered
            with something else said of them.
        InvalidInputError: no cases, or no approval.
    """
    session = receiving.act.session
    benchmark = find(session, Benchmark, new.benchmark_id)
    MACHINE.next(benchmark.state, Action.ASSOCIATE, f"benchmark {benchmark.name!r}")
    check_decision(new.decision, NEEDS_DECISION[PayloadKind.DATASET])
    if not new.cases:
        raise InvalidInputError(f"dataset {new.name!r} has no cases.", "Prepare data that have some.")
    preparator = session.get_one(Cube, benchmark.preparator_cube_id)
    if new.preparator_digest != preparator.pack_digest:
        raise ConflictError(
            f"dataset {new.name!r} was prepared by {short(new.preparator_digest)!r},"
            f" {benchmark.name!r} asks for {short(preparator.pack_digest)!r}.",
            f"Prepare the data with {preparator.name!r}.",
        )
    return key((_known(receiving, new) or _add(receiving, new)).id)


def _known(receiving: Receiving, new: DatasetRegistration) -> Dataset | None:
    query = select(Dataset).where(
        Dataset.site_id == receiving.site_id,
        Dataset.benchmark_id == new.benchmark_id,
        Dataset.name == new.name,
        Dataset.root == new.root,
    )
    known = receiving.act.session.exec(query).first()
    if known is not None and (other := [part for part, value in _said(new).items() if getattr(known, part) != value]):
        raise ConflictError(
            f"dataset {known.id} ({known.name!r}) is registered with other {', '.join(other)}, for the same contents.",
            "What is registered does not change: send the same again, or register the data under another name.",
        )
    return known


def _said(new: DatasetRegistration) -> dict[str, Any]:
    """What is kept of a registration, as it is kept; who let it go may be another each time."""
    return {**new.model_dump(exclude={"decision"}), "statistics": tag_non_finite(new.statistics)}


def _add(receiving: Receiving, new: DatasetRegistration) -> Dataset:
    dataset = Dataset(
        **_said(new),
        site_id=receiving.site_id,
        decision=new.decision.model_dump(mode="json"),
    )
    receiving.act.session.add(dataset)
    receiving.act.session.flush()
    receiving.act.note(
        "dataset.registered",
        f"dataset:{dataset.id}",
        name=dataset.name,
        root=dataset.root,
        cases=dataset.cases,
        decision=dataset.decision,
    )
    return dataset
