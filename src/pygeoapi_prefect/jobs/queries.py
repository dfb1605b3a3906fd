"""What every query of the job store shares: words, conditions, and rows turned into records."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Insert,
    Row,
    and_,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from pygeoapi_prefect.exceptions import UnknownJobError
from pygeoapi_prefect.identity.user import User
from pygeoapi_prefect.jobs.access import Access
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.records import (
    CallbackKind,
    Claim,
    Job,
    JobDetails,
    Problem,
)
from pygeoapi_prefect.jobs.tables import callbacks, job_secrets, jobs, recordings
from pygeoapi_prefect.schemas import JobStatus

CHANNEL = "ogc_jobs"
"""PostgreSQL notifications are sent here when jobs change, with one of the words below."""

WORK = "work"
"""There may be something to do for a runner."""

ENDED = "ended"
"""A job may have ended: for whoever waits for it, and for the runner that works on it or waits for its place."""

ELSEWHERE = "elsewhere"
"""In place of a runner: the job runs outside this package, which only keeps its record."""

MESSAGE_ACCEPTED = "Job accepted"
MESSAGE_RUNNING = "Job running"
MESSAGE_HANDED_OVER = "Job handed over to Prefect"
MESSAGE_SUCCESSFUL = "Job successful"
MESSAGE_DISMISSED = "Job dismissed"

_LARGE = {"request", "result", "submitted_by", "usage", "trace_parent"}
SUMMARY = [column for column in jobs.c if column.name not in _LARGE]
DETAILS = list(jobs.c)
TOLD = [jobs.c.job_id, jobs.c.status, jobs.c.subscribed]
"""What every change of a job returns, for those who are called back."""
MAX_MESSAGE = 2000


class database_epoch(FunctionElement[float]):  # noqa: N801 named like an SQL function
    """Seconds since the epoch by the database's clock: leases of several hosts are compared by it."""

    type = Float()
    inherit_cache = True


@compiles(database_epoch, "postgresql")
def _epoch_postgresql(_element: Any, _compiler: Any, **_: Any) -> str:
    return "extract(epoch from clock_timestamp())::float8"


