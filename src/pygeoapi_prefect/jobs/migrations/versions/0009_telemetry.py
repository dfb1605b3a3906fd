"""What each job has used, and the trace that it belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ogc_jobs", sa.Column("usage", sa.Text()))
    op.add_column("ogc_jobs", sa.Column("trace_parent", sa.String(64)))


def downgrade() -> None:
    op.drop_column("ogc_jobs", "trace_parent")
    op.drop_column("ogc_jobs", "usage")
