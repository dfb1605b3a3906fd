"""Idempotency keys of each owner, jobs that are shared, and an index of each owner's waiting jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_KEPT = "ogc_idempotency_keys_kept"
_WAITING = sa.text("finished IS NULL AND runner_id IS NULL")


def upgrade() -> None:
    op.create_table(
        "ogc_job_shares",
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("grantee", sa.String(1024), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["ogc_jobs.job_id"], name="fk_ogc_job_shares_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "grantee", name="pk_ogc_job_shares"),
    )
    op.create_index("ix_ogc_job_shares_grantee", "ogc_job_shares", ["grantee", "job_id"])
    op.create_index(
        "ix_ogc_jobs_waiting_owner", "ogc_jobs", ["owner"], sqlite_where=_WAITING, postgresql_where=_WAITING
    )
    # SQLite changes no primary key
    owner = "(SELECT coalesce(owner, '') FROM ogc_jobs WHERE ogc_jobs.job_id = ogc_idempotency_keys.job_id)"
    op.execute(f"CREATE TABLE {_KEPT} AS SELECT {owner} AS owner, * FROM ogc_idempotency_keys")  # noqa: S608 constants
    op.drop_table("ogc_idempotency_keys")
    _create_keys("owner", "key")
    _put_back("owner, key, request_digest, job_id")


def downgrade() -> None:
    # a key that several owners have used is that of nobody
    op.execute(
        f"CREATE TABLE {_KEPT} AS SELECT * FROM ogc_idempotency_keys AS keys WHERE NOT EXISTS "  # noqa: S608 constants
        "(SELECT 1 FROM ogc_idempotency_keys AS others WHERE others.key = keys.key AND others.owner <> keys.owner)"
    )
    op.drop_table("ogc_idempotency_keys")
    _create_keys("key")
    _put_back("key, request_digest, job_id")
    op.drop_index("ix_ogc_jobs_waiting_owner", "ogc_jobs")
    op.drop_table("ogc_job_shares")


def _create_keys(*primary_key: str) -> None:
    owner = [sa.Column("owner", sa.String(512), nullable=False)] if "owner" in primary_key else []
    op.create_table(
        "ogc_idempotency_keys",
        *owner,
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["ogc_jobs.job_id"], name="fk_ogc_idempotency_keys_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(*primary_key, name="pk_ogc_idempotency_keys"),
    )
    op.create_index("ix_ogc_idempotency_keys_job_id", "ogc_idempotency_keys", ["job_id"])


def _put_back(columns: str) -> None:
    op.execute(f"INSERT INTO ogc_idempotency_keys ({columns}) SELECT {columns} FROM {_KEPT}")  # noqa: S608 constants
    op.drop_table(_KEPT)
