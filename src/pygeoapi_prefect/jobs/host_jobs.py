"""Jobs in pygeoapi's terms, and back."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pygeoapi.util import DATETIME_FORMAT

from pygeoapi_prefect.jobs.queries import ELSEWHERE
from pygeoapi_prefect.jobs.records import Job
from pygeoapi_prefect.schemas import JobStatus
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE

_JOB_COLUMNS = {"status", "message", "progress", "created", "started", "finished", "updated"}


def host_job(job: Job) -> dict[str, Any]:
    """A job as pygeoapi's managers give it."""
    return {
        "type": "process",
        "identifier": job.job_id,
        "process_id": job.process_id,
        "status": job.status.value,
        "message": job.message,
        "progress": job.progress,
        "created": _text(job.created),
        # pygeoapi sorts the list by it
        "started": _text(job.started or job.created),
        "finished": job.finished and _text(job.finished),
        "updated": _text(job.updated),
        "mimetype": job.media_type or JSON_MEDIA_TYPE,
    }


def columns_of(host: Mapping[str, Any]) -> dict[str, Any]:
    """What pygeoapi says of a job, as columns of ``ogc_jobs``."""
    columns: dict[str, Any] = {name: host[name] for name in _JOB_COLUMNS if host.get(name) is not None}
    columns |= {name: _time(columns[name]) for name in ("created", "started", "finished", "updated") if name in columns}
    if "status" in columns:
        status = JobStatus(getattr(columns["status"], "value", columns["status"]))
        columns["status"] = status
        if status.is_terminal:
            columns.setdefault("finished", datetime.now(UTC))
        else:
            columns.pop("finished", None)
        if status is JobStatus.RUNNING:
            columns.setdefault("started", datetime.now(UTC))
            columns.setdefault("runner_id", ELSEWHERE)
    if host.get("mimetype"):
        columns["media_type"] = host["mimetype"]
    return columns


def _time(value: Any) -> datetime:
    time_ = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return time_.replace(tzinfo=UTC) if time_.tzinfo is None else time_


def _text(value: datetime) -> str:
    return value.strftime(DATETIME_FORMAT)
