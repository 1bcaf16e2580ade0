"""Preparations that sites tell of, and what owners attach to their cubes."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "preparation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("benchmark_id", sa.Integer(), nullable=False),
        sa.Column("site_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("fractions", sa.JSON(), nullable=False),
        sa.Column("measured_at", sa.DateTime(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["benchmark_id"], ["benchmark.id"], name=op.f("fk_preparation_benchmark_id_benchmark")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_preparation_site_id_site")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_preparation")),
        sa.UniqueConstraint("site_id", "benchmark_id", "name", name=op.f("uq_preparation_site_id_benchmark_id_name")),
    )
    op.create_index(op.f("ix_preparation_benchmark_id"), "preparation", ["benchmark_id"], unique=False)
    for name in ("sbom_digest", "vulnerabilities_digest"):
        op.add_column("cube", sa.Column(name, sa.String(), nullable=True))
        op.create_index(op.f(f"ix_cube_{name}"), "cube", [name], unique=False)
    op.add_column("cube", sa.Column("attachments", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("cube", "attachments")
    for name in ("vulnerabilities_digest", "sbom_digest"):
        op.drop_index(op.f(f"ix_cube_{name}"), table_name="cube")
        op.drop_column("cube", name)
    op.drop_index(op.f("ix_preparation_benchmark_id"), table_name="preparation")
    op.drop_table("preparation")
