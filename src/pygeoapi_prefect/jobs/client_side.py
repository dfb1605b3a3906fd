"""The job store as web processes and the command line use it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    literal,
    not_,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError

from pygeoapi_prefect.exceptions import (
    IdempotencyKeyReusedError,
    JobExistsError,
    JobOfAnotherError,
    QueueFullError,
    UnknownJobError,
    UserQueueFullError,
)
from pygeoapi_prefect.identity import User
from pygeoapi_prefect.jobs.access import Access, access_of
from pygeoapi_prefect.jobs.job_filter import EVERY_JOB, JobFilter
from pygeoapi_prefect.jobs.queries import (
    DETAILS,
    ELSEWHERE,
    ENDED,
    MESSAGE_ACCEPTED,
    MESSAGE_DISMISSED,
    SUMMARY,
    TOLD,
    WORK,
    Queries,
    details_to_json,
    goes_on,
    held,
    not_ended,
    one,
    to_details,
    to_job,
    waiting,
)
from pygeoapi_prefect.jobs.records import (
    Job,
    JobDetails,
    LogLine,
    NewJob,
    utc_now,
)
from pygeoapi_prefect.jobs.tables import cleanups, idempotency_keys, job_logs, job_secrets, jobs, recordings
from pygeoapi_prefect.schemas import JobStatus


class ClientSide(Queries):
    """Submits, shows, dismisses and removes jobs."""

    def seen_by(self, user: User | None) -> Self:
        """
        The same job store as *user* may see and change it; None: somebody unknown. Costs nothing.

        Jobs that they may not see are unknown here, in the list, in counts and by their ids.
        """
        return type(self)(self.database, access_of(user))

    def submit(self, new_job: NewJob, *, max_waiting: int, max_waiting_per_user: int | None = None) -> str:
        """
        Store a job as accepted.

        Args:
            new_job: The job. Idempotency keys are those of its user.
            max_waiting: How many jobs may wait.
            max_waiting_per_user: How many of one user may; those that nobody known made count as one user's.

        Returns:
            The job's id: of an earlier job where one was made with the same idempotency key and request.

        Raises:
            QueueFullError: So many jobs wait already. Submissions at the same moment may pass it by their number.
            UserQueueFullError: So many of that user do.
            JobExistsError: A job of that id exists.
            IdempotencyKeyReusedError: The key was used for another request.
        """
        if (job_id := self._job_of_key(new_job)) is not None:
            return job_id
        try:
            self._insert_job(new_job, max_waiting, max_waiting_per_user)
        except IntegrityError as error:
            # the same request at the same moment, which was faster
            if (job_id := self._job_of_key(new_job)) is not None:
                return job_id
            raise self.job_exists(new_job.job_id) from error
        return new_job.job_id

    def job_exists(self, job_id: str, reason: str | None = None) -> JobExistsError:
        """
        The error that stands for a job id which is taken. It does not tell of jobs that are unknown here.

        Args:
            job_id: That a client proposed.
            reason: For the log.
        """
        try:
            self.status(job_id)
        except UnknownJobError:
            return JobExistsError(reason, user_msg=f"The job id {job_id!r} cannot be had. Propose another one.")
        return JobExistsError(user_msg=f"There is a job {job_id!r} already.")

    def _job_of_key(self, new_job: NewJob) -> str | None:
        if (key := new_job.idempotency_key) is None:
            return None
        with self.database.read() as connection:
            row = connection.execute(
                select(idempotency_keys.c.job_id, idempotency_keys.c.request_digest).where(
                    idempotency_keys.c.owner == _key_owner(new_job), idempotency_keys.c.key == key.key
                )
            ).one_or_none()
        if row is None:
            return None
        if row.request_digest != key.request_digest:
            raise IdempotencyKeyReusedError()
        job_id: str = row.job_id
        return job_id

    def _insert_job(self, new_job: NewJob, max_waiting: int, max_waiting_per_user: int | None) -> None:
        is_room = [_fewer_than(max_waiting, waiting())]
        if max_waiting_per_user is not None:
            is_room.append(_fewer_than(max_waiting_per_user, waiting(), Access(new_job.user).changed()))
        request = dict(new_job.request)
        subscriber = request.pop("subscriber", None)
        values = {
            "job_id": new_job.job_id,
            "process_id": new_job.process_id,
            "status": JobStatus.ACCEPTED,
            "message": MESSAGE_ACCEPTED,
            "progress": 0,
            "created": new_job.created,
            "updated": new_job.created,
            "request": request,
            "recorded": new_job.recorded,
            "subscribed": bool(subscriber),
            "owner": new_job.user and new_job.user.key,
            "submitted_by": new_job.user and new_job.user.to_json(),
            "trace_parent": new_job.trace_parent,
        }
        row = select(*(literal(value, jobs.c[name].type) for name, value in values.items())).where(*is_room)
        with self.database.write() as connection:
            inserted = connection.execute(insert(jobs).from_select(list(values), row)).rowcount
            if inserted and new_job.idempotency_key is not None:
                key = {"owner": _key_owner(new_job), **asdict(new_job.idempotency_key), "job_id": new_job.job_id}
                connection.execute(insert(idempotency_keys).values(key))
            if inserted and new_job.sealed is not None:
                connection.execute(insert(job_secrets).values(job_id=new_job.job_id, sealed=new_job.sealed))
            if inserted and subscriber:
                self._subscribe(connection, new_job.job_id, subscriber)
            self._notify(connection, WORK)
            is_full = not inserted and not connection.scalar(select(is_room[0]))
        if is_full:
            raise QueueFullError(user_msg=f"{max_waiting} jobs are waiting, no more are taken. Try again later.")
        if not inserted:
            raise UserQueueFullError(
                user_msg=f"{max_waiting_per_user} of your jobs are waiting, no more are taken. Try again later."
            )

    def add(self, job_id: str, process_id: str, columns: Mapping[str, Any]) -> None:
        """Store a job as it is told, in whatever status: for imports. *columns* are columns of ``ogc_jobs``."""
        now = utc_now()
        values = {
            "message": "",
            "progress": 0,
            "created": now,
            "updated": now,
            "request": {},
            "recorded": False,
            "runner_id": ELSEWHERE,
        }
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
                update(jobs).where(jobs.c.job_id == job_id, not_ended()).values(values).returning(*TOLD)
            ).all()
            self._tell(connection, changed)
            self._forget_secrets(connection, changed)
            self._notify(connection, ENDED)
        return len(changed) == 1

    def _seen(self, connection: Connection, columns: Sequence[Any], job_id: str) -> Row[Any]:
        return one(connection, columns, job_id, *([] if self._access is None else [self._access.read()]))

    def job(self, job_id: str) -> Job:
        """The job. Raises UnknownJobError."""
        with self.database.read() as connection:
            return to_job(self._seen(connection, SUMMARY, job_id))

    def details(self, job_id: str) -> JobDetails:
        """The job with its request and result. Raises UnknownJobError."""
        with self.database.read() as connection:
            return to_details(self._seen(connection, DETAILS, job_id))

    def status(self, job_id: str) -> JobStatus:
        """The job's status. Raises UnknownJobError."""
        with self.database.read() as connection:
            status: JobStatus = self._seen(connection, [jobs.c.status], job_id).status
            return status

    def list_jobs(
        self, job_filter: JobFilter = EVERY_JOB, *, limit: int | None = None, offset: int = 0
    ) -> tuple[list[Job], int]:
        """
        Jobs, newest first: by their time of creation, then by their arrival.

        Returns:
            The page, and how many jobs match, counted to ``offset + limit + 1`` at the most: enough to tell whether
            there is a next page, at the price of one row.
        """
        listed = self._listed(job_filter)
        if not listed:
            return [], 0
        end = None if limit is None else offset + limit + 1
        # indexes hold the numbers: of jobs that are not on the page, whose requests may be large, no row is read
        numbers = _newest(listed, offset, end).subquery()
        query = select(*SUMMARY).join(numbers, numbers.c.number == jobs.c.number).order_by(*_newest_first(jobs))
        with self.database.read() as connection:
            found = [to_job(row) for row in connection.execute(query)]
            if offset and not found:
                # a page beyond the end: fewer match than the page leaves out
                matching = union_all(*listed).subquery()
                return [], connection.scalar(select(func.count()).select_from(matching)) or 0
        return found[:limit], offset + len(found)

    def _listed(self, job_filter: JobFilter) -> list[Select[Any]]:
        """Parts of the list, which have no job in common, without an order."""
        rows = select(jobs.c.number, jobs.c.created)
        is_sqlite = self.database.is_sqlite
        if self._access is None:
            return [rows.where(*job_filter.conditions(utc_now(), by_union=is_sqlite))]
        conditions = list(job_filter.conditions(utc_now(), by_union=False))
        if is_sqlite and conditions:
            # it knows nothing of the values, and might read everybody's jobs by an index of the filter's: so that is
            # hidden from it
            conditions = [and_(*conditions).is_(True)]
        return [rows.where(part, *conditions) for part in self._access.listed()]

    def dismiss(self, job_id: str) -> Job | None:
        """
        Dismiss a job that has not ended; its runner stops the work when it sees that.

        Returns:
            The dismissed job, or None when the job had ended before.

        Raises:
            UnknownJobError: There is no such job.
            JobOfAnotherError: There is, and it may be read only.
        """
        now = utc_now()
        with self.database.write() as connection:
            self._require_own(connection, job_id)
            row = connection.execute(
                update(jobs)
                .where(jobs.c.job_id == job_id, not_ended())
                .values(status=JobStatus.DISMISSED, message=MESSAGE_DISMISSED, finished=now, updated=now)
                .returning(*SUMMARY)
            ).one_or_none()
            if row is None:
                one(connection, [jobs.c.number], job_id)
                return None
            if row.recorded:
                self._want_recorded(connection, [row])
            self._tell(connection, [row])
            self._forget_secrets(connection, [row])
            self._notify(connection, ENDED)
        return to_job(row)

    def dismiss_flow_run(self, flow_run_id: UUID) -> Job | None:
        """Dismiss the job that a flow run belongs to, which somebody cancelled; None when there is none to dismiss."""
        with self.database.read() as connection:
            job_id = connection.scalar(select(jobs.c.job_id).where(held(), jobs.c.flow_run_id == flow_run_id))
        return None if job_id is None else self.dismiss(job_id)

    def remove(self, job_id: str, *, clean_up: bool) -> bool:
        """
        Remove an ended job and its log.

        Args:
            job_id: The job.
            clean_up: Whether a runner shall let the processor remove its resources.

        Returns:
            False when the job has not ended, or there is none.

        Raises:
            JobOfAnotherError: It may be read only.
            UnknownJobError: It may not even be read.
        """
        with self.database.write() as connection:
            self._require_own(connection, job_id)
            row = connection.execute(
                delete(jobs).where(jobs.c.job_id == job_id, not_(not_ended())).returning(*DETAILS)
            ).one_or_none()
            if row is None:
                return False
            connection.execute(
                update(recordings).where(recordings.c.job_id == job_id).values(final=details_to_json(to_details(row)))
            )
            if clean_up:
                connection.execute(insert(cleanups).values(job_id=job_id, process_id=row.process_id))
            self._notify(connection, WORK)
        return True

    def _require_own(self, connection: Connection, job_id: str) -> None:
        if self._access is not None:
            owned = self._access.changed().label("owned")
            if not self._seen(connection, [owned], job_id).owned:
                raise JobOfAnotherError(f"Job {job_id!r} is shared with whoever wants to change it")

    def counts(self) -> dict[JobStatus, int]:
        """How many jobs wait and how many run, whosesoever they are."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(jobs.c.status, func.count().label("total")).where(goes_on()).group_by(jobs.c.status)
            ).all()
        return {JobStatus.ACCEPTED: 0, JobStatus.RUNNING: 0} | {row.status: row.total for row in rows}

    def logs(self, job_id: str, *, after: int = 0, limit: int = 10_000) -> list[LogLine]:
        """Lines of the job's log, oldest first, without the first *after*. None of a job that is unknown."""
        is_seen = []
        if self._access is not None:
            is_seen.append(select(jobs.c.number).where(jobs.c.job_id == job_id, self._access.read()).exists())
        with self.database.read() as connection:
            rows = connection.execute(
                select(job_logs.c.time, job_logs.c.level, job_logs.c.logger, job_logs.c.text)
                .where(job_logs.c.job_id == job_id, job_logs.c.line > after, *is_seen)
                .order_by(job_logs.c.line)
                .limit(limit)
            ).all()
        return [LogLine(*row) for row in rows]


def _fewer_than(limit: int, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    some = select(jobs.c.number).where(*conditions).limit(limit).subquery()
    return select(func.count()).select_from(some).scalar_subquery() < limit


def _key_owner(new_job: NewJob) -> str:
    return "" if new_job.user is None else new_job.user.key


def _newest_first(table: FromClause) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    return table.c.created.desc(), table.c.number.desc()


def _newest(listed: Sequence[Select[Any]], offset: int, end: int | None) -> Select[Any]:
    """The numbers of a page of several parts, each of which is read to the end of the page at the most."""
    if len(listed) == 1:
        page = listed[0].with_only_columns(jobs.c.number).order_by(*_newest_first(jobs))
    else:
        parts = [part.order_by(*_newest_first(jobs)).limit(end).subquery() for part in listed]
        both = union_all(*(select(part.c.number, part.c.created) for part in parts)).subquery()
        page = select(both.c.number).order_by(*_newest_first(both))
    return page.offset(offset or None).limit(None if end is None else end - offset)
