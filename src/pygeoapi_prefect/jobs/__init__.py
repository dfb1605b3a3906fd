"""
The job store: the record of truth about every job.

=================  ===================================================================================
module             holds
=================  ===================================================================================
``records``        what goes in and comes out: frozen records
``tables``         the tables, their constraints and indexes
``database``       engine, transactions, the one door for driver errors, migrations at first use
``job_filter``     which jobs are listed
``access``         whose jobs somebody may list, read and change
``sealing``        what jobs keep secret until they end, encrypted
``queries``        what queries share: words, conditions, rows turned into records
``*_side``         every query: of clients (web, command line), of shares, of runners, of recorders, of callbacks
``*_side``         every query: of clients (web, command line), runners, recorders, callbacks, monitors
``status_info``    a job as the standard's statusInfo
``store``          :class:`JobStore`: the five sides and what they guarantee together
``store``          :class:`JobStore`: the sides and what they guarantee together
``wakeups``        :class:`Wakeups`: tells a process at once that jobs have changed
``migrations``     alembic's revisions
=================  ===================================================================================
"""

from pygeoapi_prefect.jobs.job_filter import JobFilter
from pygeoapi_prefect.jobs.records import (
    Callback,
    CallbackKind,
    Claim,
    IdempotencyKey,
    Job,
    JobDetails,
    JobSecrets,
    LogLine,
    NewJob,
    Outcome,
    Outlook,
    Problem,
    Recording,
    RunnerRecord,
    StoreLoad,
)
from pygeoapi_prefect.jobs.store import JobStore
from pygeoapi_prefect.jobs.wakeups import Wakeups

__all__ = [
    "Callback",
    "CallbackKind",
    "Claim",
    "IdempotencyKey",
    "Job",
    "JobDetails",
    "JobFilter",
    "JobSecrets",
    "JobStore",
    "LogLine",
    "NewJob",
    "Outcome",
    "Outlook",
    "Problem",
    "Recording",
    "RunnerRecord",
    "StoreLoad",
    "Wakeups",
]
