"""The job store as runners use it."""

import logging
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import (
    and_,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from pygeoapi_prefect.jobs.claims import Claims
from pygeoapi_prefect.jobs.queries import (
    ELSEWHERE,
    ENDED,
    MAX_MESSAGE,
    SUMMARY,
    TOLD,
    WORK,
    database_epoch,
    due,
    held,
    held_by,
    to_job,
    waiting,
)
from pygeoapi_prefect.jobs.records import (
    Claim,
    Job,
    LogLine,
    Outcome,
    Outlook,
    RunnerRecord,
    utc_now,
)
from pygeoapi_prefect.jobs.tables import callbacks, cleanups, job_logs, jobs, runners
from pygeoapi_prefect.schemas import JobStatus

LOGGER = logging.getLogger(__name__)

_WAITING, _CLEANUPS, _CALLBACKS = -1, -2, -3
_MAX_CLAIMS = 3  # a job that ends its runner again and again is not run for ever
_MAX_LOG_TEXT = 8192


class RunnerSide(Claims):
    """Holds leases, and finishes jobs and those of others that are gone."""

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

    def outlook(self, runner_id: str) -> Outlook:
        """What is there for a runner to do, in one read."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(jobs.c.job_id, jobs.c.claim_number)
                .where(held(), jobs.c.runner_id == runner_id)
                .union_all(
                    select(literal(None), literal(_WAITING)).where(select(jobs.c.number).where(waiting()).exists()),
                    select(literal(None), literal(_CLEANUPS)).where(select(cleanups.c.number).exists()),
                    select(literal(None), literal(_CALLBACKS)).where(select(callbacks.c.number).where(due()).exists()),
                )
            ).all()
        marks = {number for job_id, number in rows if job_id is None}
        return Outlook(
            claims=frozenset(Claim(job_id, number) for job_id, number in rows if job_id is not None),
            jobs_wait=_WAITING in marks,
            cleanups_wait=_CLEANUPS in marks,
            callbacks_wait=_CALLBACKS in marks,
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
                .returning(*TOLD)
            ).all()
            self._tell(connection, changed)
        return len(changed) == 1

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
            "usage": None if outcome.usage is None else dict(outcome.usage),
        }
        if flow_run_id is not None:
            values["flow_run_id"] = flow_run_id
        if outcome.status is JobStatus.SUCCESSFUL:
            values["progress"] = 100
            # a short job of a deployment may have ended before anybody saw it run
            values["started"] = func.coalesce(jobs.c.started, now)
        with self.database.write() as connection:
            finished = connection.execute(update(jobs).where(held_by(claim)).values(values).returning(*TOLD)).all()
            self._tell(connection, finished)
            self._forget_secrets(connection, finished)
            self._notify(connection, ENDED)
        return len(finished) == 1

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

    def last_log_line(self, job_id: str) -> int:
        """The number of the last line of the job's log; 0: it has none."""
        with self.database.read() as connection:
            return connection.scalar(select(func.max(job_logs.c.line)).where(job_logs.c.job_id == job_id)) or 0

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
                    self._tell(connection, [changed])
                    self._forget_secrets(connection, [changed])
                    lost.append(to_job(changed))
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
