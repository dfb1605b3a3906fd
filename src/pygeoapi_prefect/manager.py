"""PrefectManager: pygeoapi's face. It translates between pygeoapi's calls and ours, and does nothing else."""

import logging
import os
import threading
import time
import uuid
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from pygeoapi.process.base import BaseProcessor
from pygeoapi.process.manager.base import BaseManager
from pygeoapi.util import DATETIME_FORMAT, RequestedProcessExecutionMode, Subscriber
from pygeoapi.util import JobStatus as HostJobStatus

from pygeoapi_prefect import ogcapi
from pygeoapi_prefect.exceptions import (
    ExecutionRefusedError,
    InvalidInputsError,
    JobFailedError,
    ProcessUnavailableError,
    ResultNotAvailableError,
    ResultNotReadyError,
    SyncWaitEndedError,
    UnknownProcessError,
)
from pygeoapi_prefect.jobs import Job, JobDetails, JobStore, NewJob, Wakeups
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.queries import ELSEWHERE, ENDED
from pygeoapi_prefect.process.processor import is_flow, load_processor
from pygeoapi_prefect.results import ResultStore, respond
from pygeoapi_prefect.runner.supervisor import Supervisor
from pygeoapi_prefect.runner.web_threads import default_sync_waits
from pygeoapi_prefect.schemas import JobControlOption, JobStatus, ResponseForm
from pygeoapi_prefect.settings import ManagerSettings

LOGGER = logging.getLogger(__name__)

RESPOND_ASYNC = {"Preference-Applied": RequestedProcessExecutionMode.respond_async.value}
WAIT = {"Preference-Applied": RequestedProcessExecutionMode.wait.value}
DEFAULT_MEDIA_TYPE = "application/json"

_JOB_COLUMNS = {"status", "message", "progress", "created", "started", "finished", "updated"}


