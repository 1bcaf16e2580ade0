"""Documents that owners attach to their cubes, each kept; those of a cube's registration become the first of them."""

import sqlalchemy as sa
from alembic import op

from api.migrations.append_only import protect

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_KINDS = {"sbom": "sbom_digest", "vulnerabilities": "vulnerabilities_digest"}


def upgrade() -> None:
    op.create_table(
        "cube_attachment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("cube_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("by", sa.Integer(), nullable=False),
        sa.Column("attached_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["by"], ["user_account.id"], name=op.f("fk_cube_attachment_by_user_account")),
        sa.ForeignKeyConstraint(["cube_id"], ["cube.id"], name=op.f("fk_cube_attachment_cube_id_cube")),
        sa.ForeignKeyConstraint(["digest"], ["blob.digest"], name=op.f("fk_cube_attachment_digest_blob")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cube_attachment")),
    )
    for name in ("cube_id", "digest"):
        op.create_index(op.f(f"ix_cube_attachment_{name}"), "cube_attachment", [name], unique=False)
    _carry_over()
    for name in _KINDS.values():
        op.drop_index(op.f(f"ix_cube_{name}"), table_name="cube")
        op.drop_column("cube", name)
    protect("cube_attachment", "id")


def downgrade() -> None:
    for name in _KINDS.values():
        op.add_column("cube", sa.Column(name, sa.String(), nullable=True))
        op.create_index(op.f(f"ix_cube_{name}"), "cube", [name], unique=False)
    connection, cube = op.get_bind(), _cube()
    for row in list(connection.execute(sa.select(cube.c.id, cube.c.attachments)).mappings()):
        kept = [{key: value for key, value in each.items() if key != "attached_at"} for each in row["attachments"]]
        digests = {_KINDS[each["kind"]]: each["digest"] for each in kept}
        if kept:
            connection.execute(cube.update().where(cube.c.id == row["id"]).values(attachments=kept, **digests))
    op.drop_table("cube_attachment")


def _carry_over() -> None:
    connection, cube = op.get_bind(), _cube()
    attached = sa.table(
        "cube_attachment",
        *(sa.column(name) for name in ("cube_id", "kind", "digest", "by")),
        sa.column("document", sa.JSON()),
        sa.column("attached_at", sa.DateTime()),
    )
    for row in list(connection.execute(sa.select(cube).where(cube.c.attachments.is_not(None))).mappings()):
        at = row["created_at"]
        for document in row["attachments"]:
            values = {"kind": document["kind"], "digest": document["digest"], "document": document}
            connection.execute(
                attached.insert().values(cube_id=row["id"], by=row["owner_id"], attached_at=at, **values)
            )
        if row["attachments"]:
            shown = [{**document, "attached_at": f"{at.isoformat()}Z"} for document in row["attachments"]]
            connection.execute(cube.update().where(cube.c.id == row["id"]).values(attachments=shown))


def _cube() -> sa.TableClause:
    return sa.table(
        "cube",
        sa.column("id", sa.Integer()),
        sa.column("owner_id", sa.Integer()),
        sa.column("attachments", sa.JSON()),
        sa.column("created_at", sa.DateTime()),
        *(sa.column(name, sa.String()) for name in _KINDS.values()),
    )
