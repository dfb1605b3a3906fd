"""Whose jobs somebody may list, read and change: the rule that every query of clients goes by."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, or_, select

from pygeoapi_prefect.identity.user import User
from pygeoapi_prefect.jobs.tables import job_shares, jobs


@dataclass(frozen=True, slots=True)
class Access:
    """
    Conditions on ``ogc_jobs`` that hold for whoever is no administrator; for everybody else there is no such job.

    ====================================================  =====  ====  ======
    who asks                                              lists  read  change
    ====================================================  =====  ====  ======
    the owner                                             yes    yes   yes
    a user whom the job is shared with, or one of a       yes    yes   no
    group that it is
    somebody unknown, of a job that somebody unknown      no     yes   yes
    made: its id is the key to it
    ====================================================  =====  ====  ======

    Attributes:
        user: Who asks; None: nobody is known.
    """

    user: User | None

    def changed(self) -> ColumnElement[bool]:
        if self.user is None:
            return jobs.c.owner.is_(None)
        return jobs.c.owner == self.user.key

    def read(self) -> ColumnElement[bool]:
        return self.changed() if self.user is None else or_(self.changed(), _shared_with(self.user))

    def listed(self) -> Sequence[ColumnElement[bool]]:
        """Conditions of parts that together are the list and have no job in common: each has an index of its own."""
        if self.user is None:
            return ()
        others = jobs.c.owner.is_distinct_from(self.user.key)
        return self.changed(), and_(_shared_with(self.user), others)


def access_of(user: User | None) -> Access | None:
    """What *user* may see and change; None: everything."""
    return None if user is not None and user.is_admin else Access(user)


def _shared_with(user: User) -> ColumnElement[bool]:
    return jobs.c.job_id.in_(select(job_shares.c.job_id).where(job_shares.c.grantee.in_(sorted(user.grantees))))
