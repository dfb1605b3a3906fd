"""The wrappers around pygeoapi's functions."""

import functools
import json
import logging
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol
from weakref import WeakSet

from pygeoapi.api import API, SYSTEM_LOCALE, APIRequest, processes
from pygeoapi.formats import F_HTML, F_JSON, FORMAT_TYPES
from pygeoapi.util import to_json

from pygeoapi_prefect.exceptions import (
    InvalidInputsError,
    JobFailedError,
    PygeoapiPrefectError,
    SyncWaitEndedError,
)
from pygeoapi_prefect.ogcapi.problems import MEDIA_TYPE, problem

LOGGER = logging.getLogger(__name__)

Answer = tuple[dict[str, str], int, Any]
"""Headers, HTTP status and content, as pygeoapi's functions return them."""

CALLBACK = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/callback"

INTERNAL_ERROR = "The server made an error while it answered this request. Its log tells more."

_WRAPPED = "_pygeoapi_prefect_wrapped"
_FRONTS = ("from_flask", "from_starlette", "from_django")


class WrappedManager(Protocol):
    """What the wrappers need of the manager."""

    supports_subscribing: bool

    def start(self) -> None: ...
    def require_available(self, process_id: str) -> None: ...
    def get_job(self, job_id: str) -> dict[str, Any]: ...
    def get_job_result(self, job_id: str) -> tuple[str, Any]: ...


_managers: WeakSet[Any] = WeakSet()


def install(manager: WrappedManager) -> None:
    """Answer requests to APIs with this manager through the wrappers, in this interpreter."""
    _managers.add(manager)
    for name, wrapper in _WRAPPERS.items():
        _wrap(processes, name, wrapper)
    _wrap(API, "get_exception", _get_exception)
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


def _within_boundary(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """
    Whatever leaves the function becomes a problem document.

    Mends: stock answers an HTML traceback page to any error that it does not expect (rows B2, B4).
    """

    @functools.wraps(function)
    def guarded(original: Callable[..., Answer], api: API, request: APIRequest, *args: Any) -> Answer:
        try:
            return function(original, api, request, *args)
        except PygeoapiPrefectError as error:
            # get_exception reads the rest from the error under way
            answer: Answer = api.get_exception(error.http_status_code, _headers(api, request), request.format, "", "")
            return answer
        except Exception:
            LOGGER.exception("request failed", extra={"action": "answer", "path": request.path_info})
            headers = _headers(api, request)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            return _problem_answer(headers, status, "NoApplicableCode", INTERNAL_ERROR)

    return guarded


@_within_boundary
def _describe_processes(
    original: Callable[..., Answer], api: API, request: APIRequest, process: str | None = None
) -> Answer:
    if process is not None:
        api.manager.require_available(process)
    return original(api, request, process)


@_within_boundary
def _get_jobs(original: Callable[..., Answer], api: API, request: APIRequest, job_id: str | None = None) -> Answer:
    return original(api, request, job_id)


@_within_boundary
def _execute_process(original: Callable[..., Answer], api: API, request: APIRequest, process_id: str) -> Answer:
    """Mends: a body that is JSON but no object is a 500 in stock (row B9)."""
    api.manager.require_available(process_id)
    body = request.data
    if body and body.lstrip()[:1] not in (b"{", "{"):
        raise InvalidInputsError(user_msg="The body of the request must be a JSON object.")
    return original(api, request, process_id)


@_within_boundary
def _get_job_result(original: Callable[..., Answer], api: API, request: APIRequest, job_id: str) -> Answer:
    """
    Mends: stock hides why a job failed, fails on a dismissed one (row B4), and answers JSON results as HTML to
    clients that state no preference: curl, requests, OWSLib (row B7).
    """
    if request.format == F_HTML:
        if api.manager.get_job(job_id)["status"] in ("failed", "dismissed"):
            api.manager.get_job_result(job_id)
        return original(api, request, job_id)
    media_type, content = api.manager.get_job_result(job_id)
    headers = _headers(api, request)
    headers["Content-Type"] = media_type
    if media_type == FORMAT_TYPES[F_JSON] or isinstance(content, dict | list):
        content = to_json(content, api.pretty_print)
    return headers, HTTPStatus.OK, content


@_within_boundary
def _delete_job(original: Callable[..., Answer], api: API, request: APIRequest, job_id: str) -> Answer:
    """Mends: stock's answer has no media type, which fails under Starlette, and is no valid statusInfo (row B6)."""
    job = api.manager.get_job(job_id)
    _, status, content = original(api, request, job_id)
    if status != HTTPStatus.OK:
        return _headers(api, request), status, content
    status_info = json.loads(content) | {
        "type": "process",
        "processID": job["process_id"],
        "progress": job["progress"],
    }
    headers = _headers(api, request)
    headers["Content-Type"] = FORMAT_TYPES[F_JSON]
    return headers, status, to_json(status_info, api.pretty_print)


def _get_exception(
    original: Callable[..., Answer],
    api: API,
    status: int,
    headers: dict[str, str],
    format_: str | None,
    code: str,
    description: str,
) -> Answer:
    """Mends: stock's exceptions are no problem documents and bear no type of the standard (row B2)."""
    error = sys.exc_info()[1]
    if isinstance(error, PygeoapiPrefectError):
        status, code, description = error.http_status_code, error.ogc_exception_code, error.client_message
        LOGGER.info("request refused", extra={"action": "answer", "reason": str(error)})
        if isinstance(error, SyncWaitEndedError | JobFailedError):
            headers["Location"] = f"{api.base_url}/jobs/{error.job_id}"
        elif status == HTTPStatus.SERVICE_UNAVAILABLE:
            # to send the request again is right: nothing was made of it
            headers["Retry-After"] = "5"
    if format_ == F_HTML or status == HTTPStatus.NO_CONTENT:
        return original(api, status, headers, format_, code, description)
    return _problem_answer(headers, status, code, description)


def _problem_answer(headers: dict[str, str], status: int, code: str, detail: str) -> Answer:
    headers["Content-Type"] = MEDIA_TYPE
    return headers, status, json.dumps(problem(status, code, detail))


def _headers(api: API, request: APIRequest) -> dict[str, str]:
    headers: dict[str, str] = request.get_response_headers(SYSTEM_LOCALE, **api.api_headers)
    return headers


_WRAPPERS: dict[str, Callable[..., Answer]] = {
    "describe_processes": _describe_processes,
    "get_jobs": _get_jobs,
    "execute_process": _execute_process,
    "get_job_result": _get_job_result,
    "delete_job": _delete_job,
}
