"""Every error of a wrapped function becomes a problem document, never an HTML traceback."""

import functools
import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Protocol

from pygeoapi.api import API, SYSTEM_LOCALE, APIRequest
from pygeoapi.formats import F_HTML, F_JSON, F_JSONLD, FORMAT_TYPES
from pygeoapi.util import json_serial, render_j2_template

from pygeoapi_prefect.exceptions import (
    InvalidInputsError,
    JobFailedError,
    PygeoapiPrefectError,
    SyncWaitEndedError,
    Violation,
)
from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.ogcapi.preferences import Preferences
from pygeoapi_prefect.results import Response
from pygeoapi_prefect.schemas.problems import MEDIA_TYPE, problem

LOGGER = logging.getLogger(__name__)

Answer = tuple[dict[str, str], int, Any]
"""Headers, HTTP status and content, as pygeoapi's functions return them."""

INTERNAL_ERROR = "The server made an error while it answered this request. Its log tells more."


class WrappedManager(Protocol):
    """What the wrappers need of the manager."""

    supports_subscribing: bool

    @property
    def store(self) -> JobStore: ...
    def start(self) -> None: ...
    def require_available(self, process_id: str) -> None: ...
    def get_job(self, job_id: str) -> dict[str, Any]: ...
    def response_of(
        self,
        job_id: str,
        *,
        base_url: str | None = None,
        prefers_json: bool = False,
        outputs: Sequence[str] | None = None,
    ) -> Response: ...
    def execute(
        self,
        process_id: str,
        body: Mapping[str, Any],
        preferences: Preferences,
        *,
        idempotency_key: str | None = None,
        base_url: str | None = None,
        prefers_json: bool = False,
    ) -> Any: ...


def within_boundary(function: Callable[..., Answer]) -> Callable[..., Answer]:
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
            answer: Answer = api.get_exception(error.http_status_code, headers_of(api, request), request.format, "", "")
            return answer
        except Exception:
            LOGGER.exception("request failed", extra={"action": "answer", "path": request.path_info})
            headers = headers_of(api, request)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            return problem_answer(headers, status, "NoApplicableCode", INTERNAL_ERROR)

    return guarded


def get_exception(
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
    violations: tuple[Violation, ...] = ()
    if isinstance(error, PygeoapiPrefectError):
        status, code, description = error.http_status_code, error.ogc_exception_code, error.client_message
        if isinstance(error, InvalidInputsError):
            violations = error.violations
        LOGGER.info("request refused", extra={"action": "answer", "reason": str(error)})
        if isinstance(error, SyncWaitEndedError | JobFailedError):
            headers["Location"] = f"{api.base_url}/jobs/{error.job_id}"
        elif status == HTTPStatus.SERVICE_UNAVAILABLE:
            # to send the request again is right: nothing was made of it
            headers["Retry-After"] = "5"
    if format_ == F_HTML or status == HTTPStatus.NO_CONTENT:
        return original(api, status, headers, format_, code, description)
    return problem_answer(headers, status, code, description, violations)


def problem_answer(
    headers: dict[str, str], status: int, code: str, detail: str, violations: Iterable[Violation] = ()
) -> Answer:
    headers["Content-Type"] = MEDIA_TYPE
    return headers, status, json.dumps(problem(status, code, detail, violations))


def json_answer(api: API, request: APIRequest, document: dict[str, Any]) -> Answer:
    """
    A document of the standard.

    Mends: stock writes ``&lt;`` for each ``<`` in JSON, against browsers that take it for HTML. The escape here is
    JSON's own, so that clients read what was written.
    """
    headers = headers_of(api, request)
    if request.format != F_JSONLD:
        headers["Content-Type"] = FORMAT_TYPES[F_JSON]
    content = json.dumps(document, default=json_serial, indent=4 if api.pretty_print else None)
    return headers, HTTPStatus.OK, content.replace("<", "\\u003c").replace(">", "\\u003e")


def html_answer(api: API, request: APIRequest, templates: Any, template: str, data: dict[str, Any]) -> Answer:
    """A page of pygeoapi's, of its *template* or of the user's in its place."""
    page = render_j2_template(api.tpl_config, templates, template, data, request.locale)
    return headers_of(api, request), HTTPStatus.OK, page


def headers_of(api: API, request: APIRequest) -> dict[str, str]:
    headers: dict[str, str] = request.get_response_headers(SYSTEM_LOCALE, **api.api_headers)
    return headers
