"""The results that each release counts.

An earlier release kept the leaderboard that its gate showed, and not the numbers of the results. Each result is found
again there by its model, its dataset and exactly the metrics that were shown; of several, the newest that the release
could count. What is not found by that was not shown, and stays with the committee and the hospital.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from api.migrations.append_only import protect

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "release_result",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("result_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"], ["leaderboard_release.id"], name=op.f("fk_release_result_release_id_leaderboard_release")
        ),
        sa.ForeignKeyConstraint(["result_id"], ["result.id"], name=op.f("fk_release_result_result_id_result")),
        sa.PrimaryKeyConstraint("release_id", "result_id", name=op.f("pk_release_result")),
    )
    op.create_index(op.f("ix_release_result_result_id"), "release_result", ["result_id"], unique=False)
    _fill()
    protect("release_result", "release_id", "result_id")


def downgrade() -> None:
    op.drop_table("release_result")  # its index and triggers go with it


def _fill() -> None:
    connection = op.get_bind()
    release = _table("leaderboard_release", "id", "benchmark_id", "results_up_to", "leaderboard")
    kept = _table("release_result", "release_id", "result_id")
    for row in list(connection.execute(sa.select(release)).mappings()):
        candidates = _candidates(row["benchmark_id"], row["results_up_to"])
        shown = _shown(row["leaderboard"])
        # Oldest first: the newest stays.
        found = {
            (result["model_id"], result["place"]): result["id"]
            for result in connection.execute(candidates).mappings()
            if result["metrics"] == shown.get((result["model_id"], result["place"]))
        }
        for number in sorted(found.values()):
            connection.execute(kept.insert().values(release_id=row["id"], result_id=number))


def _shown(leaderboard: dict[str, Any]) -> dict[tuple[int, str], dict[str, Any]]:
    """The metrics that a leaderboard has of each model on each `site/dataset`."""
    return {
        (row["model_id"], place): metrics
        for row in leaderboard["rows"]
        for place, metrics in row["per_dataset"].items()
    }


def _candidates(benchmark_id: int, up_to: int) -> sa.Select[Any]:
    """What a release could count, oldest first, with its dataset as leaderboards call it."""
    result = _table("result", "id", "benchmark_id", "model_id", "dataset_id", "metrics")
    dataset, site = _table("dataset", "id", "site_id", "name"), _table("site", "id", "name")
    return (
        sa.select(result.c.id, result.c.model_id, result.c.metrics, (site.c.name + "/" + dataset.c.name).label("place"))
        .join(dataset, dataset.c.id == result.c.dataset_id)
        .join(site, site.c.id == dataset.c.site_id)
        .where(result.c.benchmark_id == benchmark_id, result.c.id <= up_to)
        .order_by(result.c.id)
    )


def _table(name: str, *columns: str) -> sa.TableClause:
    kinds: dict[str, sa.types.TypeEngine[Any]] = {"leaderboard": sa.JSON(), "metrics": sa.JSON(), "name": sa.String()}
    return sa.table(name, *(sa.column(column, kinds.get(column, sa.Integer())) for column in columns))
