"""pygeoapi's processes and jobs within an ASGI application of the user's: FastAPI, Starlette …"""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import pygeoapi.api as core
from pygeoapi.api import API, APIRequest, apply_gzip, processes
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pygeoapi_prefect.ogcapi.boundary import Answer
from pygeoapi_prefect.ogcapi.fronts import Asgi, with_problems


def application(api: API) -> Asgi:
    """
    The routes for processes and jobs, the landing page, the OpenAPI document and the conformance declaration.

    Args:
        api: pygeoapi's, made of a configuration. ``PYGEOAPI_CONFIG`` is not read. Its ``server.url`` is the address at
            which the application is mounted; ``server.api_rules.url_prefix`` has no effect.

    Returns:
        An ASGI application to mount. Requests are answered in Starlette's threads, and every error below
        ``/processes`` and ``/jobs`` is a problem document.
    """
    served = Starlette(
        routes=[
            _route(api, "/", _function(core, "landing_page")),
            _route(api, "/openapi", _function(core, "openapi_")),
            _route(api, "/conformance", _function(core, "conformance")),
            _route(api, "/processes", _function(processes, "describe_processes")),
            _route(api, "/processes/{process_id}", _function(processes, "describe_processes")),
            _route(api, "/processes/{process_id}/execution", _function(processes, "execute_process"), "POST"),
            _route(api, "/jobs", _function(processes, "get_jobs")),
            _route(api, "/jobs/{job_id}", _status_or_dismissal, "GET", "DELETE"),
            _route(api, "/jobs/{job_id}/results", _function(processes, "get_job_result")),
        ]
    )
    # with compliance off the functions are not wrapped, and pages stay as they are
    return with_problems(served, lambda: api.manager.settings.ogc_compliance, "")


def _function(module: Any, name: str) -> Callable[..., Answer]:
    """Looked up at each request: a wrapper may come later."""

    def call(method: str, *args: Any) -> Answer:
        answer: Answer = getattr(module, name)(*args)
        return answer

    return call


def _status_or_dismissal(method: str, *args: Any) -> Answer:
    answer: Answer = (processes.delete_job if method == "DELETE" else processes.get_jobs)(*args)
    return answer


def _route(api: API, path: str, function: Callable[..., Answer], *methods: str) -> Route:
    async def endpoint(request: Request) -> Response:
        made = await APIRequest.from_starlette(request, api.locales)
        if made.is_valid():
            call = partial(function, request.method, api, made, *request.path_params.values())
            headers, status, content = await run_in_threadpool(call)
        else:
            headers, status, content = await run_in_threadpool(api.get_format_exception, made)
        content = b"" if status == HTTPStatus.NO_CONTENT else apply_gzip(headers, content)
        return Response(content, status, dict(headers))

    return Route(path, endpoint, methods=list(methods or ("GET",)))