class PrefectManager(BaseManager):
    """
    pygeoapi's process manager: ``server.manager.name: pygeoapi_prefect.PrefectManager``.

    To load it starts nothing, and needs neither Prefect nor the database. Thread-safe; keeps no state of a request.

    Attributes:
        unavailable: Processes whose processor could not be made, with the reason. They are not in ``processes``.
    """

    def __init__(self, manager_def: dict[str, Any]) -> None:
        """
        Args:
            manager_def: ``server.manager`` of the configuration, and ``processes``.

        Raises:
            ConfigurationError: Names the YAML key.
        """
        super().__init__({**manager_def, "output_dir": None})
        self.is_async = True
        self.supports_subscribing = False
        self.settings = ManagerSettings.from_manager_def(manager_def)
        self.unavailable: dict[str, str] = {}
        self._results = ResultStore(self.settings.output_dir)
        self._per_process = _PerProcess(self.settings)
        self._descriptions: dict[str, Mapping[str, Any]] = {}
        self._flow_processes: set[str] = set()
        for process_id in list(self.processes):
            self._describe(process_id)
        self._supervisor = Supervisor(self.settings, manager_def, sorted(self._flow_processes))
        if self.settings.ogc_compliance:
            ogcapi.install(self)

    # ---------------------------------------------------------------- processes

    def get_processor(self, process_id: str) -> BaseProcessor:
        """
        A new processor, whose description is its own: pygeoapi's core changes lists in it.

        Raises:
            UnknownProcessError: No such process is configured.
            ProcessUnavailableError: It is, but cannot be imported.
        """
        self.require_available(process_id)
        processor = load_processor(process_id, self.processes[process_id])
        processor.metadata = deepcopy(processor.metadata)
        return processor

    def require_available(self, process_id: str) -> None:
        """
        Raises:
            UnknownProcessError: No such process is configured.
            ProcessUnavailableError: It is, but cannot be imported.
        """
        if process_id in self.unavailable:
            raise ProcessUnavailableError(f"Process {process_id!r}: {self.unavailable[process_id]}")
        if process_id not in self.processes:
            raise UnknownProcessError(f"There is no process {process_id!r}")

    def _describe(self, process_id: str) -> None:
        try:
            processor = self.get_processor(process_id)
            self._descriptions[process_id] = processor.metadata
            if is_flow(processor):
                self._flow_processes.add(process_id)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            LOGGER.error("process %s is not available: %s. Run `pygeoapi plugins prefect doctor`.", process_id, reason)
            self.unavailable[process_id] = reason
            del self.processes[process_id]

    # ---------------------------------------------------------------- execution

    def execute_process(
        self,
        process_id: str,
        data_dict: dict[str, Any],
        execution_mode: RequestedProcessExecutionMode | None = None,
        requested_outputs: dict[str, Any] | None = None,
        subscriber: Subscriber | None = None,
        requested_response: str | None = ResponseForm.RAW.value,
    ) -> tuple[str, str, Any, HostJobStatus, dict[str, str] | None]:
        """
        Accept a job, and wait for its end where the request is synchronous.

        Args:
            process_id: Key of the process in the configuration.
            data_dict: The inputs.
            execution_mode: What the client prefers.
            requested_outputs: Selection of outputs.
            subscriber: Refused: nobody would be called back.
            requested_response: ``raw`` or ``document``.

        Returns:
            Job id, media type, content, status and further headers.

        Raises:
            ExecutionRefusedError: No job was made.
            JobFailedError: The synchronous job failed.
            SyncWaitEndedError: It goes on, but cannot be waited for, and the process has no asynchronous mode.
            JobStoreUnavailableError: The database cannot be reached.
        """
        self.require_available(process_id)
        if not isinstance(data_dict, Mapping):
            raise InvalidInputsError(user_msg="'inputs' must be an object of input names and values.")
        if subscriber is not None:
            raise ExecutionRefusedError(user_msg="Callbacks ('subscriber') are not supported. Poll the job instead.")
        self.start()
        options = self._descriptions[process_id].get("jobControlOptions") or [JobControlOption.SYNC_EXECUTE]
        may_run_async = JobControlOption.ASYNC_EXECUTE in options
        may_run_sync = JobControlOption.SYNC_EXECUTE in options or not may_run_async
        wants_async = execution_mode is RequestedProcessExecutionMode.respond_async
        new_job = NewJob(
            job_id=str(uuid.uuid4()),
            process_id=process_id,
            request={
                "inputs": data_dict,
                "outputs": requested_outputs,
                "response": requested_response,
                "secret_inputs": secret_inputs(self._descriptions[process_id]),
            },
            recorded=self._is_run_by_prefect(process_id) or self.settings.process(process_id).record,
        )
        per_process = self._per_process
        seen = per_process.wakeups.seen()
        per_process.store.submit(new_job, max_waiting=self.settings.max_waiting)
        if may_run_async and (wants_async or not may_run_sync):
            return new_job.job_id, DEFAULT_MEDIA_TYPE, None, HostJobStatus.accepted, RESPOND_ASYNC
        details = self._wait(new_job.job_id, seen)
        if details is None:
            if not may_run_async:
                raise SyncWaitEndedError(new_job.job_id)
            return new_job.job_id, DEFAULT_MEDIA_TYPE, None, HostJobStatus.accepted, RESPOND_ASYNC
        media_type, content = self._respond(details)
        applied = None if execution_mode is RequestedProcessExecutionMode.wait else WAIT
        return new_job.job_id, media_type, content, HostJobStatus.successful, applied

    def _is_run_by_prefect(self, process_id: str) -> bool:
        """Then the flow run is there in any case, and must come to its end there too."""
        return process_id in self._flow_processes or self.settings.process(process_id).deployment is not None

    def _wait(self, job_id: str, seen: int) -> JobDetails | None:
        """The ended job; None when this process waits for enough jobs already, or time ran out."""
        waits, store = self._per_process.sync_waits, self._per_process.store
        if not waits.acquire(blocking=False):
            return None
        try:
            deadline = time.monotonic() + self.settings.sync_timeout
            while not store.status(job_id).is_terminal:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                seen = self._per_process.wakeups.wait(seen, left)
        finally:
            waits.release()
        return store.details(job_id)

    def _respond(self, details: JobDetails) -> tuple[str, Any]:
        job = details.job
        if job.status is JobStatus.FAILED:
            problem = job.problem
            raise JobFailedError(
                job.message,
                job_id=job.job_id,
                http_status_code=problem.status if problem else 500,
                ogc_exception_code=problem.type if problem else "about:blank",
            )
        if job.status is JobStatus.DISMISSED:
            raise ResultNotAvailableError(user_msg="The job was dismissed.")
        if not job.status.is_terminal:
            raise ResultNotReadyError()
        response = respond(self._results, details.result, details.request, as_returned=not self.settings.ogc_compliance)
        return response.media_type, response.content

    # ---------------------------------------------------------------- jobs

    def get_jobs(
        self, status: HostJobStatus | None = None, limit: int | None = None, offset: int | None = None
    ) -> dict[str, Any]:
        """
        Jobs, newest first.

        Returns:
            ``jobs`` and ``numberMatched``, which is counted to ``offset + limit + 1`` only: pygeoapi uses it for the
            next link alone.
        """
        self.start()
        found, number_matched = self._per_process.store.list_jobs(
            status=None if status is None else JobStatus(status.value), limit=limit, offset=offset or 0
        )
        return {"jobs": [_to_host(job) for job in found], "numberMatched": number_matched}

    def get_job(self, job_id: str) -> dict[str, Any]:
        """The job. Raises UnknownJobError."""
        self.start()
        return _to_host(self._per_process.store.job(job_id))

    def get_job_result(self, job_id: str) -> tuple[str, Any]:
        """
        Media type and content of the job's result, in the form that its execute request asked for.

        Raises:
            UnknownJobError: There is no such job.
            ResultNotReadyError: It has not ended.
            ResultNotAvailableError: It was dismissed, or its stored outputs are gone.
            JobFailedError: It failed; with its reason and status.
        """
        self.start()
        return self._respond(self._per_process.store.details(job_id))

    def delete_job(self, job_id: str) -> bool:
        """
        Dismiss a job that has not ended; remove an ended one with its stored outputs.

        Raises:
            UnknownJobError: There is no such job.
        """
        self.start()
        store = self._per_process.store
        job = store.job(job_id)
        if not job.status.is_terminal and store.dismiss(job_id) is not None:
            return True
        store.remove(job_id, clean_up=self._removes_resources(job.process_id))
        self._results.delete(job_id)
        return True

    def _removes_resources(self, process_id: str) -> bool:
        try:
            return callable(getattr(self.get_processor(process_id), "remove_resources", None))
        except (UnknownProcessError, ProcessUnavailableError):
            return False

    def add_job(self, job_metadata: dict[str, Any]) -> str:
        """
        Store a job that was made elsewhere, in pygeoapi's terms (``identifier``, ``process_id``, ``status``, times …).

        It is not executed, even when it is accepted: use :meth:`execute_process` for that.
        """
        job_id, process_id = str(job_metadata["identifier"]), str(job_metadata["process_id"])
        self._per_process.store.add(job_id, process_id, _columns(job_metadata))
        return job_id

    def update_job(self, job_id: str, update_dict: dict[str, Any]) -> bool:
        """Change a job that has not ended, in pygeoapi's terms. Returns whether it was changed."""
        return self._per_process.store.update(job_id, _columns(update_dict))

    def start(self) -> None:
        """A request has come: see to it that a runner exists."""
        if self.settings.runner == "embedded":
            self._supervisor.ensure()

    def __repr__(self) -> str:
        return f"<PrefectManager> {self.name}"


