"""The job store as those use it who call clients back."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Update, delete, func, insert, literal, select, update

from pygeoapi_prefect.exceptions import UnknownJobError
from pygeoapi_prefect.jobs.queries import SUMMARY, Queries, database_epoch, due, one, to_job
from pygeoapi_prefect.jobs.records import Callback, CallbackKind, LogLine
from pygeoapi_prefect.jobs.tables import callbacks, job_logs, jobs


class CallbackSide(Queries):
    """Hands out the calls to be made, each to one runner at a time, and forgets those that are done."""

    def seconds_to_callback(self, *, but_hosts: Collection[str] = (), but_jobs: Collection[str] = ()) -> float | None:
        """
        When the next call is due, in seconds from now; 0 where one is due, None where none is wanted.

        Args:
            but_hosts: Calls of these hosts are left out.
            but_jobs: And those of these jobs.
        """
        next_due = select(func.min(callbacks.c.due) - database_epoch()).where(
            callbacks.c.wanted > callbacks.c.told, *_but(but_hosts, but_jobs)
        )
        with self.database.read() as connection:
            seconds = connection.scalar(next_due)
        return None if seconds is None else max(0.0, seconds)

    def claim_callback(
        self, *, lease: float, but_hosts: Collection[str] = (), but_jobs: Collection[str] = ()
    ) -> Callback | None:
        """
        Take the call that is due longest; None where none is due.

        Args:
            lease: Seconds after which it is due again when nothing more was heard of it.
            but_hosts: As in :meth:`seconds_to_callback`.
            but_jobs: Calls of one job are made one after another.
        """
        longest_due = (
            select(callbacks.c.number)
            .where(due(), *_but(but_hosts, but_jobs))
            .order_by(callbacks.c.due, callbacks.c.number)
            .limit(1)
        )
        picked = (
            longest_due.with_for_update(skip_locked=True)
            .cte("picked")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        with self.database.write() as connection:
            row = connection.execute(
                update(callbacks)
                .where(callbacks.c.number.in_(select(picked.c.number)))
                .values(due=database_epoch() + lease, claims=callbacks.c.claims + 1)
                .returning(*callbacks.c)
            ).one_or_none()
            if row is None:
                return None
            try:
                job = to_job(one(connection, SUMMARY, row.job_id))
            except UnknownJobError:
                # removed a moment ago, and its calls with it
                return None
        return Callback(
            number=row.number,
            kind=CallbackKind(row.kind),
            url=row.url,
            host=row.host,
            news=row.wanted,
            claim_number=row.claims,
            failures=row.failures,
            job=job,
        )

    def end_callback(self, callback: Callback) -> None:
        """Nobody is called at this URL any more: it has heard the last, or is given up."""
        with self.database.write() as connection:
            connection.execute(delete(callbacks).where(*_claimed(callback)))

    def retry_callback(self, callback: Callback, seconds: float) -> None:
        """Have the call made again, *seconds* from now at the earliest."""
        with self.database.write() as connection:
            connection.execute(_later(callback, seconds).values(failures=callbacks.c.failures + 1))

    def await_news(self, callback: Callback, seconds: float, *, arrived: bool) -> None:
        """
        Have the URL called again when there is newer news than that of *callback*.

        Args:
            callback: A claimed call; whether or not it arrived, it is not made again.
            seconds: From now; not before.
            arrived: Whether it did.
        """
        failures = 0 if arrived else callbacks.c.failures + 1
        with self.database.write() as connection:
            connection.execute(_later(callback, seconds).values(told=callback.news, failures=failures))

    def note(self, job_id: str, line: LogLine) -> bool:
        """
        Add a line to the log of a job that has ended.

        Returns:
            False where there is no such job, or it has not ended: its runner numbers the lines of its log.
        """
        number = select(func.coalesce(func.max(job_logs.c.line), 0) + 1).where(job_logs.c.job_id == job_id)
        values = {"time": line.time, "level": line.level, "logger": line.logger, "text": line.text}
        row = select(
            jobs.c.job_id,
            number.scalar_subquery(),
            *(literal(value, job_logs.c[name].type) for name, value in values.items()),
        ).where(jobs.c.job_id == job_id, jobs.c.finished.is_not(None))
        with self.database.write() as connection:
            return connection.execute(insert(job_logs).from_select(["job_id", "line", *values], row)).rowcount == 1


def _but(hosts: Collection[str], job_ids: Collection[str]) -> list[ColumnElement[bool]]:
    return [
        column.not_in(list(values))
        for column, values in ((callbacks.c.host, hosts), (callbacks.c.job_id, job_ids))
        if values
    ]


def _claimed(callback: Callback) -> tuple[ColumnElement[bool], ...]:
    return callbacks.c.number == callback.number, callbacks.c.claims == callback.claim_number


def _later(callback: Callback, seconds: float) -> Update:
    return update(callbacks).where(*_claimed(callback)).values(due=database_epoch() + seconds)
