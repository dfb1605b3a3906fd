"""Puts the wrappers around pygeoapi's functions, and takes them off again."""

import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from pygeoapi.api import API, APIRequest, processes

from pygeoapi_prefect.ogcapi.boundary import Answer, WrappedManager, get_exception
from pygeoapi_prefect.ogcapi.execution import execute_process
from pygeoapi_prefect.ogcapi.jobs import delete_job, get_jobs
from pygeoapi_prefect.ogcapi.processes import describe_processes
from pygeoapi_prefect.ogcapi.results import get_job_result

CALLBACK = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/callback"

_WRAPPERS: dict[str, Callable[..., Answer]] = {
    "describe_processes": describe_processes,
    "get_jobs": get_jobs,
    "execute_process": execute_process,
    "get_job_result": get_job_result,
    "delete_job": delete_job,
}
_WRAPPED = "_pygeoapi_prefect_wrapped"
_FRONTS = ("from_flask", "from_starlette", "from_django")

_managers: WeakSet[Any] = WeakSet()


def install(manager: WrappedManager) -> None:
    """Answer requests to APIs with this manager through the wrappers, in this interpreter."""
    _managers.add(manager)
    for name, wrapper in _WRAPPERS.items():
        _wrap(processes, name, wrapper)
    _wrap(API, "get_exception", get_exception)
    for front in _FRONTS:
        _wrap_front(front)
    # mends: stock declares callbacks whatever the manager supports
    if not manager.supports_subscribing and CALLBACK in processes.CONFORMANCE_CLASSES:
        processes.CONFORMANCE_CLASSES.remove(CALLBACK)


def uninstall() -> None:
    """Put pygeoapi's own functions back."""
    for owner, names in ((processes, tuple(_WRAPPERS)), (API, ("get_exception",)), (APIRequest, _FRONTS)):
        for name in names:
            wrapped = vars(owner)[name]
            original = getattr(getattr(wrapped, "__func__", wrapped), _WRAPPED, None)
            if original is not None:
                setattr(owner, name, original)
    if CALLBACK not in processes.CONFORMANCE_CLASSES:
        processes.CONFORMANCE_CLASSES.append(CALLBACK)
    _managers.clear()


def _wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    original = getattr(owner, name)
    if hasattr(original, _WRAPPED):
        return

    @functools.wraps(original)
    def wrapped(api: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(api, "manager", None) not in _managers:
            return original(api, *args, **kwargs)
        return wrapper(original, api, *args, **kwargs)

    setattr(wrapped, _WRAPPED, original)
    setattr(owner, name, wrapped)


def _wrap_front(name: str) -> None:
    """
    Tell the managers of the first request of any kind: only a process that serves needs a runner.

    Mends: stock pygeoapi has no hook for "this process serves now"; a mere load of the manager is none.
    """
    original = vars(APIRequest)[name]
    if hasattr(original.__func__, _WRAPPED):
        return

    @functools.wraps(original.__func__)
    def wrapped(cls: type[APIRequest], *args: Any, **kwargs: Any) -> Any:
        for manager in list(_managers):
            manager.start()
        return original.__func__(cls, *args, **kwargs)

    setattr(wrapped, _WRAPPED, original)
    setattr(APIRequest, name, classmethod(wrapped))
