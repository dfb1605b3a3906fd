"""Every query of the job store."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
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
    literal,
    not_,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from pygeoapi_prefect.exceptions import ExecutionRefusedError, QueueFullError, UnknownJobError
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.records import (
    Claim,
    Job,
    JobDetails,
    LogLine,
    NewJob,
    Outcome,
    Outlook,
    Problem,
    Recording,
    RunnerRecord,
    utc_now,
)
from pygeoapi_prefect.jobs.tables import cleanups, job_logs, jobs, recordings, runners
from pygeoapi_prefect.schemas import JobStatus

LOGGER = logging.getLogger(__name__)

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
MESSAGE_SUCCESSFUL = "Job successful"
MESSAGE_DISMISSED = "Job dismissed"

_LARGE = {"request", "result"}
_SUMMARY = [column for column in jobs.c if column.name not in _LARGE]
_DETAILS = list(jobs.c)
_CLAIM_LOCK = 0x6F67635F636C6D
_WAITING, _CLEANUPS = -1, -2
_UNKNOWN_PROCESS_WAITS = timedelta(minutes=1)
_MAX_CLAIMS = 3  # a job that ends its runner again and again is not run for ever
_MAX_MESSAGE = 2000
_MAX_LOG_TEXT = 8192


class _epoch(FunctionElement[float]):  # noqa: N801 named like an SQL function
    """Seconds since the epoch by the database's clock: leases of several hosts are compared by it."""

    type = Float()
    inherit_cache = True


@compiles(_epoch, "postgresql")
def _epoch_postgresql(_element: Any, _compiler: Any, **_: Any) -> str:
    return "extract(epoch from clock_timestamp())::float8"


