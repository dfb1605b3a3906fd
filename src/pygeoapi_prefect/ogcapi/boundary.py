"""Every error of a wrapped function becomes a problem document, never an HTML traceback."""

import functools
import inspect
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from pygeoapi.api import API, SYSTEM_LOCALE, APIRequest
from pygeoapi.formats import F_HTML, F_JSON, F_JSONLD, FORMAT_TYPES
from pygeoapi.util import get_api_rules, json_serial, render_j2_template
from werkzeug.datastructures import Headers

from pygeoapi_prefect.exceptions import (
    IdentityError,
    InvalidInputsError,
    JobFailedError,
    NotAcceptableError,
    PygeoapiPrefectError,
    SyncWaitEndedError,
    UnknownJobError,
    Violation,
)
from pygeoapi_prefect.identity import User, acting_as
from pygeoapi_prefect.jobs import IdempotencyKey, JobStore
from pygeoapi_prefect.ogcapi.authentication import user_of
from pygeoapi_prefect.ogcapi.preferences import Preferences
from pygeoapi_prefect.results import Response
from pygeoapi_prefect.schemas.media_types import essence
from pygeoapi_prefect.schemas.problems import MEDIA_TYPE, problem
from pygeoapi_prefect.settings import ManagerSettings

if TYPE_CHECKING:
    from pygeoapi_prefect.identity.tokens import TokenVerifier

LOGGER = logging.getLogger(__name__)

Answer = tuple[dict[str, str], int, Any]
"""Headers, HTTP status and content, as pygeoapi's functions return them."""

RETRY_AFTER_SECONDS = 5
MAX_ID_CHARACTERS = 1024

_DOCUMENTS = ("application/json", "text/html", "application/ld+json")
"""What descriptions and jobs are answered in."""

_QUALITY = re.compile(r";\s*q\s*=\s*([0-9.]+)", re.IGNORECASE)

_under_way: ContextVar[APIRequest | None] = ContextVar("request", default=None)
"""The request that is being answered where it is one for processes or jobs; else None."""

INTERNAL_ERROR = "The server made an error while it answered this request. Its log tells more."


class WrappedManager(Protocol):
    """What the wrappers need of the manager."""

    name: str
    supports_subscribing: bool

    @property
    def verifier(self) -> "TokenVerifier | None": ...
    @property
    def store(self) -> JobStore: ...
    @property
    def settings(self) -> ManagerSettings: ...
    def start(self) -> None: ...
    def require_available(self, process_id: str) -> None: ...
    def get_job(self, job_id: str) -> dict[str, Any]: ...
    def owner_by_link(self, job_id: str, parameters: Mapping[str, Sequence[str]]) -> User | None: ...
    def response_of(
        self,
        job_id: str,
        *,
        base_url: str | None = None,
        prefers_json: bool = False,
        outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Sequence[str]] | None = None,
    ) -> Response: ...
    def execute(
        self,
        process_id: str,
        body: Mapping[str, Any],
        preferences: Preferences,
        *,
        job_id: str | None = None,
        idempotency_key: IdempotencyKey | None = None,
        base_url: str | None = None,
        prefers_json: bool = False,
    ) -> Any: ...


