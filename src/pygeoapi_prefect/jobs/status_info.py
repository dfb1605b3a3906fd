"""A job as the standard's statusInfo."""

from typing import Any
from urllib.parse import quote

from pygeoapi_prefect.jobs.records import Job
from pygeoapi_prefect.schemas import JobStatus, Link, StatusInfo
from pygeoapi_prefect.schemas.codes import EXCEPTIONS_REL, RESULTS_REL


def status_info(job: Job, base_url: str | None) -> dict[str, Any]:
    """
    Describe a job for its client.

    Args:
        job: As it is stored.
        base_url: Of the server, without a slash at its end; None: no links.

    Returns:
        Without members that have no value: the standard allows no nulls.

    Source:
        OGC 18-062r2, ``statusInfo.yaml``.
    """
    info = StatusInfo(
        processID=job.process_id,
        jobID=job.job_id,
        status=job.status,
        message=job.message,
        created=job.created,
        started=job.started,
        finished=job.finished,
        updated=job.updated,
        progress=job.progress,
        links=None if base_url is None else _links(job, f"{base_url}/jobs"),
    )
    return info.to_ogc()


def _links(job: Job, jobs_url: str) -> list[Link]:
    job_url = f"{jobs_url}/{quote(job.job_id, safe='')}"
    links = [
        Link(href=job_url, rel="self", type="application/json", title="This document"),
        Link(href=f"{job_url}?f=html", rel="alternate", type="text/html", title="This document as HTML"),
        Link(href=job_url, rel="monitor", type="application/json", title="Status of the job"),
        Link(href=jobs_url, rel="up", type="application/json", title="All jobs"),
    ]
    results_url = f"{job_url}/results"
    if job.status is JobStatus.SUCCESSFUL:
        links.append(Link(href=results_url, rel=RESULTS_REL, type=job.media_type, title="Results of the job"))
    elif job.status is JobStatus.FAILED:
        reason = "Why the job failed"
        links.append(Link(href=results_url, rel=EXCEPTIONS_REL, type="application/problem+json", title=reason))
    return links
