"""What sites tell of their preparations, and who reads it: their own people, and the benchmark's committee."""

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from api.access.acting import key
from api.access.belongings import committees_of, sites_of
from api.access.identity import Principal
from api.access.matrix import Role
from api.access.sides import either
from api.core.rows import find
from api.nouns.benchmarks.states import MACHINE, Action
from api.nouns.benchmarks.tables import Benchmark
from api.nouns.preparations.tables import Preparation
from api.nouns.sites.tables import Site
from api.nouns.work.receiving import Receiving, check_past
from api.schemas.border import PreparationProgress
from api.schemas.records import PreparationPublic


def note_progress(receiving: Receiving, told: PreparationProgress) -> int:
    """Keep how far a preparation is, unless something newer is known.

    Returns:
        Its number.

    Raises:
        NotFoundError: no such benchmark.
        ConflictError: the benchmark is not approved.
        InvalidInputError: of times to come.
    """
    session = receiving.act.session
    benchmark = find(session, Benchmark, told.benchmark_id)
    MACHINE.next(benchmark.state, Action.ASSOCIATE, f"benchmark {benchmark.name!r}")
    check_past("the progress", told.measured_at)
    row = _known(receiving, told)
    if row is None:
        row = Preparation(**told.model_dump(), site_id=receiving.site_id)
        session.add(row)
        session.flush()
        receiving.act.note("preparation.begun", f"preparation:{row.id}", name=row.name, benchmark_id=row.benchmark_id)
    elif row.measured_at < told.measured_at:
        row.fractions, row.measured_at = dict(told.fractions), told.measured_at
        session.add(row)
    return key(row.id)


def visible(principal: Principal) -> ColumnElement[bool]:
    return either(
        principal,
        {
            Role.COMMITTEE: col(Preparation.benchmark_id).in_(committees_of(principal)),
            Role.OWNER: col(Preparation.site_id).in_(sites_of(principal)),
        },
    )


def public(session: Session, preparation: Preparation) -> PreparationPublic:
    site = session.get_one(Site, preparation.site_id)
    return PreparationPublic.model_validate({**preparation.model_dump(), "site_name": site.name})


def _known(receiving: Receiving, told: PreparationProgress) -> Preparation | None:
    query = select(Preparation).where(
        Preparation.site_id == receiving.site_id,
        Preparation.benchmark_id == told.benchmark_id,
        Preparation.name == told.name,
    )
    return receiving.act.session.exec(query).first()