def within_boundary(
    function: Callable[..., Answer], user_by_link: Callable[..., User | None] | None = None
) -> Callable[..., Answer]:
    """
    Whatever leaves the function becomes a problem document, and within it the user of the request is the current one.

    Mends: stock answers an HTML traceback page to any error that it does not expect (rows B2, B4).

    Args:
        function: Takes what it is put around, the API, the request, and what the request is for.
        user_by_link: Takes the API and all that follows, and tells for whom a request acts whose link needs no token;
            None: it is no such request.
    """
    parameters = inspect.signature(function).parameters
    is_of_job, describes = "job_id" in parameters, "process" in parameters

    @functools.wraps(function)
    def guarded(original: Callable[..., Answer], api: API, request: APIRequest, *args: Any) -> Answer:
        if _under_way.get() is request:
            # within a boundary already
            return function(original, api, request, *args)
        token = _under_way.set(request)
        answer: Answer
        try:
            user = None if user_by_link is None else user_by_link(api, request, *args)
            user = user or user_of(api.manager, request_headers(request), describes=describes)
            if is_of_job and not all(map(_may_be_id, args)):
                raise UnknownJobError()
            # without authentication somebody unknown is not said to be so: then jobs are everybody's
            is_told = user is not None or api.manager.verifier is not None
            with acting_as(user) if is_told else nullcontext():
                answer = function(original, api, request, *args)
        except PygeoapiPrefectError as error:
            # get_exception reads the rest from the error under way
            answer = api.get_exception(error.http_status_code, headers_of(api, request), request.format, "", "")
        except Exception:
            LOGGER.exception("request failed", extra={"action": "answer", "path": request.path_info})
            headers = headers_of(api, request)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            answer = problem_answer(headers, status, "NoApplicableCode", INTERNAL_ERROR)
        finally:
            _under_way.reset(token)
        if api.manager.verifier is not None and not describes:
            # caches know by the header Authorization what is not for everybody: signed links need none
            answer[0]["Cache-Control"] = "no-store"
        return answer

    return guarded


