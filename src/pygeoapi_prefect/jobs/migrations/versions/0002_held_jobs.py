"""Jobs that a runner holds before they begin: handed over to Prefect, which has not started them yet."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    waiting = sa.text("finished IS NULL AND runner_id IS NULL")
    held = sa.text("finished IS NULL AND runner_id IS NOT NULL")
    op.drop_index("ix_ogc_jobs_accepted", "ogc_jobs")
    op.drop_index("ix_ogc_jobs_running", "ogc_jobs")
    op.create_index("ix_ogc_jobs_waiting", "ogc_jobs", ["number"], postgresql_where=waiting, sqlite_where=waiting)
    op.create_index(
        "ix_ogc_jobs_held", "ogc_jobs", ["runner_id", "process_id"], postgresql_where=held, sqlite_where=held
    )


def downgrade() -> None:
    accepted = sa.text("status = 'accepted'")
    running = sa.text("status = 'running'")
    op.drop_index("ix_ogc_jobs_waiting", "ogc_jobs")
    op.drop_index("ix_ogc_jobs_held", "ogc_jobs")
    op.create_index("ix_ogc_jobs_accepted", "ogc_jobs", ["number"], postgresql_where=accepted, sqlite_where=accepted)
    op.create_index(
        "ix_ogc_jobs_running",
        "ogc_jobs",
        ["runner_id", "process_id"],
        postgresql_where=running,
        sqlite_where=running,
    )