@compiles(_epoch, "sqlite")
def _epoch_sqlite(_element: Any, _compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


class JobStore:
    """
    The jobs, their logs, and the runners that hold claims.

    Guarantees: two runners never receive the same job; a terminal status never changes; an outcome is accepted only
    from the newest claim; progress never falls. Every method is one transaction and raises
    :class:`~pygeoapi_prefect.exceptions.JobStoreUnavailableError` when the database cannot be reached. Thread-safe.

    Args:
        database: Where the jobs are.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    # ---------------------------------------------------------------- clients' side

    def submit(self, new_job: NewJob, *, max_waiting: int) -> None:
        """
        Store a job as accepted.

        Raises:
            QueueFullError: *max_waiting* jobs wait already. Submissions at the same moment may pass it by their number.
            ExecutionRefusedError: A job of that id exists (409).
        """
        waiting = _count_waiting(max_waiting)
        values = {
            "job_id": new_job.job_id,
            "process_id": new_job.process_id,
            "status": JobStatus.ACCEPTED,
            "message": MESSAGE_ACCEPTED,
            "progress": 0,
            "created": new_job.created,
            "updated": new_job.created,
            "request": dict(new_job.request),
            "recorded": new_job.recorded,
        }
        row = select(*(literal(value, jobs.c[name].type) for name, value in values.items())).where(
            waiting < max_waiting
        )
        with self.database.write() as connection:
            try:
                inserted = connection.execute(insert(jobs).from_select(list(values), row)).rowcount
            except IntegrityError as error:
                refused = ExecutionRefusedError(user_msg=f"There is a job {new_job.job_id!r} already.")
                refused.http_status_code = 409  # type: ignore[assignment]
                raise refused from error
            self._notify(connection, WORK)
        if not inserted:
            raise QueueFullError(user_msg=f"{max_waiting} jobs are waiting, no more are taken. Try again later.")

    def add(self, job_id: str, process_id: str, columns: Mapping[str, Any]) -> None:
        """Store a job as it is told, in whatever status: for imports. *columns* are columns of ``ogc_jobs``."""
        now = utc_now()
        values = {"message": "", "progress": 0, "created": now, "updated": now, "request": {}, "recorded": False}
        with self.database.write() as connection:
            connection.execute(
                insert(jobs).values(values | dict(columns) | {"job_id": job_id, "process_id": process_id})
            )
            self._notify(connection, WORK)

    def update(self, job_id: str, columns: Mapping[str, Any]) -> bool:
        """Change a job that has not ended. *columns* are columns of ``ogc_jobs``; returns whether it was changed."""
        values: dict[str, Any] = {"updated": utc_now(), **columns}
        if "progress" in values:
            values["progress"] = self._raised_progress(values["progress"])
        with self.database.write() as connection:
            changed = connection.execute(
                update(jobs).where(jobs.c.job_id == job_id, _not_ended()).values(values)
            ).rowcount
            self._notify(connection, ENDED)
        return changed == 1

    def job(self, job_id: str) -> Job:
        """The job. Raises UnknownJobError."""
        with self.database.read() as connection:
            return _job(_one(connection, _SUMMARY, job_id))

    def details(self, job_id: str) -> JobDetails:
        """The job with its request and result. Raises UnknownJobError."""
        with self.database.read() as connection:
            return _details(_one(connection, _DETAILS, job_id))

    def status(self, job_id: str) -> JobStatus:
        """The job's status. Raises UnknownJobError."""
        with self.database.read() as connection:
            status: JobStatus = _one(connection, [jobs.c.status], job_id).status
            return status

    def list_jobs(
        self, *, status: JobStatus | None = None, limit: int | None = None, offset: int = 0
    ) -> tuple[list[Job], int]:
        """
        Jobs, newest first.

        Returns:
            The page, and how many jobs match, counted to ``offset + limit + 1`` at the most: enough to tell whether
            there is a next page, at the price of one row.
        """
        query = select(*_SUMMARY).order_by(jobs.c.number.desc()).offset(offset or None)
        if status is not None:
            query = query.where(jobs.c.status == status)
        if limit is not None:
            query = query.limit(limit + 1)
        with self.database.read() as connection:
            found = [_job(row) for row in connection.execute(query)]
            if offset and not found:
                # a page beyond the end: fewer match than the page leaves out
                matching = select(func.count()).select_from(jobs)
                return [], connection.scalar(
                    matching if status is None else matching.where(jobs.c.status == status)
                ) or 0
        return found[:limit], offset + len(found)

    def dismiss(self, job_id: str) -> Job | None:
        """
        Dismiss a job that has not ended; its runner stops the work when it sees that.

        Returns:
            The dismissed job, or None when the job had ended before.

        Raises:
            UnknownJobError: There is no such job.
        """
        now = utc_now()
        with self.database.write() as connection:
            row = connection.execute(
                update(jobs)
                .where(jobs.c.job_id == job_id, _not_ended())
                .values(status=JobStatus.DISMISSED, message=MESSAGE_DISMISSED, finished=now, updated=now)
                .returning(*_SUMMARY)
            ).one_or_none()
            if row is None:
                _one(connection, [jobs.c.number], job_id)
                return None
            if row.recorded:
                self._want_recorded(connection, [row])
            self._notify(connection, ENDED)
        return _job(row)

    def remove(self, job_id: str, *, clean_up: bool) -> bool:
        """
        Remove an ended job and its log.

        Args:
            job_id: The job.
            clean_up: Whether a runner shall let the processor remove its resources.

        Returns:
            False when the job has not ended, or there is none.
        """
        with self.database.write() as connection:
            row = connection.execute(
                delete(jobs).where(jobs.c.job_id == job_id, not_(_not_ended())).returning(*_DETAILS)
            ).one_or_none()
            if row is None:
                return False
            connection.execute(
                update(recordings).where(recordings.c.job_id == job_id).values(final=_details_to_json(_details(row)))
            )
            if clean_up:
                connection.execute(insert(cleanups).values(job_id=job_id, process_id=row.process_id))
            self._notify(connection, WORK)
        return True

    def counts(self) -> dict[JobStatus, int]:
        """How many jobs wait and how many run."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(jobs.c.status, func.count().label("total")).where(_not_ended()).group_by(jobs.c.status)
            ).all()
        return {JobStatus.ACCEPTED: 0, JobStatus.RUNNING: 0} | {row.status: row.total for row in rows}

    def logs(self, job_id: str, *, after: int = 0, limit: int = 10_000) -> list[LogLine]:
        """Lines of the job's log, oldest first, without the first *after*."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(job_logs.c.time, job_logs.c.level, job_logs.c.logger, job_logs.c.text)
                .where(job_logs.c.job_id == job_id, job_logs.c.line > after)
                .order_by(job_logs.c.line)
                .limit(limit)
            ).all()
        return [LogLine(*row) for row in rows]

    # ---------------------------------------------------------------- runners' side

    def register_runner(self, runner: RunnerRecord, *, lease: float) -> None:
        """Make a runner known, or known again, with a lease of *lease* seconds."""
        with self.database.write() as connection:
            connection.execute(delete(runners).where(runners.c.runner_id == runner.runner_id))
            connection.execute(
                insert(runners).values(
                    runner_id=runner.runner_id,
                    host=runner.host,
                    pid=runner.pid,
                    pid_started=runner.pid_started,
                    started=utc_now(),
                    lease_until=_epoch() + lease,
                )
            )

    def renew_lease(self, runner_id: str, *, lease: float) -> bool:
        """Prolong the runner's lease to *lease* seconds from now. False when it lapsed and its jobs were taken."""
        with self.database.write() as connection:
            renewed = connection.execute(
                update(runners).where(runners.c.runner_id == runner_id).values(lease_until=_epoch() + lease)
            ).rowcount
        return renewed == 1

    def living_runners(self) -> int:
        """How many runners hold a lease."""
        with self.database.read() as connection:
            living = select(func.count()).select_from(runners).where(runners.c.lease_until >= _epoch())
            return connection.scalar(living) or 0

    def release_runner(self, runner_id: str) -> None:
        """Forget a runner that ends in order."""
        with self.database.write() as connection:
            connection.execute(delete(runners).where(runners.c.runner_id == runner_id))

    def claim(
        self,
        runner_id: str,
        *,
        limit: int,
        process_limits: Mapping[str, int],
        record: bool,
        processes: Iterable[str] | None = None,
    ) -> list[JobDetails]:
        """
        Take the oldest accepted jobs and mark them running.

        Args:
            runner_id: A registered runner.
            limit: At most so many; at least 1.
            process_limits: How many jobs of a process may run at once, over all runners.
            record: Whether jobs that want it shall be recorded in Prefect.
            processes: Those that the runner knows; None: all. Jobs of others are left for a minute to a runner that
                knows them, then they are claimed as well.

        Returns:
            The jobs, oldest first, with ``started`` and ``claim_number`` set.

        Source:
            Status codes: OGC 18-062r2, ``statusCode.yaml``.
        """
        known = None if processes is None else list(processes)
        with self.database.write() as connection:
            if not process_limits:
                rows = self._claim(connection, runner_id, limit, (), known)
            else:
                # two runners must not count at the same time; SQLite has one writer anyway
                if not self.database.is_sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CLAIM_LOCK})
                rows = []
                while len(rows) < limit:
                    full = _full_processes(connection, process_limits)
                    claimed = self._claim(connection, runner_id, 1, full, known)
                    if not claimed:
                        break
                    rows += claimed
            if record:
                self._want_recorded(connection, [row for row in rows if row.recorded])
        return [_details(row) for row in sorted(rows, key=lambda row: row.number)]

    def _claim(
        self,
        connection: Connection,
        runner_id: str,
        limit: int,
        full_processes: Sequence[str],
        known_processes: Sequence[str] | None,
    ) -> list[Row[Any]]:
        now = utc_now()
        oldest = select(jobs.c.number).where(jobs.c.status == JobStatus.ACCEPTED).order_by(jobs.c.number).limit(limit)
        if full_processes:
            oldest = oldest.where(jobs.c.process_id.not_in(full_processes))
        if known_processes is not None:
            oldest = oldest.where(
                or_(jobs.c.process_id.in_(known_processes), jobs.c.created < now - _UNKNOWN_PROCESS_WAITS)
            )
        # materialized: PostgreSQL might else run the locking query more than once and lock more than *limit* rows
        picked = (
            oldest.with_for_update(skip_locked=True).cte("picked").prefix_with("MATERIALIZED", dialect="postgresql")
        )
        return list(
            connection.execute(
                update(jobs)
                .where(jobs.c.number.in_(select(picked.c.number)))
                .values(
                    status=JobStatus.RUNNING,
                    message=MESSAGE_RUNNING,
                    started=now,
                    updated=now,
                    runner_id=runner_id,
                    claim_number=jobs.c.claim_number + 1,
                )
                .returning(*_DETAILS)
            )
        )

    def outlook(self, runner_id: str) -> Outlook:
        """What is there for a runner to do, in one read."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(jobs.c.job_id, jobs.c.claim_number)
                .where(jobs.c.status == JobStatus.RUNNING, jobs.c.runner_id == runner_id)
                .union_all(
                    select(literal(None), literal(_WAITING)).where(
                        select(jobs.c.number).where(jobs.c.status == JobStatus.ACCEPTED).exists()
                    ),
                    select(literal(None), literal(_CLEANUPS)).where(select(cleanups.c.number).exists()),
                )
            ).all()
        marks = {number for job_id, number in rows if job_id is None}
        return Outlook(
            claims=frozenset(Claim(job_id, number) for job_id, number in rows if job_id is not None),
            jobs_wait=_WAITING in marks,
            cleanups_wait=_CLEANUPS in marks,
        )

    def report_progress(self, claim: Claim, percent: int, message: str | None) -> bool:
        """Raise the job's progress (0 to 99; 100 comes with success) and set its message. False for an old claim."""
        percent = min(max(percent, 0), 99)
        with self.database.write() as connection:
            changed = connection.execute(
                update(jobs)
                .where(*_held(claim))
                .values(
                    progress=self._raised_progress(percent),
                    updated=utc_now(),
                    **({} if message is None else {"message": message[:_MAX_MESSAGE]}),
                )
            ).rowcount
        return changed == 1

    def finish(self, claim: Claim, outcome: Outcome) -> bool:
        """End the job. False, and nothing changed, when it has ended already or was claimed anew."""
        now = utc_now()
        values: dict[str, Any] = {
            "status": outcome.status,
            "message": outcome.message[:_MAX_MESSAGE],
            "finished": now,
            "updated": now,
            "media_type": outcome.media_type and outcome.media_type[:255],
            "result": None if outcome.result is None else dict(outcome.result),
            "problem": None if outcome.problem is None else outcome.problem.to_json(),
        }
        if outcome.status is JobStatus.SUCCESSFUL:
            values["progress"] = 100
        with self.database.write() as connection:
            finished = connection.execute(update(jobs).where(*_held(claim)).values(values)).rowcount
            self._notify(connection, ENDED)
        return finished == 1

    def append_logs(self, job_id: str, first_line: int, lines: Iterable[LogLine]) -> None:
        """Add *lines* to the job's log, numbered from *first_line*; nothing happens when the job was deleted."""
        rows = [
            {
                "job_id": job_id,
                "line": number,
                "time": line.time,
                "level": line.level,
                "logger": line.logger[:255],
                "text": line.text[:_MAX_LOG_TEXT],
            }
            for number, line in enumerate(lines, first_line)
        ]
        if not rows:
            return
        try:
            with self.database.write() as connection:
                connection.execute(self._insert(job_logs).on_conflict_do_nothing(), rows)
        except IntegrityError:
            LOGGER.debug("log of a deleted job dropped", extra={"action": "append_logs", "job_id": job_id})

    def finish_lost(
        self, *, host: str, is_alive: Callable[[int, float], bool], rerun: Callable[[str], bool]
    ) -> list[Job]:
        """
        End the jobs of runners that are gone, or let them be run again.

        A runner is gone when its lease lapsed, or at once when it was on *host* and its process is.

        Args:
            host: As in :class:`RunnerRecord`.
            is_alive: Tells of a process id and start time on *host* whether that process lives.
            rerun: Tells of a process id (OGC's) whether its lost jobs are run again.

        Returns:
            The jobs as they are now.
        """
        of_no_runner = and_(
            jobs.c.runner_id.not_in(select(runners.c.runner_id).scalar_subquery()), jobs.c.runner_id != ELSEWHERE
        )
        with self.database.read() as connection:
            rows = connection.execute(select(runners, (runners.c.lease_until < _epoch()).label("has_lapsed"))).all()
            gone = [
                row.runner_id
                for row in rows
                if row.has_lapsed or (row.host == host and not is_alive(row.pid, row.pid_started))
            ]
            if not gone:
                orphan = select(jobs.c.number).where(jobs.c.status == JobStatus.RUNNING, of_no_runner).limit(1)
                if connection.execute(orphan).first() is None:
                    return []
        now = utc_now()
        lost: list[Job] = []
        with self.database.write() as connection:
            if gone:
                # a runner that renewed meanwhile is not gone, and keeps its jobs
                connection.execute(
                    delete(runners).where(
                        runners.c.runner_id.in_(gone), or_(runners.c.lease_until < _epoch(), runners.c.host == host)
                    )
                )
            for row in connection.execute(
                select(*_SUMMARY).where(jobs.c.status == JobStatus.RUNNING, of_no_runner).with_for_update()
            ).all():
                if row.claim_number < _MAX_CLAIMS and rerun(row.process_id):
                    values: dict[str, Any] = {
                        "status": JobStatus.ACCEPTED,
                        "message": "The runner of this job was lost; the job waits to run again",
                        "runner_id": None,
                    }
                else:
                    outcome = Outcome.failed("The job was lost: its runner ended while the job was running")
                    assert outcome.problem is not None
                    values = {
                        "status": outcome.status,
                        "message": outcome.message,
                        "problem": outcome.problem.to_json(),
                        "finished": now,
                    }
                changed = connection.execute(
                    update(jobs)
                    .where(*_held(Claim(row.job_id, row.claim_number)))
                    .values(updated=now, **values)
                    .returning(*_SUMMARY)
                ).one_or_none()
                if changed is not None:
                    lost.append(_job(changed))
            if lost:
                self._notify(connection, ENDED)
        return lost

    def add_cleanup(self, job_id: str, process_id: str) -> None:
        """Have a runner let the processor remove the job's resources."""
        with self.database.write() as connection:
            connection.execute(insert(cleanups).values(job_id=job_id, process_id=process_id))
            self._notify(connection, WORK)

    def next_cleanups(self, *, limit: int) -> list[tuple[int, str, str]]:
        """(number, job id, process id) of deleted jobs whose processor shall remove its resources."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(cleanups.c.number, cleanups.c.job_id, cleanups.c.process_id)
                .order_by(cleanups.c.number)
                .limit(limit)
            ).all()
        return [(row.number, row.job_id, row.process_id) for row in rows]

    def take_cleanup(self, number: int) -> bool:
        """Take a clean-up off the list; False when another runner was faster."""
        with self.database.write() as connection:
            return connection.execute(delete(cleanups).where(cleanups.c.number == number)).rowcount == 1

    # ---------------------------------------------------------------- recorder's side

    def recordings(self, *, ended: bool, limit: int, runner_id: str | None = None) -> list[Recording]:
        """
        Jobs that Prefect does not show completely yet, oldest first.

        Args:
            ended: Those that have ended; else those that run.
            limit: At most so many.
            runner_id: Only those of this runner. The runner that is registered longest has those of nobody as well:
                of runners that are gone, and of jobs that never ran. None: all.
        """
        status = or_(jobs.c.job_id.is_(None), not_(_not_ended())) if ended else jobs.c.status == JobStatus.RUNNING
        if runner_id is not None:
            living = select(runners.c.runner_id)
            eldest = living.order_by(runners.c.started, runners.c.runner_id).limit(1).scalar_subquery()
            of_nobody = or_(jobs.c.runner_id.is_(None), jobs.c.runner_id.not_in(living))
            status = and_(status, or_(jobs.c.runner_id == runner_id, and_(of_nobody, literal(runner_id) == eldest)))
        with self.database.read() as connection:
            rows = connection.execute(
                select(
                    recordings.c.job_id.label("recorded_job_id"),
                    recordings.c.process_id.label("recorded_process_id"),
                    recordings.c.flow_run_id.label("recorded_flow_run_id"),
                    recordings.c.logs_sent,
                    recordings.c.final,
                    *_DETAILS,
                )
                .select_from(recordings.outerjoin(jobs, jobs.c.job_id == recordings.c.job_id))
                .where(status)
                .order_by(recordings.c.number)
                .limit(limit)
            ).all()
        return [
            Recording(
                job_id=row.recorded_job_id,
                process_id=row.recorded_process_id,
                flow_run_id=row.recorded_flow_run_id,
                logs_sent=row.logs_sent,
                details=_details(row) if row.job_id is not None else _details_from_json(row.final),
                is_deleted=row.job_id is None,
            )
            for row in rows
            if row.job_id is not None or row.final is not None
        ]

    def update_recording(self, job_id: str, *, flow_run_id: UUID | None = None, logs_sent: int | None = None) -> None:
        """Keep what Prefect has by now, so that a new runner goes on from there."""
        values = {"flow_run_id": flow_run_id, "logs_sent": logs_sent}
        with self.database.write() as connection:
            connection.execute(
                update(recordings)
                .where(recordings.c.job_id == job_id)
                .values({name: value for name, value in values.items() if value is not None})
            )
            if flow_run_id is not None:
                connection.execute(update(jobs).where(jobs.c.job_id == job_id).values(flow_run_id=flow_run_id))

    def end_recording(self, job_id: str) -> None:
        """Prefect shows the job completely."""
        with self.database.write() as connection:
            connection.execute(delete(recordings).where(recordings.c.job_id == job_id))

    def recording_backlog(self) -> int:
        """How many jobs wait to be recorded, wholly or in part."""
        with self.database.read() as connection:
            return connection.scalar(select(func.count()).select_from(recordings)) or 0

    def trim_recordings(self, keep: int) -> int:
        """Give up the oldest recordings beyond *keep*; returns how many."""
        newest = select(recordings.c.number).order_by(recordings.c.number.desc()).limit(1).offset(keep)
        with self.database.write() as connection:
            return connection.execute(
                delete(recordings).where(recordings.c.number <= newest.scalar_subquery())
            ).rowcount

    # ---------------------------------------------------------------- pieces

    def _raised_progress(self, percent: int) -> Any:
        greatest = func.max if self.database.is_sqlite else func.greatest
        return greatest(jobs.c.progress, percent)

    def _insert(self, table: Any) -> Any:
        return sqlite.insert(table) if self.database.is_sqlite else postgresql.insert(table)

    def _want_recorded(self, connection: Connection, rows: Sequence[Row[Any]]) -> None:
        if rows:
            statement: Insert = self._insert(recordings).on_conflict_do_nothing(index_elements=["job_id"])
            connection.execute(statement, [{"job_id": row.job_id, "process_id": row.process_id} for row in rows])

    def _notify(self, connection: Connection, change: str) -> None:
        if not self.database.is_sqlite:
            connection.execute(text(f"NOTIFY {CHANNEL}, '{change}'"))


def _not_ended() -> ColumnElement[bool]:
    return jobs.c.status.in_([JobStatus.ACCEPTED, JobStatus.RUNNING])


def _held(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        jobs.c.job_id == claim.job_id,
        jobs.c.claim_number == claim.number,
        jobs.c.status == JobStatus.RUNNING,
    )


def _count_waiting(at_most: int) -> Any:
    some = select(jobs.c.number).where(jobs.c.status == JobStatus.ACCEPTED).limit(at_most).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


def _full_processes(connection: Connection, limits: Mapping[str, int]) -> list[str]:
    running = connection.execute(
        select(jobs.c.process_id, func.count())
        .where(jobs.c.status == JobStatus.RUNNING, jobs.c.process_id.in_(limits))
        .group_by(jobs.c.process_id)
    ).all()
    return [process_id for process_id, count in running if count >= limits[process_id]]


def _one(connection: Connection, columns: Sequence[Any], job_id: str) -> Row[Any]:
    row = connection.execute(select(*columns).where(jobs.c.job_id == job_id)).one_or_none()
    if row is None:
        raise UnknownJobError(f"There is no job {job_id!r}")
    return row


def _job(row: Row[Any]) -> Job:
    values = {column.name: getattr(row, column.name) for column in _SUMMARY}
    values["problem"] = Problem(**row.problem) if row.problem else None
    return Job(**values)


def _details(row: Row[Any]) -> JobDetails:
    return JobDetails(job=_job(row), request=row.request, result=row.result)


_TIMES = ("created", "updated", "started", "finished")


def _details_to_json(details: JobDetails) -> dict[str, Any]:
    job = details.job
    values: dict[str, Any] = {name: getattr(job, name) for name in Job.__dataclass_fields__}
    values |= {name: time.isoformat() for name in _TIMES if (time := values[name])}
    values |= {
        "problem": job.problem and job.problem.to_json(),
        "flow_run_id": job.flow_run_id and str(job.flow_run_id),
        "request": dict(details.request),
    }
    return values


def _details_from_json(values: dict[str, Any]) -> JobDetails:
    values = dict(values)
    request = values.pop("request")
    values |= {name: datetime.fromisoformat(time).astimezone(UTC) for name in _TIMES if (time := values[name])}
    values |= {
        "status": JobStatus(values["status"]),
        "problem": Problem(**values["problem"]) if values["problem"] else None,
        "flow_run_id": UUID(values["flow_run_id"]) if values["flow_run_id"] else None,
    }
    return JobDetails(job=Job(**values), request=request, result=None)
