"""The Prefect API as this package uses it."""

from pygeoapi_prefect.prefect_api.blocks import Blocks
from pygeoapi_prefect.prefect_api.deployments import Deployments
from pygeoapi_prefect.prefect_api.flow_runs import FlowRuns
from pygeoapi_prefect.prefect_api.work_pools import WorkPools


class PrefectApi(FlowRuns, Deployments, WorkPools, Blocks):
    """
    The calls this package makes to the Prefect API.

    Safe to share between threads. Close it, or use it as a context manager; it cannot be opened again.

    Every call raises:
        PrefectUnavailableError: No connection, no answer in time, 408, 429, 5xx, or 401/403 with the remedy.
        PrefectRefusedError: Any other answer that is not the expected one; the text holds the server's detail.

    Args:
        connection: Where to; nothing is sent yet.
    """
