"""
Execution handlers: code of the operator's around the jobs of a process.

A handler is a subclass of :class:`CommonExecutionHandler`, named by ``processor.prefect.handlers``. It may check and
prepare before the process runs, change each output before it is stored, and publish afterwards.
:class:`ExecutionHandler` says what each hook may rely on.
"""

from typing import TYPE_CHECKING, Any

from pygeoapi_prefect.handlers.authenticated import AuthenticatedHandler
from pygeoapi_prefect.handlers.common import CommonExecutionHandler
from pygeoapi_prefect.handlers.contract import ExecutionHandler
from pygeoapi_prefect.handlers.monitored import MonitoredHandler
from pygeoapi_prefect.handlers.multi_storage import MultiStorageHandler
from pygeoapi_prefect.handlers.validated import ValidatedHandler
from pygeoapi_prefect.handlers.workspace import WorkspaceHandler

__all__ = [
    "AuthenticatedHandler",
    "CommonExecutionHandler",
    "ExecutionHandler",
    "MonitoredHandler",
    "MultiStorageHandler",
    "StacHandler",
    "ValidatedHandler",
    "WorkspaceHandler",
]

if TYPE_CHECKING:
    from pygeoapi_prefect.handlers.stac import StacHandler


def __getattr__(name: str) -> Any:
    # it imports pystac, which jobs with other handlers do without
    if name == "StacHandler":
        from pygeoapi_prefect.handlers.stac import StacHandler

        return StacHandler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
