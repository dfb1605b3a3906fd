"""
Execution handlers: code of the operator's around the jobs of a process.

A handler is a subclass of :class:`CommonExecutionHandler`, named by ``processor.prefect.handlers``. It may check and
prepare before the process runs, change each output before it is stored, and publish afterwards.
:class:`ExecutionHandler` says what each hook may rely on.
"""

from pygeoapi_prefect.handlers.authenticated import AuthenticatedHandler
from pygeoapi_prefect.handlers.common import CommonExecutionHandler
from pygeoapi_prefect.handlers.contract import ExecutionHandler
from pygeoapi_prefect.handlers.multi_storage import MultiStorageHandler
from pygeoapi_prefect.handlers.validated import ValidatedHandler
from pygeoapi_prefect.handlers.workspace import WorkspaceHandler

__all__ = [
    "AuthenticatedHandler",
    "CommonExecutionHandler",
    "ExecutionHandler",
    "MultiStorageHandler",
    "ValidatedHandler",
    "WorkspaceHandler",
]
