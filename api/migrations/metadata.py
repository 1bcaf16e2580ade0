"""The tables of every noun, gathered: a noun whose tables are not named here has none in the database."""

from typing import Final

from sqlalchemy import MetaData, Table

from api.core import audit, idempotency
from api.core.database import RegistryTable
from api.nouns.associations import tables as associations
from api.nouns.benchmarks import tables as benchmarks
from api.nouns.blobs import tables as blobs
from api.nouns.cubes import tables as cubes
from api.nouns.datasets import tables as datasets
from api.nouns.executions import tables as executions
from api.nouns.gates import tables as gates
from api.nouns.leaderboard import tables as leaderboard
from api.nouns.models import tables as models
from api.nouns.people import tables as people
from api.nouns.preparations import tables as preparations
from api.nouns.results import tables as results
from api.nouns.sites import tables as sites
from api.nouns.tokens import tables as tokens

SOURCES: Final = (
    audit,
    idempotency,
    people,
    tokens,
    sites,
    blobs,
    cubes,
    models,
    benchmarks,
    associations,
    datasets,
    gates,
    executions,
    results,
    leaderboard,
    preparations,
)
METADATA: Final[MetaData] = RegistryTable.metadata


def append_only() -> list[Table]:
    """Tables whose rows never change and never go; migrations give each its triggers."""
    return [table for table in METADATA.sorted_tables if table.info.get("append_only")]