@compiles(database_epoch, "sqlite")
def _epoch_sqlite(_element: Any, _compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


_KIND_OF_STATUS = {
    JobStatus.ACCEPTED: CallbackKind.IN_PROGRESS,
    JobStatus.RUNNING: CallbackKind.IN_PROGRESS,
    JobStatus.SUCCESSFUL: CallbackKind.SUCCESS,
    JobStatus.FAILED: CallbackKind.FAILED,
    JobStatus.DISMISSED: CallbackKind.FAILED,
}


class Queries:
    """
    Base of the sides of the job store.

    Args:
        database: Where the jobs are.
        access: Whose jobs clients may see here; None: everybody's. Queries of runners, recorders and callbacks see
            all jobs in any case.
    """

    def __init__(self, database: Database, access: Access | None = None) -> None:
        self.database = database
        self._access = access

    def _raised_progress(self, percent: int) -> Any:
        greatest = func.max if self.database.is_sqlite else func.greatest
        return greatest(jobs.c.progress, percent)

    def _insert(self, table: Any) -> Any:
        return sqlite.insert(table) if self.database.is_sqlite else postgresql.insert(table)

    def _want_recorded(self, connection: Connection, rows: Sequence[Row[Any]]) -> None:
        if rows:
            statement: Insert = self._insert(recordings).on_conflict_do_nothing(index_elements=["job_id"])
            connection.execute(statement, [{"job_id": row.job_id, "process_id": row.process_id} for row in rows])

    def _subscribe(self, connection: Connection, job_id: str, subscriber: Mapping[str, str]) -> None:
        rows = [
            {"job_id": job_id, "kind": kind, "url": subscriber[kind], "host": host_of(subscriber[kind])}
            for kind in CallbackKind
            if subscriber.get(kind)
        ]
        connection.execute(insert(callbacks), rows)

    def _tell(self, connection: Connection, changed: Sequence[Row[Any]]) -> None:
        """Have those called back who want to know of jobs that have changed; *changed* has :data:`TOLD`."""
        by_status: dict[JobStatus, list[str]] = {}
        for row in changed:
            if row.subscribed:
                by_status.setdefault(row.status, []).append(row.job_id)
        for status, job_ids in by_status.items():
            kind = _KIND_OF_STATUS[status]
            of_jobs = callbacks.c.job_id.in_(job_ids)
            if status.is_terminal:
                connection.execute(delete(callbacks).where(of_jobs, callbacks.c.kind != kind))
            connection.execute(
                update(callbacks).where(of_jobs, callbacks.c.kind == kind).values(wanted=callbacks.c.wanted + 1)
            )
        if by_status:
            self._notify(connection, WORK)

    def _forget_secrets(self, connection: Connection, ended: Sequence[Row[Any]]) -> None:
        """Erase the secrets of jobs that have ended; *ended* has :data:`TOLD`."""
        job_ids = [row.job_id for row in ended if row.status.is_terminal]
        if job_ids:
            connection.execute(delete(job_secrets).where(job_secrets.c.job_id.in_(job_ids)))

    def _notify(self, connection: Connection, change: str) -> None:
        if not self.database.is_sqlite:
            connection.execute(text(f"NOTIFY {CHANNEL}, '{change}'"))


def not_ended() -> ColumnElement[bool]:
    return jobs.c.finished.is_(None)


def goes_on() -> ColumnElement[bool]:
    """The same as :func:`not_ended`, for counts: the index of statuses finds those jobs among all that have ended."""
    return jobs.c.status.in_([status for status in JobStatus if not status.is_terminal])


def waiting() -> ColumnElement[bool]:
    """Jobs that no runner holds yet."""
    return and_(jobs.c.finished.is_(None), jobs.c.runner_id.is_(None))


def held() -> ColumnElement[bool]:
    """Jobs that a runner holds: they run, or were handed over to Prefect and have not begun there."""
    return and_(jobs.c.finished.is_(None), jobs.c.runner_id.is_not(None))


def held_by(claim: Claim) -> ColumnElement[bool]:
    """The job of a claim, unless it has ended, was given back or was claimed anew."""
    return and_(jobs.c.job_id == claim.job_id, jobs.c.claim_number == claim.number, held())


def due() -> ColumnElement[bool]:
    """Callbacks to be made now."""
    return and_(callbacks.c.wanted > callbacks.c.told, callbacks.c.due <= database_epoch())


def one(connection: Connection, columns: Sequence[Any], job_id: str, *conditions: ColumnElement[bool]) -> Row[Any]:
    # what is not printable, no database takes as a text
    query = select(*columns).where(jobs.c.job_id == job_id, *conditions)
    row = connection.execute(query).one_or_none() if job_id.isprintable() else None
    if row is None:
        raise UnknownJobError(f"There is no job {job_id!r}")
    return row


def to_job(row: Row[Any]) -> Job:
    values = {column.name: getattr(row, column.name) for column in SUMMARY}
    values["problem"] = Problem(**row.problem) if row.problem else None
    return Job(**values)


def to_details(row: Row[Any]) -> JobDetails:
    user = User.from_json(row.submitted_by) if row.submitted_by else None
    return JobDetails(
        job=to_job(row),
        request=row.request,
        result=row.result,
        user=user,
        usage=row.usage,
        trace_parent=row.trace_parent,
    )


_TIMES = ("created", "updated", "started", "finished")


def details_to_json(details: JobDetails) -> dict[str, Any]:
    job = details.job
    values: dict[str, Any] = {name: getattr(job, name) for name in Job.__dataclass_fields__}
    values |= {name: time.isoformat() for name in _TIMES if (time := values[name])}
    values |= {
        "problem": job.problem and job.problem.to_json(),
        "flow_run_id": job.flow_run_id and str(job.flow_run_id),
        "request": dict(details.request),
    }
    return values


def details_from_json(values: dict[str, Any]) -> JobDetails:
    values = dict(values)
    request = values.pop("request")
    values |= {name: datetime.fromisoformat(time).astimezone(UTC) for name in _TIMES if (time := values[name])}
    values |= {
        "status": JobStatus(values["status"]),
        "problem": Problem(**values["problem"]) if values["problem"] else None,
        "flow_run_id": UUID(values["flow_run_id"]) if values["flow_run_id"] else None,
    }
    return JobDetails(job=Job(**values), request=request, result=None)


def host_of(url: str) -> str:
    """Host and port as the URL names them, in lower case: all that may be shown of it."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()[:255]
