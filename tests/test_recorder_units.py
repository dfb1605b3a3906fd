"""What the recorder tells Prefect of a job, without Prefect."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from factories import accepted
from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.prefect_api import FlowRunStateType
from pygeoapi_prefect.process.flow_runs import MAX_PARAMETER_CHARACTERS, flow_name, flow_run_parameters
from pygeoapi_prefect.runner.flow_run_tasks import JOB_STATUSES
from pygeoapi_prefect.runner.recorder import ENDED_STATES, FLOW_RUN_STATES
from pygeoapi_prefect.schemas import JobStatus

FINAL_STATES = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


@pytest.fixture
def store(sqlite_url: str) -> Iterator[JobStore]:
    store = JobStore(Database(sqlite_url, timeout=5))
    yield store
    store.database.dispose()


@pytest.mark.parametrize("status", JobStatus)
def test_every_status_has_a_state(status: JobStatus) -> None:
    """Prefect shows each job status, as a state that it knows, final exactly when the status is."""
    state = FLOW_RUN_STATES[status]
    assert state in get_args(FlowRunStateType)
    assert (state in FINAL_STATES) == status.is_terminal


def test_states_tell_statuses_apart() -> None:
    """No two statuses look the same in Prefect, and no status is in the table that does not exist."""
    assert len(set(FLOW_RUN_STATES.values())) == len(JobStatus) == len(FLOW_RUN_STATES)


@pytest.mark.parametrize("state", get_args(FlowRunStateType))
def test_every_state_has_a_status(state: FlowRunStateType) -> None:
    """Each state of a flow run means a job status, one that has ended exactly when the run has or is about to."""
    assert JOB_STATUSES[state].is_terminal == (state in (*ENDED_STATES, "CANCELLING"))
    assert set(JOB_STATUSES) == set(get_args(FlowRunStateType))


def test_a_flow_is_named_by_its_process() -> None:
    """A process id that Prefect takes is the flow's name; what it refuses is replaced, one for one."""
    assert flow_name("ndvi-2 (ü)") == "ndvi-2 (ü)"
    assert flow_name("a/b%c&d<e>f") == "a-b-c-d-e-f"


def parameters(store: JobStore, request: Any) -> dict[str, Any]:
    job = accepted(store, request=request)
    shown = flow_run_parameters(job.job_id, store.details(job.job_id).request)
    assert shown.pop("job_id") == job.job_id
    return shown


def test_small_inputs_are_shown(store: JobStore) -> None:
    """Inputs up to the limit are shown as they are, whatever their type."""
    inputs = {"n": 1, "f": 1.5, "none": None, "list": [1, {"a": "b"}], "text": "x" * MAX_PARAMETER_CHARACTERS}
    assert parameters(store, {"inputs": inputs}) == {"inputs": inputs}


def test_large_inputs_are_named_by_type_and_size(store: JobStore) -> None:
    """Prefect gets no large input: each is shortened by itself, beside the small ones."""
    inputs = {"text": "x" * 1025, "list": ["y" * 5000], "small": 1}
    shown = parameters(store, {"inputs": inputs})["inputs"]
    assert shown == {"text": "(str, 1025 characters)", "list": "(list, 5004 characters)", "small": 1}
    assert len(json.dumps(shown)) < 200


def test_secret_inputs_are_not_shown(store: JobStore) -> None:
    """An input that the request marks as secret is named and not shown."""
    request = {"inputs": {"token": "open sesame", "n": 1}, "secret_inputs": ["token"]}
    assert parameters(store, request) == {"inputs": {"token": "(secret)", "n": 1}}


@pytest.mark.parametrize("request_", [{}, {"inputs": None}, {"inputs": []}])
def test_a_job_without_inputs_has_none_to_show(store: JobStore, request_: Any) -> None:
    """An imported job may have no request."""
    assert parameters(store, request_) == {"inputs": {}}
