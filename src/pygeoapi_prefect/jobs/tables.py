"""
The job store's tables.

They may share a PostgreSQL database with others (Prefect's, pygeoapi's own manager's ``jobs``), hence the prefix.
:data:`REVISION` names the alembic revision that these definitions stand for; a test keeps both in step.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    and_,
    false,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from pygeoapi_prefect.schemas import JobStatus

REVISION = "0009"
VERSION_TABLE = "ogc_alembic_version"

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC on both databases; SQLite itself keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        time: datetime = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return time


class AnyJson(TypeDecorator[Any]):
    """
    What Python's json can hold, as it is: order of keys, kinds of numbers, NaN, any text.

    A text, for PostgreSQL's ``jsonb`` sorts keys and refuses NUL and lone surrogates, and its ``json`` refuses NaN:
    requests would be answered 500 and jobs could not end.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class AnyText(TypeDecorator[str]):
    """What code says about itself: the characters that no database stores (NUL, lone surrogates) are replaced."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else _UNSTORABLE.sub("\ufffd", value)


class duration(FunctionElement[float]):  # noqa: N801 named like an SQL function
    """Seconds from the first time to the second, to the millisecond; NULL where one is."""

    type = Float()
    inherit_cache = True


@compiles(duration, "postgresql")
def _duration_postgresql(element: Any, compiler: Any, **keys: Any) -> str:
    start, end = (compiler.process(time, **keys) for time in element.clauses)
    return f"round(extract(epoch from ({end} - {start})), 3)"


@compiles(duration, "sqlite")
def _duration_sqlite(element: Any, compiler: Any, **keys: Any) -> str:
    start, end = (compiler.process(time, **keys) for time in element.clauses)
    return f"round((julianday({end}) - julianday({start})) * 86400.0, 3)"


def _rising() -> Any:
    # SQLite counts by itself only in a column of exactly the type INTEGER
    return BigInteger().with_variant(Integer(), "sqlite")


job_status = Enum(
    JobStatus,
    name="ogc_job_status",
    values_callable=lambda statuses: [status.value for status in statuses],
    create_constraint=True,
    length=16,
)

jobs = Table(
    "ogc_jobs",
    metadata,
    Column("number", _rising(), primary_key=True, autoincrement=True),
    Column("job_id", String(64), nullable=False, unique=True),
    Column("process_id", String(255), nullable=False),
    Column("status", job_status, nullable=False),
    Column("message", AnyText, nullable=False),
    Column("progress", SmallInteger, CheckConstraint("progress BETWEEN 0 AND 100", name="progress"), nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("updated", UtcDateTime, nullable=False),
    Column("started", UtcDateTime),
    Column("finished", UtcDateTime),
    Column("request", AnyJson, nullable=False),
    Column("recorded", Boolean, nullable=False),
    Column("claim_number", Integer, nullable=False, server_default="0"),
    Column("runner_id", String(64)),
    Column("media_type", String(255)),
    Column("result", AnyJson),
    Column("problem", AnyJson),
    Column("flow_run_id", Uuid),
    Column("subscribed", Boolean, nullable=False, server_default=false()),
    Column("owner", String(512)),
    Column("submitted_by", AnyJson),
    Column("usage", AnyJson),
    Column("trace_parent", String(64)),
    CheckConstraint(
        "(finished IS NOT NULL) = (status IN ('successful', 'failed', 'dismissed'))",
        name="finished",
    ),
    CheckConstraint("status <> 'running' OR (started IS NOT NULL AND runner_id IS NOT NULL)", name="running"),
    sqlite_autoincrement=True,
)

# Waiting are jobs that have not ended and that no runner holds; held are those that have not ended and that one does:
# running ones, and those that were handed over to Prefect and have not begun there.
# what the claim reads: the oldest waiting jobs
_is_waiting = and_(jobs.c.finished.is_(None), jobs.c.runner_id.is_(None))
Index("ix_ogc_jobs_waiting", jobs.c.number, postgresql_where=_is_waiting, sqlite_where=_is_waiting)
# what the limit of waiting jobs of each owner counts
Index("ix_ogc_jobs_waiting_owner", jobs.c.owner, postgresql_where=_is_waiting, sqlite_where=_is_waiting)
# what the limits, the sweep of lost runners and the dismissals read: the few held jobs
_is_held = and_(jobs.c.finished.is_(None), jobs.c.runner_id.is_not(None))
Index("ix_ogc_jobs_held", jobs.c.runner_id, jobs.c.process_id, postgresql_where=_is_held, sqlite_where=_is_held)
# the list, newest first, by itself and by each of its filters
Index("ix_ogc_jobs_created", jobs.c.created, jobs.c.number)
Index("ix_ogc_jobs_status_created", jobs.c.status, jobs.c.created, jobs.c.number)
Index("ix_ogc_jobs_process_id_created", jobs.c.process_id, jobs.c.created, jobs.c.number)
Index("ix_ogc_jobs_owner_created", jobs.c.owner, jobs.c.created, jobs.c.number)
Index("ix_ogc_jobs_duration", duration(jobs.c.started, jobs.c.finished), jobs.c.number)

job_logs = Table(
    "ogc_job_logs",
    metadata,
    Column("job_id", String(64), ForeignKey("ogc_jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("time", UtcDateTime, nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("logger", AnyText, nullable=False),
    Column("text", AnyText, nullable=False),
)

idempotency_keys = Table(
    "ogc_idempotency_keys",
    metadata,
    # that of the job; empty where nobody is known
    Column("owner", String(512), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("request_digest", String(64), nullable=False),
    Column("job_id", String(64), ForeignKey("ogc_jobs.job_id", ondelete="CASCADE"), nullable=False),
)
Index("ix_ogc_idempotency_keys_job_id", idempotency_keys.c.job_id)

# Who may read a job beside its owner.
job_shares = Table(
    "ogc_job_shares",
    metadata,
    Column("job_id", String(64), ForeignKey("ogc_jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("grantee", String(1024), primary_key=True),
)
Index("ix_ogc_job_shares_grantee", job_shares.c.grantee, job_shares.c.job_id)

# Secret inputs and access tokens, encrypted: from the acceptance of the job to its end, and no longer.
job_secrets = Table(
    "ogc_job_secrets",
    metadata,
    Column("job_id", String(64), ForeignKey("ogc_jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("sealed", Text, nullable=False),
)

runners = Table(
    "ogc_runners",
    metadata,
    Column("runner_id", String(64), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pid_started", Float, nullable=False),
    Column("started", UtcDateTime, nullable=False),
    Column("lease_until", Float, nullable=False, comment="seconds since the epoch by the database's clock"),
)

recordings = Table(
    "ogc_recordings",
    metadata,
    Column("number", _rising(), primary_key=True, autoincrement=True),
    # no foreign key: a job may be deleted before Prefect has its end
    Column("job_id", String(64), nullable=False, unique=True),
    Column("process_id", String(255), nullable=False),
    Column("flow_run_id", Uuid),
    Column("logs_sent", Integer, nullable=False, server_default="0"),
    Column("final", AnyJson),
    sqlite_autoincrement=True,
)

cleanups = Table(
    "ogc_cleanups",
    metadata,
    Column("number", _rising(), primary_key=True, autoincrement=True),
    Column("job_id", String(64), nullable=False),
    Column("process_id", String(255), nullable=False),
    sqlite_autoincrement=True,
)

# One row for each URL that a client wants to be called, from the job's acceptance until its last call.
callbacks = Table(
    "ogc_callbacks",
    metadata,
    Column("number", _rising(), primary_key=True, autoincrement=True),
    Column("job_id", String(64), ForeignKey("ogc_jobs.job_id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("url", Text, nullable=False),
    # of the URL, with its port: calls of one host are few at a time
    Column("host", String(255), nullable=False),
    # how many pieces of news there were, and the last of them that was told or given up
    Column("wanted", Integer, nullable=False, server_default="0"),
    Column("told", Integer, nullable=False, server_default="0"),
    # fences off a runner whose claim has lapsed
    Column("claims", Integer, nullable=False, server_default="0"),
    # since the last call that arrived
    Column("failures", Integer, nullable=False, server_default="0"),
    # not called before: for it is called now, failed a moment ago, or was told a moment ago
    Column(
        "due",
        Float,
        nullable=False,
        server_default="0",
        comment="seconds since the epoch by the database's clock",
    ),
    UniqueConstraint("job_id", "kind"),
    sqlite_autoincrement=True,
)

_is_to_be_told = callbacks.c.wanted > callbacks.c.told
Index("ix_ogc_callbacks_due", callbacks.c.due, postgresql_where=_is_to_be_told, sqlite_where=_is_to_be_told)
