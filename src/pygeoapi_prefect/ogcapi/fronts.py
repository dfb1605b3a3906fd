"""
What pygeoapi's Flask, Starlette and Django fronts answer without asking pygeoapi becomes a problem document.

They answer a wrong route, a wrong method and an error of their own with pages of their frameworks, which the wrappers
of pygeoapi's functions never see. Each is reached by the hook that lies nearest, for requests below ``/processes`` and
``/jobs`` only:

==========  ==================================================================================================
front       hook
==========  ==================================================================================================
Flask       an error handler of ``pygeoapi.flask_app.APP`` and its blueprint, which exist when the manager loads
Starlette   the class that ``pygeoapi.starlette_app`` makes ``APP`` of, after the manager
Django      ``BaseHandler.get_response``, when the manager loads; see ``django_start``
==========  ==================================================================================================
"""

import functools
import json
import logging
import re
import sys
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from pygeoapi.util import get_api_rules

from pygeoapi_prefect.exceptions import RequestTooLargeError
from pygeoapi_prefect.ogcapi.boundary import INTERNAL_ERROR, relative_path
from pygeoapi_prefect.schemas.problems import MEDIA_TYPE, problem
from pygeoapi_prefect.settings import ManagerSettings

LOGGER = logging.getLogger(__name__)

ROUTES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile("/processes/?"), ("GET", "HEAD")),
    (re.compile("/processes/[^/]+"), ("GET", "HEAD")),
    (re.compile("/processes/[^/]+/execution"), ("POST",)),
    (re.compile("/jobs/?"), ("GET", "HEAD")),
    (re.compile("/jobs/[^/]+"), ("GET", "HEAD", "DELETE")),
    (re.compile("/jobs/[^/]+/results/?"), ("GET", "HEAD")),
)
"""What pygeoapi serves, without its prefix, and by which methods."""

_SLASHED = re.compile("/processes|/jobs|/jobs/[^/]+/results")
"""Routes that pygeoapi gives Django with a slash at their end."""

_DETAILS = {
    HTTPStatus.BAD_REQUEST: "The request cannot be read.",
    HTTPStatus.NOT_FOUND: "There is nothing at this address.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take that method. 'Allow' names those that it takes.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: RequestTooLargeError.default_client_message,
    HTTPStatus.INTERNAL_SERVER_ERROR: INTERNAL_ERROR,
}
_REPLACED_HEADERS = ("content-type", "content-length", "content-encoding", "content-language", "etag", "last-modified")
"""What belongs to the framework's page. The others stay: without those of CORS, browsers hide the answer."""

_POWERED_BY = "x-powered-by"
"""Header that every answer of pygeoapi's own has, and no page of a framework."""

CORS_HEADERS = ("accept", "authorization", "content-type", "idempotency-key", "prefer")
"""Headers that pages of other sites may send, where the operator allows requests of such: those with a meaning here."""

_FLASK = "pygeoapi.flask_app"
_STARLETTE = "pygeoapi.starlette_app"
_VIEWS = {"get_processes", "get_jobs", "execute_process_jobs", "get_job_result"}
"""Names of Flask's views for processes and jobs."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


def document(status: int, path: str) -> bytes:
    """The problem document for a page of a framework."""
    try:
        detail = _DETAILS.get(HTTPStatus(status)) or HTTPStatus(status).description or HTTPStatus(status).phrase
    except ValueError:
        detail = "The server refused this request."
    return json.dumps(problem(status, "NoApplicableCode", detail, path=path)).encode()


def allowed_methods(relative: str) -> tuple[str, ...] | None:
    """Methods of a path without the API's prefix; None for an unknown one."""
    return next((methods for route, methods in ROUTES if route.fullmatch(relative)), None)


# ---------------------------------------------------------------- Flask


def flask_handler(is_ours: Callable[[], bool], prefix: str) -> Callable[[Exception], Any]:
    """
    An error handler for all errors, which passes over those of other routes as if it were not there.

    Args:
        is_ours: Whether the API has our manager.
        prefix: Of the API's routes.
    """

    def handle(error: Exception) -> Any:
        from flask import Response, request
        from werkzeug.exceptions import HTTPException

        is_process = (
            relative_path(request.path, prefix) is not None or (request.endpoint or "").rpartition(".")[2] in _VIEWS
        )
        if not is_process or not is_ours() or (isinstance(error, HTTPException) and error.code is None):
            if isinstance(error, HTTPException):
                return error
            raise error
        if isinstance(error, HTTPException):
            status, headers = error.code or HTTPStatus.INTERNAL_SERVER_ERROR, dict(error.get_headers())
        else:
            LOGGER.error("request failed", exc_info=error, extra={"action": "answer", "path": request.path})
            status, headers = HTTPStatus.INTERNAL_SERVER_ERROR, {}
        response = Response(document(status, request.path), status, content_type=MEDIA_TYPE)
        for name, value in headers.items():
            if name.lower() not in _REPLACED_HEADERS:
                response.headers[name] = value
        return response

    return handle


