"""
What a Prefect worker runs for a deployed process: ``pygeoapi_prefect.process.deployed.process_flow``.

Prefect imports that name when it is about to run a flow run, so it is made for the flow run: the flow has the name,
retries, task runner and hooks of the user's. It leaves the outcome as JSON in the result storage of the process;
nothing else is read back, least of all a pickle.
"""

import atexit
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.flows import Flow
from prefect.runtime import flow_run as this_flow_run

from pygeoapi_prefect.jobs.records import JobSecrets, Outcome
from pygeoapi_prefect.masking import SecretMask
from pygeoapi_prefect.process.engine import flow_of_job, with_parameters
from pygeoapi_prefect.process.execution import failed, successful
from pygeoapi_prefect.process.handed_over import HandedOver, read_order
from pygeoapi_prefect.process.handled import handled_job
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.process.processor import load_processor
from pygeoapi_prefect.process.progress import report_to
from pygeoapi_prefect.process.storage_blocks import read_block, read_document
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.results.blocks import is_block
from pygeoapi_prefect.telemetry import tracing
from pygeoapi_prefect.telemetry.measured import measured
from pygeoapi_prefect.telemetry.usage import UsageMeter

LOGGER = logging.getLogger(__name__)

ENTRYPOINT = f"{__name__}.process_flow"
"""Of every deployment. Without a colon it is a module's path: Prefect imports it after the code was pulled."""


def __getattr__(name: str) -> Any:
    if name != "process_flow":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _flow_of_this_run()


def _flow_of_this_run() -> Flow[..., Any]:
    # code that was pulled stands in the working directory
    if (folder := os.getcwd()) not in sys.path:  # noqa: PTH109 sys.path has strings
        sys.path.insert(0, folder)
    parameters = this_flow_run.parameters if this_flow_run.get_id() else {}
    if "storage" not in parameters:
        return _unable(RuntimeError("This flow runs jobs of pygeoapi-prefect. Execute its process instead."), [])
    job_id = str(parameters["job_id"])
    try:
        store = _storage(str(parameters["storage"]))
        order = _order(store, job_id)
        mask = SecretMask(order.secrets)
        # to the end of the process, which runs nothing else
        mask.begin()
        store = store.limited(order.max_output_bytes)
    except Exception as error:
        # also where Prefect loads the flow of a job that has ended, for its hooks
        return _unable(error, list(parameters))
    _use_scratch_folder()
    # Prefect's engine makes the span of the flow run, below that of the request
    tracing.set_up()
    usage = UsageMeter()

    def leave(outcome: Outcome) -> None:
        _leave(store, job_id, replace(outcome, usage=usage.report(), metrics=measured()))

    try:
        processor = load_processor(order.process_id, order.resource)
        handled = handled_job(order, processor.metadata, store, mask=mask, drain=_flush, usage=usage)

        def begin(flow_run_id: UUID) -> None:
            if int(this_flow_run.run_count) == 1:
                tracing.waited_span(*order.traced)
            if handled is not None:
                handled.open()
            report_to(_ProgressArtifact(flow_run_id, mask.text))

        return flow_of_job(
            processor,
            order,
            store,
            began=begin,
            kept=lambda manifest: leave(successful(manifest, handled)),
            # the next attempt, if there is one, replaces it
            failed=lambda error: leave(failed(error)),
            parameters=list(parameters),
            handled=handled,
            mask=mask,
        )
    except Exception as error:
        shown = mask.error(error)
        _leave(store, job_id, failed(shown))
        return _unable(shown, list(parameters))


def _use_scratch_folder() -> None:
    """As in the pool, what the job leaves in ``tempfile``'s folder is gone when its process ends."""
    folder = tempfile.mkdtemp(prefix="pygeoapi-job-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["TMPDIR"] = tempfile.tempdir = folder


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _unable(error: Exception, parameters: Sequence[str]) -> Flow[..., Any]:
    """A flow that fails: Prefect then shows the reason, and not a process that has crashed."""

    def fail(*shown: Any) -> None:
        raise error

    return Flow(fn=with_parameters(fail, parameters), name="pygeoapi-process", validate_parameters=False)


def _storage(place: str) -> ResultStore:
    if is_block(place):
        return read_block(place, "processor.prefect.result_storage").store
    return ResultStore(place)


def _order(store: ResultStore, job_id: str) -> JobOrder:
    data = store.get(HandedOver.order_location_of(job_id))
    secrets = JobSecrets()
    if json.loads(data).get("has_secrets"):
        block = read_document(f"secret/{HandedOver.secret_block_of(job_id)}")
        secrets = JobSecrets.from_json(json.loads(block["value"]))
    return read_order(data, job_id, secrets)


def _leave(store: ResultStore, job_id: str, outcome: Outcome) -> None:
    store.put(HandedOver.outcome_location_of(job_id), json.dumps(outcome.to_json()).encode())


class _ProgressArtifact:
    """Progress that the job reports becomes a progress artifact of its flow run, which the runner takes over."""

    def __init__(self, flow_run_id: UUID, masked: Callable[[str], str]) -> None:
        self._flow_run_id = flow_run_id
        self._masked = masked
        self._artifact_id: UUID | None = None
        self._percent = 0

    def __call__(self, percent: int, message: str | None) -> None:
        self._percent = max(self._percent, percent)
        message = message and self._masked(message)
        with get_client(sync_client=True) as client:
            if self._artifact_id is None:
                artifact = ArtifactCreate(
                    key="progress",
                    type="progress",
                    data=float(self._percent),
                    description=message,
                    flow_run_id=self._flow_run_id,
                )
                self._artifact_id = client.create_artifact(artifact).id
            else:
                changed = {"data": float(self._percent)} | ({"description": message} if message else {})
                client.update_artifact(self._artifact_id, ArtifactUpdate.model_validate(changed))
