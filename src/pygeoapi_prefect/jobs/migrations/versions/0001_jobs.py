"""Jobs, their logs, runners, recordings and clean-ups."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATUS = sa.Enum(
    "accepted",
    "running",
    "successful",
    "failed",
    "dismissed",
    name="ogc_job_status",
    create_constraint=True,
    length=16,
)
JSON = sa.Text()
RISING = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "ogc_jobs",
        sa.Column("number", RISING, primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("process_id", sa.String(255), nullable=False),
        sa.Column("status", STATUS, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("progress", sa.SmallInteger, nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("updated", TIME, nullable=False),
        sa.Column("started", TIME),
        sa.Column("finished", TIME),
        sa.Column("request", JSON, nullable=False),
        sa.Column("recorded", sa.Boolean, nullable=False),
        sa.Column("claim_number", sa.Integer, nullable=False, server_default="0"),
        sa.Column("runner_id", sa.String(64)),
        sa.Column("media_type", sa.String(255)),
        sa.Column("result", JSON),
        sa.Column("problem", JSON),
        sa.Column("flow_run_id", sa.Uuid),
        sa.UniqueConstraint("job_id", name=op.f("uq_ogc_jobs_job_id")),
        sa.CheckConstraint("progress BETWEEN 0 AND 100", name=op.f("ck_ogc_jobs_progress")),
        sa.CheckConstraint(
            "(finished IS NOT NULL) = (status IN ('successful', 'failed', 'dismissed'))",
            name=op.f("ck_ogc_jobs_finished"),
        ),
        sa.CheckConstraint(
            "status <> 'running' OR (started IS NOT NULL AND runner_id IS NOT NULL)",
            name=op.f("ck_ogc_jobs_running"),
        ),
        sqlite_autoincrement=True,
    )
    accepted = sa.text("status = 'accepted'")
    running = sa.text("status = 'running'")
    op.create_index("ix_ogc_jobs_accepted", "ogc_jobs", ["number"], postgresql_where=accepted, sqlite_where=accepted)
    op.create_index(
        "ix_ogc_jobs_running",
        "ogc_jobs",
        ["runner_id", "process_id"],
        postgresql_where=running,
        sqlite_where=running,
    )
    op.create_index("ix_ogc_jobs_status_number", "ogc_jobs", ["status", "number"])
    op.create_table(
        "ogc_job_logs",
        sa.Column(
            "job_id",
            sa.String(64),
            sa.ForeignKey("ogc_jobs.job_id", ondelete="CASCADE", name=op.f("fk_ogc_job_logs_job_id")),
            primary_key=True,
        ),
        sa.Column("line", sa.Integer, primary_key=True),
        sa.Column("time", TIME, nullable=False),
        sa.Column("level", sa.SmallInteger, nullable=False),
        sa.Column("logger", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "ogc_runners",
        sa.Column("runner_id", sa.String(64), primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("pid_started", sa.Float, nullable=False),
        sa.Column("started", TIME, nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False, comment="seconds since the epoch by the database's clock"),
    )
    op.create_table(
        "ogc_recordings",
        sa.Column("number", RISING, primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("process_id", sa.String(255), nullable=False),
        sa.Column("flow_run_id", sa.Uuid),
        sa.Column("logs_sent", sa.Integer, nullable=False, server_default="0"),
        sa.Column("final", JSON),
        sa.UniqueConstraint("job_id", name=op.f("uq_ogc_recordings_job_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "ogc_cleanups",
        sa.Column("number", RISING, primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("process_id", sa.String(255), nullable=False),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for table in ("ogc_cleanups", "ogc_recordings", "ogc_runners", "ogc_job_logs", "ogc_jobs"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        STATUS.drop(op.get_bind())
