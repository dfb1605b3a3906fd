"""Whose each job is."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ogc_jobs", sa.Column("owner", sa.String(512)))
    op.add_column("ogc_jobs", sa.Column("submitted_by", sa.Text()))
    op.create_index("ix_ogc_jobs_owner_created", "ogc_jobs", ["owner", "created", "number"])


def downgrade() -> None:
    op.drop_index("ix_ogc_jobs_owner_created", "ogc_jobs")
    op.drop_column("ogc_jobs", "submitted_by")
    op.drop_column("ogc_jobs", "owner")
