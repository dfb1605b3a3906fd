"""Puts the wrappers around pygeoapi's functions, and takes them off again."""

import functools
import inspect
import logging
import re
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import pygeoapi.api as core
from pygeoapi.api import API, APIRequest, admin, processes
from werkzeug.datastructures import Headers

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.ogcapi import fronts
from pygeoapi_prefect.ogcapi.administration import for_administrators
from pygeoapi_prefect.ogcapi.boundary import (
    WrappedManager,
    get_exception,
    get_format_exception,
    negotiated,
)
from pygeoapi_prefect.ogcapi.conformance import conformance
from pygeoapi_prefect.ogcapi.execution import execute_process
from pygeoapi_prefect.ogcapi.generation import hook_generation
from pygeoapi_prefect.ogcapi.jobs import delete_job, get_jobs
from pygeoapi_prefect.ogcapi.processes import describe_processes
from pygeoapi_prefect.ogcapi.results import get_job_result
from pygeoapi_prefect.settings import AUTH_KEY

LOGGER = logging.getLogger(__name__)

_WRAPPERS: tuple[tuple[Any, str, Callable[..., Any], str], ...] = (
    (processes, "describe_processes", negotiated(describe_processes), "api, request, process"),
    (processes, "get_jobs", negotiated(get_jobs), "api, request, job_id"),
    (processes, "execute_process", execute_process, "api, request, process_id"),
    (processes, "get_job_result", get_job_result, "api, request, job_id"),
    (processes, "delete_job", delete_job, "api, request, job_id"),
    (core, "conformance", conformance, "api, request"),
    *(
        (admin, name, for_administrators, "admin, request")
        for name in ("get_config_", "put_config", "patch_config", "get_resources", "post_resource")
    ),
    *(
        (admin, name, for_administrators, "admin, request, resource_id")
        for name in ("get_resource", "put_resource", "patch_resource", "delete_resource")
    ),
    (API, "get_exception", get_exception, "self, status, headers, format_, code, description"),
    (API, "get_format_exception", get_format_exception, "self, request"),
)
"""Where each function stands, its name, what is put around it, and the parameters that it must have."""

_FRONTS = ("from_flask", "from_starlette", "from_django")
_CHOICE = "get_choice_from_headers"
_FRONT_PARAMETERS = "cls, request, supported_locales"
_EXCLUDED = re.compile(r";q=0*+\.?0*$")
_WRAPPED = "_pygeoapi_prefect_wrapped"

_lock = threading.Lock()
"""Around the wrapping, and around the managers: Django makes one for each request, in many threads."""

_managers: WeakSet[Any] = WeakSet()
_manager_names: set[str] = set()
_misfits: set[str] = set()
"""Functions that were told of already: Django's views load the manager for each request."""

_fronts: dict[str, Callable[[], None]] = {}
"""What takes the hook of each front off that has one."""


def install(manager: WrappedManager, *, wholly: bool = False) -> None:
    """
    Answer requests to APIs with this manager through the wrappers, in this interpreter.

    A function that does not have the parameters that its wrapper was made for is left as it is, and the log says so.

    Args:
        manager: Of the APIs.
        wholly: Whether no function may be left as it is: nobody would be asked there who they are.

    Raises:
        ConfigurationError: One is, and must not be.
    """
    with _lock:
        _install(manager)
        hook_generation()
        left = [name for owner, name, _, _ in _WRAPPERS if not _is_wrapped(owner, name)]
    if wholly and left:
        raise ConfigurationError(
            f"{AUTH_KEY}: this version of pygeoapi has another {', '.join(left)} than pygeoapi-prefect was made for, "
            "where nobody would be asked for a token"
        )


def _install(manager: WrappedManager) -> None:
    _managers.add(manager)
    _manager_names.add(manager.name)
    for owner, name, wrapper, parameters in _WRAPPERS:
        if not _is_wrapped(owner, name) and _fits(owner, name, parameters):
            _wrap(owner, name, wrapper)
    if not _is_wrapped(core, _CHOICE) and _fits(core, _CHOICE, "headers, header_name, all"):
        _wrap_choice()
    for front in _FRONTS:
        if not _is_wrapped(APIRequest, front) and _fits(APIRequest, front, _FRONT_PARAMETERS):
            _wrap_front(front)
    for name, hook in (("flask", fronts.install_flask), ("starlette", fronts.install_starlette)):
        if name not in _fronts and (undo := hook(_managers.__contains__)) is not None:
            _fronts[name] = undo
    if "django" not in _fronts and fronts.is_django_served():
        _install_django()


def is_installed_for(name: str) -> bool:
    """
    Args:
        name: ``server.manager.name`` of a configuration.
    """
    return name in _manager_names


