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
``deployments`` deployments and their runs
``work_pools``  work pools, their queues and workers
``blocks``      block documents, secrets
``api``         :class:`PrefectApi`: all calls together
``events``      :class:`FlowRunEvents`: changes of states, told as they happen
==============  ====================================================================================

::

    PygeoapiPrefectError
    ├─ ConfigurationError               Prefect's settings cannot be read
    ├─ PrefectRefusedError              the request is wrong; to send it again is useless
    │  ├─ FlowRunNotFoundError          somebody deleted the flow run
    │  ├─ DeploymentNotFoundError       so with a deployment,
    │  ├─ BlockNotFoundError            a block document,
    │  └─ WorkPoolNotFoundError         a work pool
    └─ PrefectUnavailableError          no connection, time-out, 401, 403, 408, 429 or 5xx; later may be better

Nothing is retried here: the caller knows what it may send twice. Safe to repeat are all reads, everything that saves,
deletes or sets what is named, and the creation of flow runs (by their idempotency key). Logs and new artifacts would
be doubled.
"""

from pygeoapi_prefect.prefect_api.api import PrefectApi
from pygeoapi_prefect.prefect_api.blocks import BlockDocument, BlockNotFoundError
from pygeoapi_prefect.prefect_api.client import PrefectRefusedError
from pygeoapi_prefect.prefect_api.connection import PrefectConnection, configured_connection
from pygeoapi_prefect.prefect_api.deployments import Deployment, DeploymentNotFoundError
from pygeoapi_prefect.prefect_api.events import FlowRunEvent, FlowRunEvents
from pygeoapi_prefect.prefect_api.flow_runs import FlowRunNotFoundError, FlowRunState, FlowRunStateType, Progress
from pygeoapi_prefect.prefect_api.work_pools import WorkPool, WorkPoolNotFoundError, WorkQueue

__all__ = [
    "BlockDocument",
    "BlockNotFoundError",
    "Deployment",
    "DeploymentNotFoundError",
    "FlowRunEvent",
    "FlowRunEvents",
    "FlowRunNotFoundError",
    "FlowRunState",
    "FlowRunStateType",
    "PrefectApi",
    "PrefectConnection",
    "PrefectRefusedError",
    "Progress",
    "WorkPool",
    "WorkPoolNotFoundError",
    "WorkQueue",
    "configured_connection",
]
