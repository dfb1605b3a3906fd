"""Makes jobs and flow runs in the state that a test starts from, through our own methods."""

import re
from typing import Any
from uuid import UUID, uuid4

from pygeoapi_prefect.jobs import Claim, Job, JobDetails, JobStore, NewJob, Outcome, RunnerRecord
from pygeoapi_prefect.prefect_api import PrefectApi
from pygeoapi_prefect.schemas import JobStatus

MANY = 1_000_000
PREFECT_START_SECONDS = 90.0
SUCCESS = Outcome(JobStatus.SUCCESSFUL, "Job successful", media_type="application/json", result={"a": 1})
FAILURE = Outcome.failed("It broke", status=400, type_="InvalidParameterValue")
TERMINAL = [status for status in JobStatus if status.is_terminal]


def new_job(job_id: str | None = None, process_id: str = "ndvi", **changes: Any) -> NewJob:
    """A job that is not stored yet."""
    return NewJob(job_id or uuid4().hex, process_id, changes.pop("request", {"inputs": {"x": 1}}), **changes)


def accepted(store: JobStore, job_id: str | None = None, process_id: str = "ndvi", **changes: Any) -> Job:
    """A stored job that waits."""
    job = new_job(job_id, process_id, **changes)
    store.submit(job, max_waiting=MANY)
    return store.job(job.job_id)


def claim_all(store: JobStore, runner_id: str = "runner", *, record: bool = True) -> list[JobDetails]:
    """Every job that waits, claimed."""
    return store.claim(runner_id, limit=MANY, process_limits={}, record=record)


def running(
    store: JobStore,
    job_id: str | None = None,
    process_id: str = "ndvi",
    *,
    runner_id: str = "runner",
    record: bool = True,
    **changes: Any,
) -> Claim:
    """A job that runs; claims every other one that waits, too."""
    job = accepted(store, job_id, process_id, **changes)
    claims = {details.job.job_id: details.job.claim for details in claim_all(store, runner_id, record=record)}
    return claims[job.job_id]


def ended(store: JobStore, status: JobStatus = JobStatus.SUCCESSFUL, **changes: Any) -> Job:
    """A job that ended with *status*."""
    claim = running(store, **changes)
    if status is JobStatus.DISMISSED:
        store.dismiss(claim.job_id)
    else:
        assert store.finish(claim, SUCCESS if status is JobStatus.SUCCESSFUL else FAILURE)
    return store.job(claim.job_id)


def runner_record(runner_id: str = "runner", **changes: Any) -> RunnerRecord:
    """A runner that is not registered yet."""
    return RunnerRecord(**{"runner_id": runner_id, "host": "here", "pid": 1, "pid_started": 1.0} | changes)


def make_run(api: PrefectApi, **changes: object) -> UUID:
    """A flow run that Prefect shows as running, of a flow without deployments."""
    given = {
        "flow_name": "squared",
        "name": "job",
        "parameters": {"n": 2},
        "idempotency_key": str(uuid4()),
        "state_type": "RUNNING",
    }
    return api.create_flow_run(**(given | changes))  # type: ignore[arg-type]


def label(value: Any) -> str:
    """Names a parameter of a test, the same in every process: pytest's workers must agree."""
    return re.sub(r" at 0x[0-9a-f]+", "", ascii(value))
