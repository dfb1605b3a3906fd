"""
OGC API - Processes jobs for pygeoapi, run durably and seen in Prefect.

Names are imported when they are first used: a pool worker does not need the manager, nor the manager a runner.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pygeoapi_prefect.manager import PrefectManager
    from pygeoapi_prefect.process.base import BasePrefectProcessor
    from pygeoapi_prefect.process.dask import DaskCluster
    from pygeoapi_prefect.process.flow import FlowProcessor
    from pygeoapi_prefect.process.progress import report_progress

__all__ = ["BasePrefectProcessor", "DaskCluster", "FlowProcessor", "PrefectManager", "report_progress"]

_HOMES = {
    "BasePrefectProcessor": "pygeoapi_prefect.process.base",
    "DaskCluster": "pygeoapi_prefect.process.dask",
    "FlowProcessor": "pygeoapi_prefect.process.flow",
    "PrefectManager": "pygeoapi_prefect.manager",
    "report_progress": "pygeoapi_prefect.process.progress",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
