"""The job store as recorders use it."""

from uuid import UUID

from sqlalchemy import (
    and_,
    delete,
    func,
    literal,
    not_,
    or_,
    select,
    update,
)

from pygeoapi_prefect.jobs.queries import DETAILS, Queries, details_from_json, not_ended, to_details
from pygeoapi_prefect.jobs.records import (
    Recording,
)
from pygeoapi_prefect.jobs.tables import jobs, recordings, runners
from pygeoapi_prefect.schemas import JobStatus


class RecorderSide(Queries):
    """Keeps what Prefect does not show completely yet."""

    def recordings(self, *, ended: bool, limit: int, runner_id: str | None = None) -> list[Recording]:
        """
        Jobs that Prefect does not show completely yet, oldest first.

        Args:
            ended: Those that have ended; else those that run.
            limit: At most so many.
            runner_id: Only those of this runner. The runner that is registered longest has those of nobody as well:
                of runners that are gone, and of jobs that never ran. None: all.
        """
        status = or_(jobs.c.job_id.is_(None), not_(not_ended())) if ended else jobs.c.status == JobStatus.RUNNING
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
                    *DETAILS,
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
                details=to_details(row) if row.job_id is not None else details_from_json(row.final),
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
