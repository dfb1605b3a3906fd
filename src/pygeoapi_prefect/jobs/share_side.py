"""The job store as those use it who share jobs."""

from sqlalchemy import delete, select

from pygeoapi_prefect.jobs.queries import Queries, one
from pygeoapi_prefect.jobs.tables import job_shares, jobs


class ShareSide(Queries):
    """
    Lets others than the owner read a job.

    Grantees are what :func:`~pygeoapi_prefect.identity.grantee_of` gives. A job's shares go with it.
    """

    def share(self, job_id: str, grantee: str) -> None:
        """Let *grantee* read the job. Raises UnknownJobError."""
        with self.database.write() as connection:
            one(connection, [jobs.c.number], job_id)
            connection.execute(
                self._insert(job_shares).on_conflict_do_nothing(), {"job_id": job_id, "grantee": grantee}
            )

    def unshare(self, job_id: str, grantee: str) -> bool:
        """Share the job with *grantee* no more. False when it was not shared with them. Raises UnknownJobError."""
        with self.database.write() as connection:
            one(connection, [jobs.c.number], job_id)
            removed = connection.execute(
                delete(job_shares).where(job_shares.c.job_id == job_id, job_shares.c.grantee == grantee)
            ).rowcount
        return bool(removed)

    def grantees(self, job_id: str) -> list[str]:
        """Whom the job is shared with."""
        with self.database.read() as connection:
            of_job = select(job_shares.c.grantee).where(job_shares.c.job_id == job_id).order_by(job_shares.c.grantee)
            return list(connection.scalars(of_job))