class _PerProcess:
    """Connections and threads that a forked web process must not share with its parent: made by their first use."""

    def __init__(self, settings: ManagerSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._pid = 0

    def _made(self) -> "_PerProcess":
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    database = Database(self._settings.connection, timeout=self._settings.database_timeout)
                    self._store = JobStore(database)
                    self._wakeups = Wakeups(database.url, change=ENDED)
                    self._sync_waits = threading.Semaphore(self._settings.max_sync_waits or default_sync_waits())
                    self._pid = os.getpid()
        return self

    @property
    def store(self) -> JobStore:
        return self._made()._store

    @property
    def wakeups(self) -> Wakeups:
        return self._made()._wakeups

    @property
    def sync_waits(self) -> threading.Semaphore:
        return self._made()._sync_waits


def secret_inputs(description: Mapping[str, Any]) -> list[str]:
    """
    Inputs that hold something that nobody shall read.

    A part of their schema, however deep, says ``writeOnly: true`` or ``format: password``. The whole input counts as
    secret then: what is secret within it need not be told apart wherever inputs are shown.
    """
    return [
        name for name, declared in (description.get("inputs") or {}).items() if _holds_secret(declared.get("schema"))
    ]


def _holds_secret(schema: Any) -> bool:
    """Descends into every member, known as one with schemas or not: a secret that is missed is shown to everybody."""
    if isinstance(schema, Mapping):
        is_secret = schema.get("writeOnly") is True or schema.get("format") == "password"
        return is_secret or any(map(_holds_secret, schema.values()))
    return isinstance(schema, list | tuple) and any(map(_holds_secret, schema))


def _to_host(job: Job) -> dict[str, Any]:
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
        "mimetype": job.media_type or DEFAULT_MEDIA_TYPE,
    }


def _columns(host: Mapping[str, Any]) -> dict[str, Any]:
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
