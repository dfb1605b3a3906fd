"""The job store."""

from pygeoapi_prefect.jobs.callback_side import CallbackSide
from pygeoapi_prefect.jobs.client_side import ClientSide
from pygeoapi_prefect.jobs.monitor_side import MonitorSide
from pygeoapi_prefect.jobs.recorder_side import RecorderSide
from pygeoapi_prefect.jobs.runner_side import RunnerSide
from pygeoapi_prefect.jobs.share_side import ShareSide


class JobStore(ClientSide, ShareSide, RunnerSide, RecorderSide, CallbackSide, MonitorSide):
    """
    The jobs, their logs, and the runners that hold claims.

    Guarantees: two runners never receive the same job; a terminal status never changes; an outcome is accepted only
    from the newest claim; progress never falls; what a client is called back for is stored with the change that it
    tells of, and two runners never make the same call at the same time. Every method is one transaction and raises
    :class:`~pygeoapi_prefect.exceptions.JobStoreUnavailableError` when the database cannot be reached. Thread-safe.

    Args:
        database: Where the jobs are.
        access: Whose jobs clients may see; None: everybody's. :meth:`seen_by` makes the others.
    """