def uninstall() -> None:
    """Put pygeoapi's own functions back. What is around the making of OpenAPI documents stays, and does nothing."""
    wrapped = [(owner, name) for owner, name, _, _ in _WRAPPERS] + [(APIRequest, name) for name in _FRONTS]
    wrapped.append((core, _CHOICE))
    for owner, name in wrapped:
        _unwrap(owner, name)
    while _fronts:
        _fronts.popitem()[1]()
    _managers.clear()
    _manager_names.clear()
    _misfits.clear()


def _is_wrapped(owner: Any, name: str) -> bool:
    function = vars(owner).get(name)
    return hasattr(getattr(function, "__func__", function), _WRAPPED)


def _fits(owner: Any, name: str, parameters: str) -> bool:
    function = vars(owner).get(name)
    function = getattr(function, "__func__", function)
    found = None if function is None else ", ".join(inspect.signature(function).parameters)
    if found != parameters and name not in _misfits:
        _misfits.add(name)
        LOGGER.error(
            "pygeoapi's %s takes (%s), not (%s): it is left as it is. Use a version of pygeoapi-prefect that was made "
            "for this version of pygeoapi.",
            name,
            found,
            parameters,
        )
    return found == parameters


def _wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(api: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(api, "manager", None) not in _managers:
            return original(api, *args, **kwargs)
        return wrapper(original, api, *args, **kwargs)

    setattr(wrapped, _WRAPPED, original)
    setattr(owner, name, wrapped)


def _unwrap(owner: Any, name: str) -> None:
    wrapped = vars(owner).get(name)
    original = getattr(getattr(wrapped, "__func__", wrapped), _WRAPPED, None)
    if original is not None:
        setattr(owner, name, original)


def _wrap_choice() -> None:
    """Mends: stock divides by the zero of ``Accept: text/html;q=0``, for every resource of the server."""
    original = core.get_choice_from_headers

    @functools.wraps(original)
    def wrapped(headers: Any, header_name: str, all: bool = False) -> Any:
        try:
            return original(headers, header_name, all)
        except ZeroDivisionError:
            value = core.get_from_headers(headers, header_name)
            left = ",".join(part for part in value.split(",") if not _EXCLUDED.search(part))
            return original({header_name: left}, header_name, all) or None

    setattr(wrapped, _WRAPPED, original)
    core.get_choice_from_headers = wrapped


def _start_managers() -> None:
    with _lock:
        managers = list(_managers)
    for manager in managers:
        manager.start()


def _max_request_bytes() -> int:
    """A front does not say which API its request is for."""
    with _lock:
        limits: list[int] = [manager.settings.max_request_bytes for manager in _managers]
    return max(limits)


def _wrap_front(name: str) -> None:
    """
    Tell the managers of the first request of any kind: only a process that serves needs a runner.

    Mends: stock pygeoapi has no hook for "this process serves now"; a mere load of the manager is none. A request that
    it cannot read is the server's error, and of several headers of one name it keeps one. It reads bodies of any size.
    """
    original = vars(APIRequest)[name]

    def refused(request: Any, error: Exception) -> Exception:
        LOGGER.info("request cannot be read", extra={"action": "answer", "reason": str(error)})
        return fronts.refusal(name, error)

    def with_headers(made: APIRequest, request: Any) -> APIRequest:
        if fronts.is_for_processes(request):
            made._headers = Headers(list(request.headers.items()))
        return made

    @functools.wraps(original.__func__)
    def wrapped(cls: type[APIRequest], request: Any, supported_locales: Any) -> Any:
        _start_managers()
        try:
            if name == "from_flask" and fronts.is_for_processes(request):
                fronts.limit_body(request, _max_request_bytes())
            return with_headers(original.__func__(cls, request, supported_locales), request)
        except Exception as error:
            if not fronts.is_for_processes(request):
                raise
            raise refused(request, error) from error

    @functools.wraps(original.__func__)
    async def wrapped_async(cls: type[APIRequest], request: Any, supported_locales: Any) -> Any:
        _start_managers()
        try:
            if fronts.is_for_processes(request):
                await fronts.read_body(request, _max_request_bytes())
            return with_headers(await original.__func__(cls, request, supported_locales), request)
        except Exception as error:
            if not fronts.is_for_processes(request):
                raise
            raise refused(request, error) from error

    chosen = wrapped_async if inspect.iscoroutinefunction(original.__func__) else wrapped
    setattr(chosen, _WRAPPED, original)
    setattr(APIRequest, name, classmethod(chosen))


def _install_django() -> None:
    from django.core.handlers.base import BaseHandler

    if not _fits(BaseHandler, "get_response", "self, request"):
        return
    fronts.allow_cors_headers()
    original = BaseHandler.get_response
    answer = fronts.get_response(_manager_names)

    @functools.wraps(original)
    def wrapped(handler: Any, request: Any) -> Any:
        return answer(original, handler, request)

    setattr(wrapped, _WRAPPED, original)
    BaseHandler.get_response = wrapped
    _fronts["django"] = functools.partial(_unwrap, BaseHandler, "get_response")
