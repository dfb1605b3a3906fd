"""The job store."""

from pygeoapi_prefect.jobs.client_side import ClientSide
from pygeoapi_prefect.jobs.recorder_side import RecorderSide
from pygeoapi_prefect.jobs.runner_side import RunnerSide


class JobStore(ClientSide, RunnerSide, RecorderSide):
    """
    The jobs, their logs, and the runners that hold claims.

    Guarantees: two runners never receive the same job; a terminal status never changes; an outcome is accepted only
    from the newest claim; progress never falls. Every method is one transaction and raises
    :class:`~pygeoapi_prefect.exceptions.JobStoreUnavailableError` when the database cannot be reached. Thread-safe.

    Args:
        database: Where the jobs are.
    """
