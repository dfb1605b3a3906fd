"""The job store as web processes and the command line use it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import (
    delete,
    func,
    insert,
    literal,
    not_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from pygeoapi_prefect.exceptions import IdempotencyKeyReusedError, JobExistsError, QueueFullError
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
    held,
    not_ended,
    one,
    to_details,
    to_job,
    waiting,
)
from pygeoapi_prefect.jobs.records import (
    IdempotencyKey,
    Job,
    JobDetails,
    LogLine,
    NewJob,
    utc_now,
)
from pygeoapi_prefect.jobs.tables import cleanups, idempotency_keys, job_logs, jobs, recordings
from pygeoapi_prefect.schemas import JobStatus


class ClientSide(Queries):
    """Submits, shows, dismisses and removes jobs."""

    def submit(self, new_job: NewJob, *, max_waiting: int) -> str:
        """
        Store a job as accepted.

        Returns:
            The job's id: of an earlier job where one was made with the same idempotency key and request.

        Raises:
            QueueFullError: *max_waiting* jobs wait already. Submissions at the same moment may pass it by their number.
            JobExistsError: A job of that id exists.
            IdempotencyKeyReusedError: The key was used for another request.
        """
        key = new_job.idempotency_key
        if key is not None and (job_id := self._job_of_key(key)) is not None:
            return job_id
        try:
            self._insert_job(new_job, max_waiting)
        except IntegrityError as error:
            # the same request at the same moment, which was faster
            if key is not None and (job_id := self._job_of_key(key)) is not None:
                return job_id
            raise JobExistsError(user_msg=f"There is a job {new_job.job_id!r} already.") from error
        return new_job.job_id

    def _job_of_key(self, key: IdempotencyKey) -> str | None:
        with self.database.read() as connection:
            row = connection.execute(
                select(idempotency_keys.c.job_id, idempotency_keys.c.request_digest).where(
                    idempotency_keys.c.key == key.key
                )
            ).one_or_none()
        if row is None:
            return None
        if row.request_digest != key.request_digest:
            raise IdempotencyKeyReusedError()
        job_id: str = row.job_id
        return job_id

    def _insert_job(self, new_job: NewJob, max_waiting: int) -> None:
        are_waiting = _count_waiting(max_waiting)
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
        row = select(*(literal(value, jobs.c[name].type) for name, value in values.items())).where(
            are_waiting < max_waiting
        )
        with self.database.write() as connection:
            inserted = connection.execute(insert(jobs).from_select(list(values), row)).rowcount
            if inserted and new_job.idempotency_key is not None:
                connection.execute(
                    insert(idempotency_keys).values(asdict(new_job.idempotency_key) | {"job_id": new_job.job_id})
                )
            if inserted and subscriber:
                self._subscribe(connection, new_job.job_id, subscriber)
            self._notify(connection, WORK)
        if not inserted:
            raise QueueFullError(user_msg=f"{max_waiting} jobs are waiting, no more are taken. Try again later.")

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
            self._notify(connection, ENDED)
        return len(changed) == 1

    def job(self, job_id: str) -> Job:
        """The job. Raises UnknownJobError."""
        with self.database.read() as connection:
            return to_job(one(connection, SUMMARY, job_id))

    def details(self, job_id: str) -> JobDetails:
        """The job with its request and result. Raises UnknownJobError."""
        with self.database.read() as connection:
            return to_details(one(connection, DETAILS, job_id))

    def status(self, job_id: str) -> JobStatus:
        """The job's status. Raises UnknownJobError."""
        with self.database.read() as connection:
            status: JobStatus = one(connection, [jobs.c.status], job_id).status
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
        conditions = list(job_filter.conditions(utc_now(), is_sqlite=self.database.is_sqlite))
        newest_first = (jobs.c.created.desc(), jobs.c.number.desc())
        # indexes hold the numbers: of jobs that are not on the page, whose requests may be large, no row is read
        page = select(jobs.c.number).where(*conditions).order_by(*newest_first).offset(offset or None)
        if limit is not None:
            page = page.limit(limit + 1)
        numbers = page.subquery()
        query = select(*SUMMARY).join(numbers, numbers.c.number == jobs.c.number).order_by(*newest_first)
        with self.database.read() as connection:
            found = [to_job(row) for row in connection.execute(query)]
            if offset and not found:
                # a page beyond the end: fewer match than the page leaves out
                return [], connection.scalar(select(func.count()).select_from(jobs).where(*conditions)) or 0
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
            self._forget_secrets(connection, [job_id])
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
        """
        with self.database.write() as connection:
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

    def counts(self) -> dict[JobStatus, int]:
        """How many jobs wait and how many run."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(jobs.c.status, func.count().label("total")).where(not_ended()).group_by(jobs.c.status)
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


def _count_waiting(at_most: int) -> Any:
    some = select(jobs.c.number).where(waiting()).limit(at_most).subquery()
    return select(func.count()).select_from(some).scalar_subquery()
