"""Indexes for the list of jobs and its filters."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_DURATION = {
    "sqlite": "round((julianday(finished) - julianday(started)) * 86400.0, 3)",
    "postgresql": "round(extract(epoch from (finished - started)), 3)",
}


def upgrade() -> None:
    duration = sa.text(_DURATION[op.get_bind().dialect.name])
    op.drop_index("ix_ogc_jobs_status_number", "ogc_jobs")
    op.create_index("ix_ogc_jobs_created", "ogc_jobs", ["created", "number"])
    op.create_index("ix_ogc_jobs_status_created", "ogc_jobs", ["status", "created", "number"])
    op.create_index("ix_ogc_jobs_process_id_created", "ogc_jobs", ["process_id", "created", "number"])
    op.create_index("ix_ogc_jobs_duration", "ogc_jobs", [duration, "number"])


def downgrade() -> None:
    for name in ("duration", "process_id_created", "status_created", "created"):
        op.drop_index(f"ix_ogc_jobs_{name}", "ogc_jobs")
    op.create_index("ix_ogc_jobs_status_number", "ogc_jobs", ["status", "number"])
