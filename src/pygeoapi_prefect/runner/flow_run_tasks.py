"""
What is asked of Prefect and of the stores for one job of a deployment.

Every function waits for somebody and keeps no state: the runner calls them in threads.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from pygeoapi_prefect.exceptions import ConfigurationError, ResultNotAvailableError
from pygeoapi_prefect.jobs import LogLine, Outcome
from pygeoapi_prefect.jobs.records import MAX_LOG_LINES
from pygeoapi_prefect.prefect_api import Deployment, FlowRunState, FlowRunStateType, PrefectApi
from pygeoapi_prefect.process.flow_runs import TAG, flow_run_name, flow_run_parameters, flow_run_tags, trace_labels
from pygeoapi_prefect.process.foreign import flow_run_of_job
from pygeoapi_prefect.process.handed_over import HandedOver
from pygeoapi_prefect.results import ResultStore, copy_values
from pygeoapi_prefect.results.blocks import StorageBlock, is_block
from pygeoapi_prefect.runner.held_jobs import HeldJob
from pygeoapi_prefect.schemas import JobStatus
from pygeoapi_prefect.settings import DeploymentSettings, ManagerSettings, ProcessSettings

JOB_STATUSES: Mapping[FlowRunStateType, JobStatus] = {
    "SCHEDULED": JobStatus.ACCEPTED,
    "PENDING": JobStatus.ACCEPTED,
    "RUNNING": JobStatus.RUNNING,
    "PAUSED": JobStatus.RUNNING,
    "CANCELLING": JobStatus.DISMISSED,
    "CANCELLED": JobStatus.DISMISSED,
    "COMPLETED": JobStatus.SUCCESSFUL,
    "FAILED": JobStatus.FAILED,
    "CRASHED": JobStatus.FAILED,
}
"""
What the state of a flow run means for its job. A job that runs goes on to: between two attempts its run is SCHEDULED
(AwaitingRetry), and then PENDING again.
"""


LOGS_PER_PAGE = 200
"""The most that Prefect gives at once."""


class FlowRunTasks:
    """
    Creates the flow runs of jobs, reads what they leave, and removes it.

    Args:
        settings: Of the manager.
        resources: The processes, by process id.
        results: The result store of the manager.

    Every method raises:
        PrefectUnavailableError: Prefect cannot be reached.
        PrefectRefusedError: Prefect answered that a request is wrong.
        ResultStoreError: The result storage of the process cannot be reached.
        ConfigurationError: The process has no deployment any more, or its block is of no use.
    """

    def __init__(
        self, settings: ManagerSettings, resources: Mapping[str, Mapping[str, Any]], results: ResultStore
    ) -> None:
        self._settings = settings
        self._resources = resources
        self._results = results

    def create(self, api: PrefectApi, job: HeldJob, job_variables: Mapping[str, Any]) -> UUID:
        """Create the flow run of a job, or find the one that was created before; its id."""
        process, deployment_settings = self._of(job)
        if deployment_settings.is_foreign:
            return self._create_foreign(api, job, deployment_settings)
        deployment = find_deployment(api, job.process_id, deployment_settings)
        handed_over = HandedOver(
            job_id=job.job_id,
            process_id=job.process_id,
            resource=self._resources[job.process_id],
            request=job.details.request,
            storage=process.result_storage or self._settings.output_dir,
            reference_limits=asdict(self._settings.reference_limits),
            user=None if job.details.user is None else job.details.user.to_json(),
            secrets=job.secrets,
            trace_parent=job.details.trace_parent,
            created=job.details.job.created.isoformat(),
            max_output_bytes=self._settings.max_output_bytes_of(job.process_id),
        )
        self._storage(api, process).put(handed_over.order_location, handed_over.order_json())
        if job.secrets:
            # the last thing before its flow run: where the storage is away, Prefect shall not keep them for nothing
            api.save_secret(handed_over.secret_block, job.secrets.to_json())
        return api.create_deployment_run(
            deployment.deployment_id,
            name=flow_run_name(job.process_id, job.job_id),
            parameters=flow_run_parameters(job.job_id, job.details.request) | handed_over.parameters(),
            tags=flow_run_tags(job.process_id, job.job_id),
            idempotency_key=job.job_id,
            # Prefect adds the environment to that of the deployment, and replaces every other variable
            job_variables=job_variables,
            labels=trace_labels(job.details.trace_parent),
        )

    def _create_foreign(self, api: PrefectApi, job: HeldJob, settings: DeploymentSettings) -> UUID:
        name, parameters = flow_run_of_job(job.process_id, job.job_id, job.details.request)
        deployment = find_deployment(api, job.process_id, settings)
        return api.create_deployment_run(
            deployment.deployment_id,
            name=name,
            parameters=parameters,
            tags=flow_run_tags(job.process_id, job.job_id),
            idempotency_key=job.job_id,
            # a deployment that is served by its own process has no queues
            work_queue_name=settings.queue if deployment.work_pool_name else None,
            labels=trace_labels(job.details.trace_parent),
        )

    def waits_for(self, api: PrefectApi, job: HeldJob) -> str | None:
        """Why a flow run has not begun, for the job's client."""
        deployment = find_deployment(api, job.process_id, self._of(job)[1])
        if deployment.paused:
            return "The job waits: its deployment is paused in Prefect"
        if deployment.work_pool_name is None:
            return None
        pool = api.work_pool(deployment.work_pool_name)
        if pool is None:
            return f"The job waits: its work pool {deployment.work_pool_name!r} was deleted in Prefect"
        if pool.is_paused:
            return f"The job waits: the work pool {pool.name!r} is paused in Prefect"
        if deployment.work_queue_name is not None:
            queue = api.work_queue(pool.name, deployment.work_queue_name)
            if queue is None or queue.is_paused:
                state = "missing" if queue is None else "paused"
                return f"The job waits: the work queue {deployment.work_queue_name!r} is {state} in Prefect"
        if api.living_workers(pool.name) == 0:
            return f"The job waits: no worker of the work pool {pool.name!r} is online"
        return f"The job waits for a worker of the work pool {pool.name!r} to take it"

    def lost_worker(self, api: PrefectApi, job: HeldJob) -> str | None:
        """
        What to tell of a job that runs, when its work pool has lost all its workers.

        Nobody tells of a flow run that ended with its whole machine: Prefect goes on to call it running.
        """
        deployment = find_deployment(api, job.process_id, self._of(job)[1])
        if deployment.work_pool_name is not None and api.living_workers(deployment.work_pool_name) == 0:
            return (
                f"The job was started, but no worker of the work pool {deployment.work_pool_name!r} is online any "
                "more: it may have been lost with its worker"
            )
        return None

    def outcome(self, api: PrefectApi, job: HeldJob, state: FlowRunState) -> Outcome | None:
        """The outcome of a job whose flow run has ended; None: only a pool worker may read its result."""
        process, _ = self._of(job)
        if process.is_foreign:
            return None if state.type == "COMPLETED" else _failed(state)
        storage = self._storage(api, process)
        try:
            written = Outcome.from_json(json.loads(storage.get(HandedOver.outcome_location_of(job.job_id))))
        except ResultNotAvailableError:
            if state.type == "COMPLETED":
                return Outcome.failed(
                    "The flow run completed, but left no outcome in the result storage of the process. Can its work "
                    "pool reach that?"
                )
            return _failed(state)
        except (ValueError, KeyError, TypeError):
            return Outcome.failed("The flow run left an outcome that cannot be read")
        if JOB_STATUSES[state.type] is not written.status:
            return _failed(state)
        if written.result is None:
            return written
        folder = f"{job.job_id}/{job.claim.number}"
        result = copy_values(written.result, storage, self._results, folder, allowed=job.job_id)
        return replace(written, result=result)

    def remove_traces(self, api: PrefectApi, job: HeldJob) -> None:
        """Remove what was for the flow run of an ended job alone."""
        process, _ = self._of(job)
        if process.is_foreign:
            return
        if job.details.has_secrets:
            api.delete_secret(HandedOver.secret_block_of(job.job_id))
        storage = self._storage(api, process)
        if storage.url != self._results.url:
            storage.delete(HandedOver.folder_of(job.job_id))
        else:
            storage.delete(HandedOver.order_location_of(job.job_id))
            storage.delete(HandedOver.outcome_location_of(job.job_id))

    def _of(self, job: HeldJob) -> tuple[ProcessSettings, DeploymentSettings]:
        process = self._settings.process(job.process_id)
        if process.deployment is None:
            raise ConfigurationError(f"resources.{job.process_id}.processor.prefect.deployment is gone")
        return process, process.deployment

    def _storage(self, api: PrefectApi, process: ProcessSettings) -> ResultStore:
        """Where the flow runs of a process leave their outcomes."""
        place = process.result_storage
        if place is None:
            return self._results
        if is_block(place):
            return StorageBlock.from_document(place, api.block_document(place).data).store
        return ResultStore(place)


def log_lines(api: PrefectApi, flow_run_id: UUID, *, after: int) -> list[LogLine]:
    """Of a flow run's log, without the first *after*; as many as a job's log may have."""
    lines: list[LogLine] = []
    while after + len(lines) < MAX_LOG_LINES:
        page = api.flow_run_logs(flow_run_id, after=after + len(lines))
        lines += page
        if len(page) < LOGS_PER_PAGE:
            break
    return lines


def _failed(state: FlowRunState) -> Outcome:
    return Outcome.failed(f"The flow run {state.type.lower()}: {state.message or state.name}")


def find_deployment(api: PrefectApi, process_id: str, settings: DeploymentSettings) -> Deployment:
    """
    The deployment of a process.

    Raises:
        ConfigurationError: There is none.
    """
    if settings.is_foreign:
        return api.deployment(settings.name)
    found = api.find_deployments(name=settings.name, tags=[TAG, f"process:{process_id}"])
    if not found:
        raise ConfigurationError(
            f"Process {process_id!r} has no deployment {settings.name!r}. Run `pygeoapi plugins prefect deploy "
            f"{process_id}`.",
            user_msg="This process is not deployed at the moment.",
        )
    return found[0]
