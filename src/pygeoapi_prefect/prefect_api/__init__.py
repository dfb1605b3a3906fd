"""
The only door to the Prefect API.

Everything this package tells Prefect or asks of it goes through :class:`PrefectApi`, over Prefect's public REST API.
The ``prefect`` package itself is not imported: that costs the importing process 65 MiB and two seconds, which the
runner would pay for as long as it lives.

==============  ====================================================================================
module          holds
==============  ====================================================================================
``connection``  where the API is, read from Prefect's own settings
``client``      one request, and every error that it can end in
``flow_runs``   flow runs: their states, logs and progress
``api``         :class:`PrefectApi`: all calls together
==============  ====================================================================================

::

    PygeoapiPrefectError
    ├─ ConfigurationError               Prefect's settings cannot be read
    ├─ PrefectRefusedError              the request is wrong; to send it again is useless
    │  └─ FlowRunNotFoundError          somebody deleted the flow run
    └─ PrefectUnavailableError          no connection, time-out, 401, 403, 408, 429 or 5xx; later may be better

Nothing is retried here: the caller knows what it may send twice. Safe to repeat are all reads,
:meth:`PrefectApi.flow_id`, :meth:`PrefectApi.create_flow_run` (its idempotency key),
:meth:`PrefectApi.set_flow_run_state` with the same state and :meth:`PrefectApi.update_progress_artifact`. Logs and new
artifacts would be doubled.
"""

from pygeoapi_prefect.prefect_api.api import PrefectApi
from pygeoapi_prefect.prefect_api.client import PrefectRefusedError
from pygeoapi_prefect.prefect_api.connection import PrefectConnection, configured_connection
from pygeoapi_prefect.prefect_api.flow_runs import FlowRunNotFoundError, FlowRunStateType

__all__ = [
    "FlowRunNotFoundError",
    "FlowRunStateType",
    "PrefectApi",
    "PrefectConnection",
    "PrefectRefusedError",
    "configured_connection",
]
