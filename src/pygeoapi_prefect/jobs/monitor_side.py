"""The job store as those who monitor it use it."""

from sqlalchemy import func, select

from pygeoapi_prefect.jobs.queries import Queries, database_epoch, goes_on, waiting
from pygeoapi_prefect.jobs.records import StoreLoad, utc_now
from pygeoapi_prefect.jobs.tables import callbacks, jobs, recordings, runners


class MonitorSide(Queries):
    """Counts what there is to do, for all runners together."""

    def load(self) -> StoreLoad:
        """What has not been done yet. Its price grows with the jobs that have not ended, and not with all jobs."""
        by_process = (
            select(jobs.c.process_id, jobs.c.status, func.count().label("total"))
            .where(goes_on())
            .group_by(jobs.c.process_id, jobs.c.status)
        )
        queue = select(func.count().label("total"), func.min(jobs.c.created).label("oldest")).where(waiting())
        with self.database.read() as connection:
            counts = {(row.process_id, row.status): row.total for row in connection.execute(by_process)}
            length, oldest = connection.execute(queue).one()
            living = select(func.count()).select_from(runners).where(runners.c.lease_until >= database_epoch())
            to_tell = select(func.count()).select_from(callbacks).where(callbacks.c.wanted > callbacks.c.told)
            return StoreLoad(
                jobs=counts,
                queue_length=length,
                oldest_waits=0.0 if oldest is None else max(0.0, (utc_now() - oldest).total_seconds()),
                recordings=connection.scalar(select(func.count()).select_from(recordings)) or 0,
                callbacks=connection.scalar(to_tell) or 0,
                runners=connection.scalar(living) or 0,
            )
