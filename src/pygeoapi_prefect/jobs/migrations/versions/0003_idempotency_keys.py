"""Execute requests that clients may send again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ogc_idempotency_keys",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["ogc_jobs.job_id"], name="fk_ogc_idempotency_keys_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key", name="pk_ogc_idempotency_keys"),
    )
    op.create_index("ix_ogc_idempotency_keys_job_id", "ogc_idempotency_keys", ["job_id"])


def downgrade() -> None:
    op.drop_table("ogc_idempotency_keys")
