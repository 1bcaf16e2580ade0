"""People sign in to pages: with a password, or through an identity provider."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("user_account", sa.Column("password_hash", sa.String(), nullable=True))
    op.add_column("user_account", sa.Column("oidc_subject", sa.String(), nullable=True))
    op.create_index(op.f("ix_user_account_oidc_subject"), "user_account", ["oidc_subject"], unique=True)


def downgrade() -> None:
    op.drop_index(op.f("ix_user_account_oidc_subject"), table_name="user_account")
    op.drop_column("user_account", "oidc_subject")
    op.drop_column("user_account", "password_hash")
