"""Who is called back at the progress and the end of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ogc_jobs", sa.Column("subscribed", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "ogc_callbacks",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column(
            "job_id",
            sa.String(64),
            sa.ForeignKey("ogc_jobs.job_id", ondelete="CASCADE", name=op.f("fk_ogc_callbacks_job_id")),
            nullable=False,
        ),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("wanted", sa.Integer, nullable=False, server_default="0"),
        sa.Column("told", sa.Integer, nullable=False, server_default="0"),
        sa.Column("claims", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column(
            "due",
            sa.Float,
            nullable=False,
            server_default="0",
            comment="seconds since the epoch by the database's clock",
        ),
        sa.UniqueConstraint("job_id", "kind", name=op.f("uq_ogc_callbacks_job_id")),
        sqlite_autoincrement=True,
    )
    is_to_be_told = sa.text("wanted > told")
    op.create_index(
        "ix_ogc_callbacks_due", "ogc_callbacks", ["due"], postgresql_where=is_to_be_told, sqlite_where=is_to_be_told
    )


def downgrade() -> None:
    op.drop_table("ogc_callbacks")
    op.drop_column("ogc_jobs", "subscribed")