def negotiated(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """
    A function whose answer is a document of pygeoapi, in the media types of such.

    Mends: stock answers JSON to a client that accepts neither JSON nor HTML.
    """

    @within_boundary
    @functools.wraps(function)
    def checked(original: Callable[..., Answer], api: API, request: APIRequest, *args: Any) -> Answer:
        accept = request_headers(request).get("Accept")
        if not request.params.get("f") and accept and not accepts(accept, _DOCUMENTS):
            raise NotAcceptableError()
        return function(original, api, request, *args)

    return checked


def accepts(accept: str, media_types: Iterable[str]) -> bool:
    """
    Whether a request takes one of the media types.

    Args:
        accept: Its header ``Accept``. Source: RFC 9110, 12.5.1; the most specific range counts.
        media_types: Without parameters.
    """
    qualities = {}
    for part in accept.split(","):
        media_range = essence(part)
        quality = _QUALITY.search(part)
        if "/" in media_range.strip("/"):
            qualities[media_range] = quality is None or quality[1].strip("0.") != ""
    for media_type in media_types:
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        if next((qualities[one] for one in ranges if one in qualities), False):
            return True
    # what cannot be read says nothing
    return not qualities


def get_format_exception(original: Callable[..., Answer], api: API, request: APIRequest) -> Answer:
    """
    Mends: the answer to an unknown ``f`` is no problem document (row B2). Where ``server.gzip`` is set, it is said to
    be compressed and is not.
    """
    if not is_below_processes(api, path_of(request)):
        return original(api, request)
    token = _under_way.set(request)
    try:
        headers, status, content = original(api, request)
        headers.pop("Content-Encoding", None)
        return headers, status, content
    finally:
        _under_way.reset(token)


def get_exception(
    original: Callable[..., Answer],
    api: API,
    status: int,
    headers: dict[str, str],
    format_: str | None,
    code: str,
    description: str,
) -> Answer:
    """
    Mends: stock's exceptions are no problem documents and bear no type of the standard (row B2).

    Those of collections and of everything else that this API serves stay as they are.
    """
    if _under_way.get() is None:
        return original(api, status, headers, format_, code, description)
    error = sys.exc_info()[1]
    violations: tuple[Violation, ...] = ()
    if isinstance(error, PygeoapiPrefectError):
        status, code, description = error.http_status_code, error.ogc_exception_code, error.client_message
        if isinstance(error, InvalidInputsError):
            violations = error.violations
        # in the message, too: pygeoapi's log shows nothing else
        LOGGER.info("request refused: %s", error, extra={"action": "answer", "reason": str(error)})
        if isinstance(error, IdentityError):
            headers["WWW-Authenticate"] = error.challenge
        if isinstance(error, SyncWaitEndedError | JobFailedError):
            headers["Location"] = f"{api.base_url}/jobs/{error.job_id}"
        elif status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            # to send the request again is right: nothing was made of it
            headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if format_ == F_HTML or status == HTTPStatus.NO_CONTENT:
        try:
            return original(api, status, headers, format_, code, description)
        except Exception:
            # a template of the operator's
            LOGGER.exception("page of an error cannot be rendered", extra={"action": "answer"})
    return problem_answer(headers, status, code, description, violations)


def problem_answer(
    headers: dict[str, str], status: int, code: str, detail: str, violations: Iterable[Violation] = ()
) -> Answer:
    """
    An answer with a problem document.

    It is plain JSON to clients that accept that and not its own media type, as OGC's test suite does.
    """
    request = _under_way.get()
    accept = None if request is None else request_headers(request).get("Accept")
    is_plain = accept is not None and not accepts(accept, [MEDIA_TYPE]) and accepts(accept, [FORMAT_TYPES[F_JSON]])
    headers["Content-Type"] = FORMAT_TYPES[F_JSON] if is_plain else MEDIA_TYPE
    path = None if request is None else path_of(request)
    return headers, status, json.dumps(problem(status, code, detail, path=path, violations=violations))


def path_of(request: APIRequest) -> str:
    """The request's path, whichever of pygeoapi's fronts received it."""
    path = f"/{(request.path_info or '').strip('/')}"
    try:
        # WSGI's environment has bytes as characters
        return path.encode("latin-1").decode()
    except UnicodeError:
        return path


def is_below_processes(api: API, path: str) -> bool:
    """Whether a path is one of the routes for processes and jobs, or below them."""
    # an application that this one is mounted in leaves its prefix in the path, and writes it into server.url
    prefixes = (get_api_rules(api.config).get_url_prefix(), urlsplit(api.base_url).path.strip("/"))
    return any(relative_path(path, prefix) is not None for prefix in prefixes)


def relative_path(path: str, prefix: str) -> str | None:
    """
    The path of a request for processes or jobs without the prefix of the API; None for another request.

    Args:
        path: Begins with a slash.
        prefix: Of the API's routes, without slashes at its ends; may be empty.
    """
    start = f"/{prefix}/" if prefix else "/"
    relative = path.removeprefix(start)
    is_ours = path.startswith(start) and relative.partition("/")[0] in ("processes", "jobs")
    return f"/{relative}" if is_ours else None


def _may_be_id(job_id: Any) -> bool:
    """What cannot be one is not asked of the database, which may not take it: NUL, for instance."""
    return job_id is None or (len(job_id) <= MAX_ID_CHARACTERS and job_id.isprintable())


def json_answer(api: API, request: APIRequest, document: dict[str, Any]) -> Answer:
    """A document of the standard."""
    headers = headers_of(api, request)
    if request.format != F_JSONLD:
        headers["Content-Type"] = FORMAT_TYPES[F_JSON]
    return headers, HTTPStatus.OK, json_text(api, document)


def json_text(api: API, value: Any) -> str:
    """
    A value as JSON.

    Mends: stock writes ``&lt;`` for each ``<`` in JSON, against browsers that take it for HTML. The escape here is
    JSON's own, so that clients read what was written.
    """
    text = json.dumps(value, default=json_serial, indent=4 if api.pretty_print else None)
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def html_answer(api: API, request: APIRequest, templates: Any, template: str, data: dict[str, Any]) -> Answer:
    """A page of pygeoapi's, of its *template* or of the user's in its place."""
    page = render_j2_template(api.tpl_config, templates, template, data, request.locale)
    return headers_of(api, request), HTTPStatus.OK, page


def request_headers(request: APIRequest) -> Headers:
    """The headers of a request, in whatever case; pygeoapi keeps them as its fronts have them."""
    return Headers(list(request.headers.items()))


def headers_of(api: API, request: APIRequest) -> dict[str, str]:
    headers: dict[str, str] = request.get_response_headers(SYSTEM_LOCALE, **api.api_headers)
    return headers
