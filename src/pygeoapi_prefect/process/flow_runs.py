"""How the flow run of a job looks in Prefect: the same in all ways of running."""

from collections.abc import Mapping
from typing import Any

from pygeoapi_prefect.jobs.records import readable_inputs

TAG = "pygeoapi"
"""Every flow run of a job has it."""

MAX_PARAMETER_CHARACTERS = 1024
"""Larger inputs are shown by their type and size: Prefect is no store for them."""

TRACE_PARENT_LABEL = "__OTEL_TRACEPARENT"
"""Source: ``prefect.telemetry.run_telemetry.LABELS_TRACEPARENT_KEY``."""


def flow_name(process_id: str) -> str:
    """Prefect's flow that stands for a process. Prefect refuses some characters in names."""
    return "".join("-" if character in "/%&<>" else character for character in process_id)


def flow_run_name(process_id: str, job_id: str) -> str:
    """Of a job's flow run."""
    return f"{process_id} {job_id}"


def flow_run_tags(process_id: str, job_id: str) -> list[str]:
    """By which a job's flow run is found in Prefect."""
    return [TAG, f"process:{process_id}", f"job:{job_id}"]


def progress_description(job_id: str) -> str:
    """Of the progress artifact by which the recorder shows a job's own progress."""
    return f"Progress of job {job_id}"


def flow_run_parameters(job_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs as Prefect may show them: large ones by their type and size, secret ones not at all."""
    inputs = {name: _shortened(value) for name, value in readable_inputs(request).items()}
    return {"job_id": job_id, "inputs": inputs}


def _shortened(value: Any) -> Any:
    size = len(str(value))
    return value if size <= MAX_PARAMETER_CHARACTERS else f"({type(value).__name__}, {size} characters)"


def trace_labels(trace_parent: str | None) -> dict[str, str]:
    """Labels by which the span that Prefect makes of a flow run stands below another one."""
    return {} if trace_parent is None else {TRACE_PARENT_LABEL: trace_parent}