def install_flask(is_ours: Callable[[Any], bool]) -> Callable[[], None] | None:
    """
    Args:
        is_ours: Tells whether a manager is one of ours.

    Returns:
        What takes the hook off; None where there is nothing to hook.
    """
    module = sys.modules.get(_FLASK)
    if module is None or not hasattr(module, "BLUEPRINT") or hasattr(module, "api_"):
        return None
    prefix = module.API_RULES.get_url_prefix()
    handler = flask_handler(lambda: is_ours(getattr(getattr(module, "api_", None), "manager", None)), prefix)
    holders = (module.APP, module.BLUEPRINT)
    for holder in holders:
        holder.register_error_handler(Exception, handler)

    def uninstall() -> None:
        for holder in holders:
            handlers = holder.error_handler_spec[None][None]
            if handlers.get(Exception) is handler:
                del handlers[Exception]

    return uninstall


# ---------------------------------------------------------------- Starlette


def with_problems(app: Asgi, is_ours: Callable[[], bool], prefix: str) -> Asgi:
    """
    An ASGI application whose errors below ``/processes`` and ``/jobs`` are problem documents.

    Args:
        app: The application; what pygeoapi answers in it stays as it is.
        is_ours: Whether the API has our manager.
        prefix: Of the API's routes, within the application.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        path = str(scope["path"])
        root = str(scope.get("root_path", ""))
        within = path.removeprefix(root) if path.startswith(f"{root}/") else path
        if relative_path(within, prefix) is None or not is_ours():
            return await app(scope, receive, send)
        is_replaced = False

        async def send_checked(message: Message) -> None:
            nonlocal is_replaced
            if message["type"] == "http.response.start":
                headers = {name.lower(): value for name, value in message.get("headers", ())}
                if message["status"] >= HTTPStatus.BAD_REQUEST and _POWERED_BY.encode() not in headers:
                    is_replaced = True
                    await _send_document(send, message["status"], path, headers)
                    return
            if not is_replaced:
                await send(message)

        return await app(scope, receive, send_checked)

    return answer


async def _send_document(send: Send, status: int, path: str, headers: MutableMapping[bytes, bytes]) -> None:
    body = document(status, path)
    kept = [(name, value) for name, value in headers.items() if name.decode("latin-1") not in _REPLACED_HEADERS]
    length = str(len(body)).encode()
    start_headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", length), *kept]
    await send({"type": "http.response.start", "status": status, "headers": start_headers})
    await send({"type": "http.response.body", "body": body})


def install_starlette(is_ours: Callable[[Any], bool]) -> Callable[[], None] | None:
    """As :func:`install_flask`."""
    module: Any = sys.modules.get(_STARLETTE)
    if module is None or not hasattr(module, "API_RULES") or hasattr(module, "api_"):
        return None
    original = module.Starlette
    prefix = module.API_RULES.get_url_prefix()

    class ProblemStarlette(original):  # type: ignore[misc, valid-type]
        """pygeoapi's application."""

        def add_middleware(self, middleware: Any, *args: Any, **options: Any) -> None:
            """Mends: stock refuses preflights that name ``Prefer`` or ``Authorization``."""
            if middleware.__name__ == "CORSMiddleware":
                options.setdefault("allow_headers", CORS_HEADERS)
            super().add_middleware(middleware, *args, **options)

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            is_of_ours = is_ours(getattr(getattr(module, "api_", None), "manager", None))
            await with_problems(super().__call__, lambda: is_of_ours, prefix)(scope, receive, send)

    module.Starlette = ProblemStarlette

    def uninstall() -> None:
        module.Starlette = original

    return uninstall


# ---------------------------------------------------------------- Django


def is_django_served() -> bool:
    """Whether this process serves pygeoapi by Django."""
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    return settings is not None and settings.configured and hasattr(settings, "PYGEOAPI_CONFIG")


def allow_cors_headers() -> None:
    """
    Mends: stock refuses preflights that name ``Prefer``, and hides ``Location`` from the pages that may send requests.

    What the operator's own settings say stays.
    """
    from django.conf import settings

    for name, value in (("CORS_ALLOW_HEADERS", CORS_HEADERS), ("CORS_EXPOSE_HEADERS", ("*",))):
        if not hasattr(settings, name):
            setattr(settings, name, value)


