"""The list of jobs, the status of one, and its dismissal."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pygeoapi.api import API, APIRequest
from pygeoapi.formats import F_HTML, F_JSON
from pygeoapi.util import DATETIME_FORMAT

from pygeoapi_prefect.exceptions import UnknownJobError
from pygeoapi_prefect.jobs import JobFilter
from pygeoapi_prefect.jobs.status_info import status_info
from pygeoapi_prefect.ogcapi.boundary import Answer, html_answer, json_answer, within_boundary
from pygeoapi_prefect.ogcapi.paging import Page
from pygeoapi_prefect.schemas import JobStatus

MESSAGE_REMOVED = "Job removed"
"""Of a job that had ended before it was dismissed; dismissed jobs have their own message."""

_FORMATS = {F_JSON: "JSON", F_HTML: "HTML"}


@within_boundary
def get_jobs(original: Callable[..., Answer], api: API, request: APIRequest, job_id: str | None = None) -> Answer:
    """
    Mends: stock's statusInfo has nulls (row B1), and links to results that are not there (B3); its list takes no
    filters (B5), and links to a page after the last one (B12).
    """
    return _job_list(api, request) if job_id is None else _job(api, request, job_id)


def _job_list(api: API, request: APIRequest) -> Answer:
    page = Page.of(api, request, "/jobs")
    found, number_matched = api.manager.store.list_jobs(
        JobFilter.parse(page.parameters), limit=page.limit, offset=page.offset
    )
    job_list = {
        "jobs": [status_info(job, api.base_url) for job in found],
        "links": page.links(request, number_matched=number_matched, formats=_FORMATS),
    }
    if request.format == F_HTML:
        return _page(api, request, "jobs/index.html", {"jobs": job_list, "offset": page.offset})
    return json_answer(api, request, job_list)


def _job(api: API, request: APIRequest, job_id: str) -> Answer:
    info = status_info(api.manager.store.job(job_id), api.base_url)
    if request.format == F_HTML:
        return _page(api, request, "jobs/job.html", {"jobs": info})
    return json_answer(api, request, info)


def _page(api: API, request: APIRequest, template: str, data: dict[str, Any]) -> Answer:
    now = datetime.now(UTC).strftime(DATETIME_FORMAT)
    return html_answer(api, request, api.config["server"]["templates"], template, {**data, "now": now})


@within_boundary
def delete_job(original: Callable[..., Answer], api: API, request: APIRequest, job_id: str) -> Answer:
    """Mends: stock's answer has no media type, which fails under Starlette, and is no valid statusInfo (row B6)."""
    store = api.manager.store
    job = store.job(job_id)
    api.manager.delete_job(job_id)
    try:
        info = status_info(store.job(job_id), api.base_url)
    except UnknownJobError:
        removed = replace(job, status=JobStatus.DISMISSED, message=MESSAGE_REMOVED)
        info = status_info(removed, api.base_url)
        info["links"] = [link for link in info["links"] if link["rel"] == "up"]
    return json_answer(api, request, info)
