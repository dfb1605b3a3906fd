"""The job store as runners use it: to claim jobs, hand them over, and tell why they wait."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select, text, update

from pygeoapi_prefect.jobs.queries import (
    DETAILS,
    ENDED,
    MAX_MESSAGE,
    MESSAGE_HANDED_OVER,
    MESSAGE_RUNNING,
    TOLD,
    WORK,
    Queries,
    held,
    held_by,
    to_details,
    waiting,
)
from pygeoapi_prefect.jobs.records import Claim, JobDetails, Outcome, utc_now
from pygeoapi_prefect.jobs.tables import job_secrets, jobs
from pygeoapi_prefect.schemas import JobStatus

_CLAIM_LOCK = 0x6F67635F636C6D
_LET_GO = "let go"
"""In place of a runner: one let go of the job when it drained, and the next one has not adopted it yet."""

_UNKNOWN_PROCESS_WAITS = timedelta(minutes=1)


class Claims(Queries):
    """Claims jobs, and keeps what is known of them until they end."""

    def claim(
        self,
        runner_id: str,
        *,
        limit: int,
        process_limits: Mapping[str, int],
        record: bool,
        processes: Iterable[str] | None = None,
        but: Collection[str] = (),
    ) -> list[JobDetails]:
        """
        Take the oldest waiting jobs and mark them running.

        Args:
            runner_id: A registered runner.
            limit: At most so many; at least 1.
            process_limits: How many jobs of a process a runner may hold at once, over all runners.
            record: Whether jobs that want it shall be recorded in Prefect.
            processes: Those that the runner knows; None: all. Jobs of others are left for a minute to a runner that
                knows them, then they are claimed as well.
            but: Processes whose jobs are left to wait.

        Returns:
            The jobs, oldest first, with ``started`` and ``claim_number`` set.

        Source:
            Status codes: OGC 18-062r2, ``statusCode.yaml``.
        """
        now = utc_now()
        eligible: list[ColumnElement[bool]] = []
        if processes is not None:
            eligible.append(or_(jobs.c.process_id.in_(list(processes)), jobs.c.created < now - _UNKNOWN_PROCESS_WAITS))
        if but:
            eligible.append(jobs.c.process_id.not_in(list(but)))
        values = {"status": JobStatus.RUNNING, "message": MESSAGE_RUNNING, "started": now, "updated": now}
        return self._hold(runner_id, limit, process_limits, eligible, values, record=record)

    def claim_to_hand_over(
        self,
        runner_id: str,
        *,
        limit: int,
        process_limits: Mapping[str, int],
        processes: Collection[str],
        record: bool,
    ) -> list[JobDetails]:
        """
        Take the oldest waiting jobs of *processes*, which stay accepted until :meth:`begin`: Prefect starts them.

        The arguments are those of :meth:`claim`.
        """
        values = {"message": MESSAGE_HANDED_OVER, "updated": utc_now()}
        eligible = [jobs.c.process_id.in_(list(processes))]
        return self._hold(runner_id, limit, process_limits, eligible, values, record=record)

    def _hold(
        self,
        runner_id: str,
        limit: int,
        process_limits: Mapping[str, int],
        eligible: Sequence[ColumnElement[bool]],
        values: Mapping[str, Any],
        *,
        record: bool,
    ) -> list[JobDetails]:
        with self.database.write() as connection:
            if not process_limits:
                rows = self._take(connection, runner_id, limit, eligible, values)
            else:
                # two runners must not count at the same time; SQLite has one writer anyway
                if not self.database.is_sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CLAIM_LOCK})
                rows = []
                while len(rows) < limit:
                    full = _full_processes(connection, process_limits)
                    allowed = [*eligible, jobs.c.process_id.not_in(full)] if full else eligible
                    taken = self._take(connection, runner_id, 1, allowed, values)
                    if not taken:
                        break
                    rows += taken
            if record:
                self._want_recorded(connection, [row for row in rows if row.recorded])
            self._tell(connection, rows)
        return [to_details(row) for row in sorted(rows, key=lambda row: row.number)]

    def _take(
        self,
        connection: Connection,
        runner_id: str,
        limit: int,
        eligible: Sequence[ColumnElement[bool]],
        values: Mapping[str, Any],
    ) -> list[Row[Any]]:
        oldest = select(jobs.c.number).where(waiting(), *eligible).order_by(jobs.c.number).limit(limit)
        # materialized: PostgreSQL might else run the locking query more than once and lock more than *limit* rows
        picked = (
            oldest.with_for_update(skip_locked=True).cte("picked").prefix_with("MATERIALIZED", dialect="postgresql")
        )
        return list(
            connection.execute(
                update(jobs)
                .where(jobs.c.number.in_(select(picked.c.number)))
                .values(runner_id=runner_id, claim_number=jobs.c.claim_number + 1, **values)
                .returning(*DETAILS)
            )
        )

    def sealed_secrets(self, claim: Claim) -> str | None:
        """Those of a claimed job, as its :class:`NewJob` had them; None: it has none, has ended or was claimed anew."""
        query = select(job_secrets.c.sealed).join(jobs, jobs.c.job_id == job_secrets.c.job_id).where(held_by(claim))
        with self.database.read() as connection:
            return connection.scalar(query)

    def begin(self, claim: Claim) -> bool:
        """Prefect has started a job that was handed over: it runs. False for an old claim, or when it runs already."""
        now = utc_now()
        with self.database.write() as connection:
            begun = connection.execute(
                update(jobs)
                .where(held_by(claim), jobs.c.status == JobStatus.ACCEPTED)
                .values(status=JobStatus.RUNNING, message=MESSAGE_RUNNING, started=now, updated=now)
                .returning(*TOLD)
            ).all()
            self._tell(connection, begun)
        return len(begun) == 1

    def give_back(self, claim: Claim, message: str) -> bool:
        """A job that has not begun waits again; *message* says why. False for an old claim."""
        with self.database.write() as connection:
            given = connection.execute(
                update(jobs)
                .where(held_by(claim), jobs.c.status == JobStatus.ACCEPTED)
                .values(runner_id=None, message=message[:MAX_MESSAGE], updated=utc_now())
                .returning(*TOLD)
            ).all()
            self._tell(connection, given)
        return len(given) == 1

    def let_go(self, runner_id: str, processes: Collection[str]) -> None:
        """Have the jobs of *processes* that a runner holds adopted by another one, which finds them lost."""
        with self.database.write() as connection:
            connection.execute(
                update(jobs)
                .where(held(), jobs.c.runner_id == runner_id, jobs.c.process_id.in_(list(processes)))
                .values(runner_id=_LET_GO)
            )
            self._notify(connection, WORK)

    def say(self, claim: Claim, message: str) -> bool:
        """Set the job's message. False for an old claim."""
        with self.database.write() as connection:
            said = connection.execute(
                update(jobs)
                .where(held_by(claim))
                .values(message=message[:MAX_MESSAGE], updated=utc_now())
                .returning(*TOLD)
            ).all()
            self._tell(connection, said)
        return len(said) == 1

    def keep_flow_run(self, claim: Claim, flow_run_id: UUID) -> None:
        """Note the flow run that executes a job, or did when the job ended; not that of an older claim."""
        with self.database.write() as connection:
            connection.execute(
                update(jobs)
                .where(jobs.c.job_id == claim.job_id, jobs.c.claim_number == claim.number)
                .values(flow_run_id=flow_run_id)
            )

    def explain_waiting(self, processes: Collection[str], message: str, *, give_up: float, reason: str) -> int:
        """
        Tell the clients of waiting jobs why they wait, and fail those that have waited too long.

        Args:
            processes: Whose jobs.
            message: Why they wait.
            give_up: Seconds since their creation after which they fail.
            reason: Why they fail then.

        Returns:
            How many failed.
        """
        now = utc_now()
        of_processes = and_(waiting(), jobs.c.process_id.in_(list(processes)))
        with self.database.read() as connection:
            oldest_first = select(jobs.c.job_id, jobs.c.created, jobs.c.message).where(of_processes)
            rows = connection.execute(oldest_first).all()
        late = [row.job_id for row in rows if row.created < now - timedelta(seconds=give_up)]
        unaware = any(row.message != message for row in rows)
        if not late and not unaware:
            return 0
        outcome = Outcome.failed(reason, status=HTTPStatus.SERVICE_UNAVAILABLE)
        assert outcome.problem is not None
        with self.database.write() as connection:
            failed = connection.execute(
                update(jobs)
                .where(of_processes, jobs.c.job_id.in_(late))
                .values(
                    status=outcome.status,
                    message=reason,
                    problem=outcome.problem.to_json(),
                    finished=now,
                    updated=now,
                )
                .returning(*TOLD)
            ).all()
            explained = connection.execute(
                update(jobs)
                .where(of_processes, jobs.c.message != message)
                .values(message=message, updated=now)
                .returning(*TOLD)
            ).all()
            self._tell(connection, [*failed, *explained])
            self._forget_secrets(connection, failed)
            self._notify(connection, ENDED)
        return len(failed)

    def live_flow_runs(self, runner_id: str) -> list[UUID]:
        """The flow runs of the jobs that a runner holds."""
        with self.database.read() as connection:
            return list(
                connection.scalars(
                    select(jobs.c.flow_run_id).where(
                        held(), jobs.c.runner_id == runner_id, jobs.c.flow_run_id.is_not(None)
                    )
                )
            )


def _full_processes(connection: Connection, limits: Mapping[str, int]) -> list[str]:
    running = connection.execute(
        select(jobs.c.process_id, func.count()).where(held(), jobs.c.process_id.in_(limits)).group_by(jobs.c.process_id)
    ).all()
    return [process_id for process_id, count in running if count >= limits[process_id]]