def get_response(names: Collection[str]) -> Callable[..., Any]:
    """
    Makes the wrapper of Django's ``BaseHandler.get_response``.

    Mends: stock takes every method everywhere, refuses DELETE for the want of a CSRF token, redirects ``/jobs`` and
    ``/processes`` to themselves with a slash, fails at ``/jobs/{jobId}/results/{any}``, and answers errors as debug
    pages with its settings in them.

    Args:
        names: ``server.manager.name`` of our managers; may grow.
    """

    def answer(original: Callable[..., Any], handler: Any, request: Any) -> Any:
        from django.conf import settings

        path = str(request.path_info)
        manager = settings.PYGEOAPI_CONFIG["server"].get("manager") or {}
        relative = relative_path(path, get_api_rules(settings.PYGEOAPI_CONFIG).get_url_prefix())
        if relative is None or manager.get("name") not in names or manager.get("ogc_compliance", True) is False:
            return original(handler, request)
        methods = allowed_methods(relative)
        # no browser sends DELETE for another site without asking first, and execute requests are exempt anyway
        request._dont_enforce_csrf_checks = True
        is_too_large = request.method == "POST" and not _reads_body(request, _max_request_bytes(manager))
        if is_too_large or methods is None or request.method not in methods:
            # from within the middlewares: that of CORS answers preflights, and lets browsers read the refusal
            request.urlconf = _too_large() if is_too_large else _refusing()
        elif settings.APPEND_SLASH and _SLASHED.fullmatch(relative):
            request.path_info, request.path = f"{path}/", f"{request.path}/"
        response = original(handler, request)
        if response.status_code < HTTPStatus.BAD_REQUEST or response.has_header(_POWERED_BY):
            return response
        return _django_response(response.status_code, path, dict(response.items()))

    return answer


def _max_request_bytes(manager: Any) -> int:
    return int(manager.get("max_request_bytes") or ManagerSettings.model_fields["max_request_bytes"].default)


def _reads_body(request: Any, max_bytes: int) -> bool:
    """Read the body of Django's request, whose own limit is 2.5 MB; False, where it is larger: then it is not used."""
    length = str(request.META.get("CONTENT_LENGTH") or "")
    if length.isdigit() and int(length) > max_bytes:
        return False
    request._body = request.read(max_bytes + 1)
    return len(request._body) <= max_bytes


@functools.cache
def _too_large() -> Any:
    """Routes of Django that answer 413 to every path."""
    from django.http import HttpResponse
    from django.urls import re_path

    return (re_path("", lambda _: HttpResponse(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)),)


@functools.cache
def _refusing() -> Any:
    """Routes of Django that refuse every path. One object: Django keeps each that it is given."""
    from django.http import HttpResponse, HttpResponseNotAllowed, HttpResponseNotFound
    from django.urls import re_path

    def refuse(request: Any) -> HttpResponse:
        from django.conf import settings

        prefix = get_api_rules(settings.PYGEOAPI_CONFIG).get_url_prefix()
        methods = allowed_methods(relative_path(str(request.path_info), prefix) or "")
        return HttpResponseNotFound() if methods is None else HttpResponseNotAllowed(methods)

    return (re_path("", refuse),)


def _django_response(status: int, path: str, headers: dict[str, str]) -> Any:
    from django.http import HttpResponse

    response = HttpResponse(document(status, path), status=status, content_type=MEDIA_TYPE)
    for name, value in headers.items():
        if name.lower() not in _REPLACED_HEADERS:
            response[name] = value
    return response


# ---------------------------------------------------------------- requests that cannot be read


def is_for_processes(request: Any) -> bool:
    """Whether a front's own request has a path with ``processes`` or ``jobs`` in it."""
    scope = getattr(request, "scope", None)
    path = scope["path"] if scope is not None else getattr(request, "path", "")
    return bool({"processes", "jobs"} & set(str(path).split("/")))


def limit_body(request: Any, max_bytes: int) -> None:
    """Let Flask's request read at most one byte more of its body, so that whoever has it knows a larger one."""
    # it answers 413 to a greater length, but cuts off a body that has none: quietly, where the limit is
    with suppress(AttributeError):  # from Flask 3.1 on; older ones read it whole
        request.max_content_length = max_bytes + 1


async def read_body(request: Any, max_bytes: int) -> None:
    """
    Read the body of Starlette's request.

    Raises:
        HTTPException: Of Starlette's, with 413: it is larger. Nothing more is read.
    """
    from starlette.exceptions import HTTPException

    length = request.headers.get("content-length", "")
    size, pieces = int(length) if length.isdigit() else 0, []
    if size <= max_bytes:
        size = 0
        async for piece in request.stream():
            size += len(piece)
            if size > max_bytes:
                break
            pieces.append(piece)
    if size > max_bytes:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    request._body = b"".join(pieces)


def refusal(front: str, error: Exception) -> Exception:
    """
    What stands for an error in the making of pygeoapi's request: the front's own error of status 400 or 413.

    Args:
        front: Name of pygeoapi's method that makes it.
        error: What it raised.
    """
    detail = _DETAILS[HTTPStatus.BAD_REQUEST]
    if front == "from_flask":
        from werkzeug.exceptions import BadRequest as FlaskBadRequest
        from werkzeug.exceptions import HTTPException as FlaskException

        return error if isinstance(error, FlaskException) else FlaskBadRequest(detail)
    if front == "from_starlette":
        from starlette.exceptions import HTTPException as StarletteException
        from starlette.requests import ClientDisconnect

        known = isinstance(error, StarletteException | ClientDisconnect)
        return error if known else StarletteException(HTTPStatus.BAD_REQUEST, detail)
    from django.core.exceptions import BadRequest as DjangoBadRequest
    from django.core.exceptions import RequestDataTooBig

    refused: Exception = error if isinstance(error, RequestDataTooBig) else DjangoBadRequest(detail)
    return refused
