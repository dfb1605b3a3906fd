"""The job store as runners use it."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from pygeoapi_prefect.jobs.queries import (
    DETAILS,
    ELSEWHERE,
    ENDED,
    MAX_MESSAGE,
    MESSAGE_HANDED_OVER,
    MESSAGE_RUNNING,
    SUMMARY,
    WORK,
    Queries,
    database_epoch,
    held,
    held_by,
    to_details,
    to_job,
    waiting,
)
from pygeoapi_prefect.jobs.records import (
    Claim,
    Job,
    JobDetails,
    LogLine,
    Outcome,
    Outlook,
    RunnerRecord,
    utc_now,
)
from pygeoapi_prefect.jobs.tables import cleanups, job_logs, jobs, runners
from pygeoapi_prefect.schemas import JobStatus

LOGGER = logging.getLogger(__name__)

_CLAIM_LOCK = 0x6F67635F636C6D
_WAITING, _CLEANUPS = -1, -2
_UNKNOWN_PROCESS_WAITS = timedelta(minutes=1)
_MAX_CLAIMS = 3  # a job that ends its runner again and again is not run for ever
_MAX_LOG_TEXT = 8192


class RunnerSide(Queries):
    """Holds leases, claims jobs, and finishes them."""

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
                    lease_until=database_epoch() + lease,
                )
            )

    def renew_lease(self, runner_id: str, *, lease: float) -> bool:
        """Prolong the runner's lease to *lease* seconds from now. False when it lapsed and its jobs were taken."""
        with self.database.write() as connection:
            renewed = connection.execute(
                update(runners).where(runners.c.runner_id == runner_id).values(lease_until=database_epoch() + lease)
            ).rowcount
        return renewed == 1

    def living_runners(self) -> int:
        """How many runners hold a lease."""
        with self.database.read() as connection:
            living = select(func.count()).select_from(runners).where(runners.c.lease_until >= database_epoch())
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

    def begin(self, claim: Claim) -> bool:
        """Prefect has started a job that was handed over: it runs. False for an old claim, or when it runs already."""
        now = utc_now()
        with self.database.write() as connection:
            begun = connection.execute(
                update(jobs)
                .where(held_by(claim), jobs.c.status == JobStatus.ACCEPTED)
                .values(status=JobStatus.RUNNING, message=MESSAGE_RUNNING, started=now, updated=now)
            ).rowcount
        return begun == 1

    def give_back(self, claim: Claim, message: str) -> bool:
        """A job that has not begun waits again; *message* says why. False for an old claim."""
        with self.database.write() as connection:
            given = connection.execute(
                update(jobs)
                .where(held_by(claim), jobs.c.status == JobStatus.ACCEPTED)
                .values(runner_id=None, message=message[:MAX_MESSAGE], updated=utc_now())
            ).rowcount
        return given == 1

    def say(self, claim: Claim, message: str) -> bool:
        """Set the job's message. False for an old claim."""
        with self.database.write() as connection:
            said = connection.execute(
                update(jobs).where(held_by(claim)).values(message=message[:MAX_MESSAGE], updated=utc_now())
            ).rowcount
        return said == 1

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
            ).rowcount
            connection.execute(
                update(jobs).where(of_processes, jobs.c.message != message).values(message=message, updated=now)
            )
            self._forget_secrets(connection, late)
            self._notify(connection, ENDED)
        return failed

    def outlook(self, runner_id: str) -> Outlook:
        """What is there for a runner to do, in one read."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(jobs.c.job_id, jobs.c.claim_number)
                .where(held(), jobs.c.runner_id == runner_id)
                .union_all(
                    select(literal(None), literal(_WAITING)).where(select(jobs.c.number).where(waiting()).exists()),
                    select(literal(None), literal(_CLEANUPS)).where(select(cleanups.c.number).exists()),
                )
            ).all()
        marks = {number for job_id, number in rows if job_id is None}
        return Outlook(
            claims=frozenset(Claim(job_id, number) for job_id, number in rows if job_id is not None),
            jobs_wait=_WAITING in marks,
            cleanups_wait=_CLEANUPS in marks,
        )

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

    def report_progress(self, claim: Claim, percent: int, message: str | None) -> bool:
        """Raise the job's progress (0 to 99; 100 comes with success) and set its message. False for an old claim."""
        percent = min(max(percent, 0), 99)
        with self.database.write() as connection:
            changed = connection.execute(
                update(jobs)
                .where(held_by(claim))
                .values(
                    progress=self._raised_progress(percent),
                    updated=utc_now(),
                    **({} if message is None else {"message": message[:MAX_MESSAGE]}),
                )
            ).rowcount
        return changed == 1

    def finish(self, claim: Claim, outcome: Outcome, *, flow_run_id: UUID | None = None) -> bool:
        """
        End the job. False, and nothing changed, when it has ended already or was claimed anew.

        Args:
            claim: The right to end it.
            outcome: How it ended.
            flow_run_id: The flow run that executed it, where it was not noted before.
        """
        now = utc_now()
        values: dict[str, Any] = {
            "status": outcome.status,
            "message": outcome.message[:MAX_MESSAGE],
            "finished": now,
            "updated": now,
            "media_type": outcome.media_type and outcome.media_type[:255],
            "result": None if outcome.result is None else dict(outcome.result),
            "problem": None if outcome.problem is None else outcome.problem.to_json(),
        }
        if flow_run_id is not None:
            values["flow_run_id"] = flow_run_id
        if outcome.status is JobStatus.SUCCESSFUL:
            values["progress"] = 100
            # a short job of a deployment may have ended before anybody saw it run
            values["started"] = func.coalesce(jobs.c.started, now)
        with self.database.write() as connection:
            finished = connection.execute(update(jobs).where(held_by(claim)).values(values)).rowcount
            self._forget_secrets(connection, [claim.job_id])
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
        self,
        runner_id: str,
        *,
        host: str,
        is_alive: Callable[[int, float], bool],
        rerun: Callable[[str], bool],
        adopt: Callable[[str], bool] = lambda _: False,
    ) -> list[Job]:
        """
        End the jobs of runners that are gone, adopt them, or let them be run again.

        A runner is gone when its lease lapsed, or at once when it was on *host* and its process is.

        Args:
            runner_id: Who asks, and adopts.
            host: As in :class:`RunnerRecord`.
            is_alive: Tells of a process id and start time on *host* whether that process lives.
            rerun: Tells of a process id (OGC's) whether its lost jobs are run again.
            adopt: Tells of a process id whether its jobs live elsewhere (in a deployment) and need a new follower only.

        Returns:
            The jobs as they are now.
        """
        of_no_runner = and_(
            jobs.c.runner_id.not_in(select(runners.c.runner_id).scalar_subquery()), jobs.c.runner_id != ELSEWHERE
        )
        with self.database.read() as connection:
            rows = connection.execute(
                select(runners, (runners.c.lease_until < database_epoch()).label("has_lapsed"))
            ).all()
            gone = [
                row.runner_id
                for row in rows
                if row.has_lapsed or (row.host == host and not is_alive(row.pid, row.pid_started))
            ]
            if not gone:
                orphan = select(jobs.c.number).where(held(), of_no_runner).limit(1)
                if connection.execute(orphan).first() is None:
                    return []
        now = utc_now()
        lost: list[Job] = []
        with self.database.write() as connection:
            if gone:
                # a runner that renewed meanwhile is not gone, and keeps its jobs
                connection.execute(
                    delete(runners).where(
                        runners.c.runner_id.in_(gone),
                        or_(runners.c.lease_until < database_epoch(), runners.c.host == host),
                    )
                )
            for row in connection.execute(select(*SUMMARY).where(held(), of_no_runner).with_for_update()).all():
                values: dict[str, Any]
                if adopt(row.process_id):
                    values = {"runner_id": runner_id, "claim_number": row.claim_number + 1}
                elif row.claim_number < _MAX_CLAIMS and rerun(row.process_id):
                    values = {
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
                    .where(held_by(Claim(row.job_id, row.claim_number)))
                    .values(updated=now, **values)
                    .returning(*SUMMARY)
                ).one_or_none()
                if changed is not None:
                    lost.append(to_job(changed))
            if lost:
                self._forget_secrets(connection, [job.job_id for job in lost if job.status.is_terminal])
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


def _full_processes(connection: Connection, limits: Mapping[str, int]) -> list[str]:
    running = connection.execute(
        select(jobs.c.process_id, func.count()).where(held(), jobs.c.process_id.in_(limits)).group_by(jobs.c.process_id)
    ).all()
    return [process_id for process_id, count in running if count >= limits[process_id]]
