"""What jobs must keep secret until they end."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ogc_job_secrets",
        sa.Column(
            "job_id",
            sa.String(64),
            sa.ForeignKey("ogc_jobs.job_id", ondelete="CASCADE", name=op.f("fk_ogc_job_secrets_job_id")),
            primary_key=True,
        ),
        sa.Column("sealed", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("ogc_job_secrets")
