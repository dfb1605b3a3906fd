"""The list of jobs, the status of one, and its dismissal."""

import json
from collections.abc import Callable
from http import HTTPStatus

from pygeoapi.api import API, APIRequest
from pygeoapi.formats import F_JSON, FORMAT_TYPES
from pygeoapi.util import to_json

from pygeoapi_prefect.ogcapi.boundary import Answer, headers_of, within_boundary


@within_boundary
def get_jobs(original: Callable[..., Answer], api: API, request: APIRequest, job_id: str | None = None) -> Answer:
    """Mends: stock answers an HTML traceback page while the job store cannot be reached."""
    return original(api, request, job_id)


@within_boundary
def delete_job(original: Callable[..., Answer], api: API, request: APIRequest, job_id: str) -> Answer:
    """Mends: stock's answer has no media type, which fails under Starlette, and is no valid statusInfo (row B6)."""
    job = api.manager.get_job(job_id)
    _, status, content = original(api, request, job_id)
    if status != HTTPStatus.OK:
        return headers_of(api, request), status, content
    status_info = json.loads(content) | {
        "type": "process",
        "processID": job["process_id"],
        "progress": job["progress"],
    }
    headers = headers_of(api, request)
    headers["Content-Type"] = FORMAT_TYPES[F_JSON]
    return headers, status, to_json(status_info, api.pretty_print)
