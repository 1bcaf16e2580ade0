"""The first version of every table."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from api.migrations.append_only import forget, protect

TABLES: Final = (
    "audit",
    "blob",
    "kept_answer",
    "organization",
    "site",
    "user_account",
    "blob_upload",
    "cube",
    "token",
    "model",
    "benchmark",
    "committee_member",
    "dataset",
    "gate",
    "association",
    "decision",
    "execution",
    "leaderboard_release",
    "result",
    "association_change",
)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:  # noqa: PLR0915 - one statement a table, in their order
    op.create_table(
        "audit",
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_action"), "audit", ["action"], unique=False)
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"], unique=False)
    op.create_table(
        "blob",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_blob")),
    )
    op.create_table(
        "kept_answer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body_digest", sa.String(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kept_answer")),
        sa.UniqueConstraint("actor", "key", name=op.f("uq_kept_answer_actor_key")),
    )
    op.create_table(
        "organization",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organization")),
        sa.UniqueConstraint("name", name=op.f("uq_organization_name")),
    )
    op.create_table(
        "site",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("organization_id", sa.Integer(), nullable=False),
        sa.Column("last_heartbeat_at", sa.DateTime(), nullable=True),
        sa.Column("heartbeat", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=op.f("fk_site_organization_id_organization")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site")),
        sa.UniqueConstraint("name", name=op.f("uq_site_name")),
    )
    op.create_index(op.f("ix_site_organization_id"), "site", ["organization_id"], unique=False)
    op.create_table(
        "user_account",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("organization_id", sa.Integer(), nullable=False),
        sa.Column("platform_administrator", sa.Boolean(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=op.f("fk_user_account_organization_id_organization")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_account")),
        sa.UniqueConstraint("email", name=op.f("uq_user_account_email")),
    )
    op.create_index(op.f("ix_user_account_organization_id"), "user_account", ["organization_id"], unique=False)
    op.create_table(
        "blob_upload",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["blob.digest"], name=op.f("fk_blob_upload_digest_blob")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_blob_upload_user_id_user_account")),
        sa.PrimaryKeyConstraint("digest", "user_id", name=op.f("pk_blob_upload")),
    )
    op.create_table(
        "cube",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("pack_digest", sa.String(), nullable=False),
        sa.Column("additional_files_digest", sa.String(), nullable=True),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("parameters_digest", sa.String(), nullable=True),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("contract", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["additional_files_digest"], ["blob.digest"], name=op.f("fk_cube_additional_files_digest_blob")
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["user_account.id"], name=op.f("fk_cube_owner_id_user_account")),
        sa.ForeignKeyConstraint(["pack_digest"], ["blob.digest"], name=op.f("fk_cube_pack_digest_blob")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cube")),
        sa.UniqueConstraint("name", name=op.f("uq_cube_name")),
    )
    op.create_index(op.f("ix_cube_additional_files_digest"), "cube", ["additional_files_digest"], unique=False)
    op.create_index(op.f("ix_cube_kind"), "cube", ["kind"], unique=False)
    op.create_index(op.f("ix_cube_owner_id"), "cube", ["owner_id"], unique=False)
    op.create_index(op.f("ix_cube_pack_digest"), "cube", ["pack_digest"], unique=False)
    op.create_table(
        "token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("site_id", sa.Integer(), nullable=True),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("secret_hash", sa.String(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.Column("last_used_at", sa.DateTime(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("user_id IS NULL OR site_id IS NULL", name=op.f("ck_token_one_bearer")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_token_site_id_site")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_token_user_id_user_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_token_secret_hash")),
    )
    op.create_index(op.f("ix_token_site_id"), "token", ["site_id"], unique=False)
    op.create_index(op.f("ix_token_user_id"), "token", ["user_id"], unique=False)
    op.create_table(
        "model",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("cube_id", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("organization_id", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("intended_use", sa.String(), nullable=False),
        sa.Column("training_data", sa.String(), nullable=False),
        sa.Column("architecture", sa.String(), nullable=False),
        sa.Column("licence", sa.String(), nullable=False),
        sa.Column("contact", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["cube_id"], ["cube.id"], name=op.f("fk_model_cube_id_cube")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=op.f("fk_model_organization_id_organization")
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["user_account.id"], name=op.f("fk_model_owner_id_user_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
        sa.UniqueConstraint("name", name=op.f("uq_model_name")),
    )
    op.create_index(op.f("ix_model_cube_id"), "model", ["cube_id"], unique=False)
    op.create_index(op.f("ix_model_owner_id"), "model", ["owner_id"], unique=False)
    op.create_table(
        "benchmark",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("clinical_setting", sa.String(), nullable=False),
        sa.Column("task", sa.String(), nullable=False),
        sa.Column("labelling_method", sa.String(), nullable=False),
        sa.Column("inclusion_criteria", sa.String(), nullable=False),
        sa.Column("documentation", sa.String(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("primary_metric", sa.String(), nullable=False),
        sa.Column("preparator_cube_id", sa.Integer(), nullable=False),
        sa.Column("metrics_cube_id", sa.Integer(), nullable=False),
        sa.Column("reference_model_id", sa.Integer(), nullable=True),
        sa.Column("demo_dataset_digest", sa.String(), nullable=False),
        sa.Column("minimum_cases", sa.Integer(), nullable=False),
        sa.Column("model_policy", sa.JSON(), nullable=False),
        sa.Column("dataset_policy", sa.JSON(), nullable=False),
        sa.Column("image_keys", sa.JSON(), nullable=False),
        sa.Column("model_owner_consent", sa.Boolean(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("released_at", sa.DateTime(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["metrics_cube_id"], ["cube.id"], name=op.f("fk_benchmark_metrics_cube_id_cube")),
        sa.ForeignKeyConstraint(["owner_id"], ["user_account.id"], name=op.f("fk_benchmark_owner_id_user_account")),
        sa.ForeignKeyConstraint(["preparator_cube_id"], ["cube.id"], name=op.f("fk_benchmark_preparator_cube_id_cube")),
        sa.ForeignKeyConstraint(
            ["reference_model_id"], ["model.id"], name=op.f("fk_benchmark_reference_model_id_model")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_benchmark")),
        sa.UniqueConstraint("name", name=op.f("uq_benchmark_name")),
    )
    op.create_index(op.f("ix_benchmark_owner_id"), "benchmark", ["owner_id"], unique=False)
    op.create_index(op.f("ix_benchmark_state"), "benchmark", ["state"], unique=False)
    op.create_table(
        "committee_member",
        sa.Column("benchmark_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("added_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["benchmark_id"], ["benchmark.id"], name=op.f("fk_committee_member_benchmark_id_benchmark")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_committee_member_user_id_user_account")
        ),
        sa.PrimaryKeyConstraint("benchmark_id", "user_id", name=op.f("pk_committee_member")),
    )
    op.create_index(op.f("ix_committee_member_user_id"), "committee_member", ["user_id"], unique=False)
    op.create_table(
        "dataset",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("benchmark_id", sa.Integer(), nullable=False),
        sa.Column("site_id", sa.Integer(), nullable=False),
        sa.Column("preparator_digest", sa.String(), nullable=False),
        sa.Column("root", sa.String(), nullable=False),
        sa.Column("data_root", sa.String(), nullable=False),
        sa.Column("labels_root", sa.String(), nullable=False),
        sa.Column("metadata_root", sa.String(), nullable=True),
        sa.Column("cases", sa.BigInteger(), nullable=False),
        sa.Column("statistics", sa.JSON(), nullable=False),
        sa.Column("decision", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["benchmark_id"], ["benchmark.id"], name=op.f("fk_dataset_benchmark_id_benchmark")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_dataset_site_id_site")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset")),
        sa.UniqueConstraint(
            "site_id", "benchmark_id", "name", "root", name=op.f("uq_dataset_site_id_benchmark_id_name_root")
        ),
    )
    op.create_index(op.f("ix_dataset_benchmark_id"), "dataset", ["benchmark_id"], unique=False)
    op.create_table(
        "gate",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("subject_id", sa.Integer(), nullable=False),
        sa.Column("benchmark_id", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("shown", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("requested_by", sa.Integer(), nullable=False),
        sa.Column("quorum", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("verdict", sa.String(length=40), nullable=True),
        sa.Column("flow_run_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["benchmark_id"], ["benchmark.id"], name=op.f("fk_gate_benchmark_id_benchmark")),
        sa.ForeignKeyConstraint(["requested_by"], ["user_account.id"], name=op.f("fk_gate_requested_by_user_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate")),
    )
    op.create_index(op.f("ix_gate_benchmark_id"), "gate", ["benchmark_id"], unique=False)
    op.create_index(op.f("ix_gate_state"), "gate", ["state"], unique=False)
    op.create_index(op.f("ix_gate_subject_id"), "gate", ["subject_id"], unique=False)
    op.create_table(
        "association",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("benchmark_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=True),
        sa.Column("dataset_id", sa.Integer(), nullable=True),
        sa.Column("requested_by", sa.Integer(), nullable=False),
        sa.Column("invited", sa.Boolean(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("compatibility", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("consented_at", sa.DateTime(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("(model_id IS NULL) <> (dataset_id IS NULL)", name=op.f("ck_association_one_subject")),
        sa.ForeignKeyConstraint(["benchmark_id"], ["benchmark.id"], name=op.f("fk_association_benchmark_id_benchmark")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_association_dataset_id_dataset")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_association_model_id_model")),
        sa.ForeignKeyConstraint(
            ["requested_by"], ["user_account.id"], name=op.f("fk_association_requested_by_user_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_association")),
        sa.UniqueConstraint("benchmark_id", "dataset_id", name=op.f("uq_association_benchmark_id_dataset_id")),
        sa.UniqueConstraint("benchmark_id", "model_id", name=op.f("uq_association_benchmark_id_model_id")),
    )
    op.create_index(op.f("ix_association_dataset_id"), "association", ["dataset_id"], unique=False)
    op.create_index(op.f("ix_association_model_id"), "association", ["model_id"], unique=False)
    op.create_index(op.f("ix_association_state"), "association", ["state"], unique=False)
    op.create_table(
        "decision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("gate_id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("user_name", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["gate_id"], ["gate.id"], name=op.f("fk_decision_gate_id_gate")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_decision_user_id_user_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
        sa.UniqueConstraint("gate_id", "revision", "user_id", name=op.f("uq_decision_gate_id_revision_user_id")),
    )
    op.create_index(op.f("ix_decision_user_id"), "decision", ["user_id"], unique=False)
    op.create_table(
        "execution",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("benchmark_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("error_class", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["benchmark_id"], ["benchmark.id"], name=op.f("fk_execution_benchmark_id_benchmark")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_execution_dataset_id_dataset")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_execution_model_id_model")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_execution")),
        sa.UniqueConstraint(
            "benchmark_id",
            "model_id",
            "dataset_id",
            "identity",
            "step",
            name=op.f("uq_execution_benchmark_id_model_id_dataset_id_identity_step"),
        ),
    )
    op.create_index(op.f("ix_execution_dataset_id"), "execution", ["dataset_id"], unique=False)
    op.create_index(op.f("ix_execution_model_id"), "execution", ["model_id"], unique=False)
    op.create_index(op.f("ix_execution_state"), "execution", ["state"], unique=False)
    op.create_table(
        "leaderboard_release",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("benchmark_id", sa.Integer(), nullable=False),
        sa.Column("gate_id", sa.Integer(), nullable=False),
        sa.Column("results_up_to", sa.Integer(), nullable=False),
        sa.Column("leaderboard", sa.JSON(), nullable=False),
        sa.Column("released_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["benchmark_id"], ["benchmark.id"], name=op.f("fk_leaderboard_release_benchmark_id_benchmark")
        ),
        sa.ForeignKeyConstraint(["gate_id"], ["gate.id"], name=op.f("fk_leaderboard_release_gate_id_gate")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leaderboard_release")),
        sa.UniqueConstraint("gate_id", name=op.f("uq_leaderboard_release_gate_id")),
    )
    op.create_index(op.f("ix_leaderboard_release_benchmark_id"), "leaderboard_release", ["benchmark_id"], unique=False)
    op.create_table(
        "result",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("execution", sa.String(), nullable=False),
        sa.Column("score", sa.String(), nullable=False),
        sa.Column("benchmark_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("metrics_cube_id", sa.Integer(), nullable=False),
        sa.Column("model_digest", sa.String(), nullable=False),
        sa.Column("metrics_digest", sa.String(), nullable=False),
        sa.Column("dataset_root", sa.String(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("cases", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=False),
        sa.Column("isolation", sa.String(length=40), nullable=False),
        sa.Column("probe", sa.JSON(), nullable=False),
        sa.Column("decision", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["benchmark_id"], ["benchmark.id"], name=op.f("fk_result_benchmark_id_benchmark")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_result_dataset_id_dataset")),
        sa.ForeignKeyConstraint(["metrics_cube_id"], ["cube.id"], name=op.f("fk_result_metrics_cube_id_cube")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_result_model_id_model")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_result")),
        sa.UniqueConstraint(
            "score",
            "benchmark_id",
            "model_id",
            "dataset_id",
            name=op.f("uq_result_score_benchmark_id_model_id_dataset_id"),
        ),
    )
    op.create_index(op.f("ix_result_benchmark_id"), "result", ["benchmark_id"], unique=False)
    op.create_index(op.f("ix_result_dataset_id"), "result", ["dataset_id"], unique=False)
    op.create_index(op.f("ix_result_model_id"), "result", ["model_id"], unique=False)
    op.create_table(
        "association_change",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("association_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("by", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["association_id"], ["association.id"], name=op.f("fk_association_change_association_id_association")
        ),
        sa.ForeignKeyConstraint(["by"], ["user_account.id"], name=op.f("fk_association_change_by_user_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_association_change")),
    )
    op.create_index(
        op.f("ix_association_change_association_id"), "association_change", ["association_id"], unique=False
    )
    # ### end Alembic commands ###
    protect("audit", "sequence")
    protect("decision", "id")
    protect("leaderboard_release", "id")
    protect("result", "id")
    protect("association_change", "id")


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)  # its indices and triggers go with it
    forget()
