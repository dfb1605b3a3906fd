"""PrefectManager: pygeoapi's face. It translates between pygeoapi's calls and ours, and does nothing else."""

import json
import logging
import math
import uuid
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from pygeoapi.process.base import BaseProcessor
from pygeoapi.process.manager.base import BaseManager
from pygeoapi.util import JobStatus as HostJobStatus
from pygeoapi.util import RequestedProcessExecutionMode, Subscriber

from pygeoapi_prefect import ogcapi
from pygeoapi_prefect.exceptions import (
    AuthenticationError,
    ProcessUnavailableError,
    SyncWaitEndedError,
    UnknownProcessError,
)
from pygeoapi_prefect.identity import User, current_user, verifier_of
from pygeoapi_prefect.identity.roles import require_role
from pygeoapi_prefect.jobs import IdempotencyKey, JobFilter, JobSecrets, JobStore, NewJob
from pygeoapi_prefect.jobs.host_jobs import columns_of, host_job
from pygeoapi_prefect.jobs.sealing import SecretKeys
from pygeoapi_prefect.ogcapi.execution import Execution
from pygeoapi_prefect.ogcapi.preferences import Preferences
from pygeoapi_prefect.process.processor import is_flow, load_processor, needs_access_token, requests_described
from pygeoapi_prefect.results import Response
from pygeoapi_prefect.runner.supervisor import Supervisor
from pygeoapi_prefect.schemas import JobControlOption, JobStatus, ResponseForm
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE
from pygeoapi_prefect.settings import ManagerSettings
from pygeoapi_prefect.validation import RequestValidator, secret_inputs, subscriber_urls
from pygeoapi_prefect.web_process import WebProcess

LOGGER = logging.getLogger(__name__)

RESPOND_ASYNC = {"Preference-Applied": RequestedProcessExecutionMode.respond_async.value}

_serving: dict[str, "PrefectManager"] = {}
"""
Managers that have seen a request, by their configuration, while this process lives.

Django's views make an API, and so a manager, for each request: it shares connections and threads of the first.
"""


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
        self._configuration = json.dumps(manager_def, sort_keys=True, default=str)
        if (serving := _serving.get(self._configuration)) is not None:
            self.__dict__.update(serving.__dict__)
        else:
            self._load(manager_def)
        if self.settings.ogc_compliance:
            ogcapi.install(self, wholly=self.settings.auth is not None)

    def _load(self, manager_def: dict[str, Any]) -> None:
        super().__init__({**manager_def, "output_dir": None})
        self.is_async = True
        self.supports_subscribing = True
        self.settings = ManagerSettings.from_manager_def(manager_def)
        self.verifier = verifier_of(self.settings.auth)
        self.unavailable: dict[str, str] = {}
        self._web_process = WebProcess(self.settings)
        self._keys = SecretKeys(self.settings)
        self._descriptions: dict[str, Mapping[str, Any]] = {}
        self._validators: dict[str, RequestValidator] = {}
        self._secret_inputs: dict[str, list[str]] = {}
        self._wants_token: set[str] = set()
        self._flow_processes: set[str] = set()
        for process_id in list(self.processes):
            self._describe(process_id)
        self._supervisor = Supervisor(self.settings, manager_def, sorted(self._flow_processes))

    # ---------------------------------------------------------------- processes

    def get_processor(self, process_id: str) -> BaseProcessor:
        """
        A new processor, whose description is its own: pygeoapi's core changes lists in it.

        Raises:
            UnknownProcessError: No such process is configured.
            ProcessUnavailableError: It is, but cannot be imported.
        """
        self.require_available(process_id)
        processor = load_processor(
            process_id, self.processes[process_id], default_options=self.settings.default_job_control_options
        )
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
            self._secret_inputs[process_id] = secret_inputs(processor.metadata)
            if needs_access_token(process_id, self.settings.process(process_id)):
                self._wants_token.add(process_id)
            self._validators[process_id] = RequestValidator(
                process_id, requests_described(processor), strict=self.settings.process(process_id).validate_inputs
            )
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
        subscriber: Subscriber | Mapping[str, str] | None = None,
        requested_response: str | None = ResponseForm.RAW.value,
    ) -> tuple[str, str, Any, HostJobStatus, dict[str, str] | None]:
        """
        :meth:`execute` in pygeoapi's terms.

        Args:
            process_id: Key of the process in the configuration.
            data_dict: The inputs.
            execution_mode: What the client prefers.
            requested_outputs: Selection of outputs.
            subscriber: URLs to be called back: pygeoapi's object, or that of the standard.
            requested_response: ``raw`` or ``document``.

        Returns:
            Job id, media type, content, status and further headers.
        """
        body = {
            "inputs": data_dict,
            "outputs": requested_outputs,
            "response": requested_response or ResponseForm.RAW,
            "subscriber": subscriber_urls(subscriber),
        }
        wants_async = execution_mode is RequestedProcessExecutionMode.respond_async
        execution = self.execute(process_id, body, Preferences(respond_async=wants_async), prefers_json=True)
        if execution.response is None:
            return execution.job.job_id, JSON_MEDIA_TYPE, None, HostJobStatus.accepted, RESPOND_ASYNC
        response = execution.response
        return execution.job.job_id, response.media_type, response.loaded(), HostJobStatus.successful, None

    def execute(
        self,
        process_id: str,
        body: Mapping[str, Any],
        preferences: Preferences,
        *,
        job_id: str | None = None,
        idempotency_key: IdempotencyKey | None = None,
        base_url: str | None = None,
        prefers_json: bool = False,
        trace_parent: str | None = None,
    ) -> Execution:
        """
        Accept a job, and wait for its end where the request is synchronous.

        Args:
            process_id: Key of the process in the configuration.
            body: The execute request.
            preferences: Of the client.
            job_id: The client's proposal; at most 64 characters, fit for URLs and names of folders.
            idempotency_key: The client's, by which it may send the request again.
            base_url: Of the server, for links in what the job's runner sends and to outputs by reference; None where it
                is not known.
            prefers_json: Whether the client would rather have several raw outputs as a document than as a multipart.
            trace_parent: As :class:`~pygeoapi_prefect.jobs.NewJob` has it.

        Returns:
            The execution.

        Raises:
            InvalidInputsError: The request does not fit the process description.
            ExecutionRefusedError: No job was made, for another reason.
            JobFailedError: The synchronous job failed.
            ResultNotAvailableError: Somebody dismissed it meanwhile.
            IdentityError: The current user may not execute the process.
            SyncWaitEndedError: It goes on, but cannot be waited for, and the process has no asynchronous mode.
            JobStoreUnavailableError: The database cannot be reached.
            SecretKeyError: There are secrets, and no key to keep them with.
        """
        self._require_user()
        self.require_available(process_id)
        require_role(current_user(), self.settings.process(process_id).roles, process_id)
        request = self._validators[process_id].check(body)
        self.start()
        if job_id is not None:
            self._web_process.require_free(job_id)
        job_id = job_id or str(uuid.uuid4())
        user = current_user()
        secrets = self._secrets_of(process_id, request["inputs"], user)
        new_job = NewJob(
            job_id=job_id,
            process_id=process_id,
            request={**secrets.hide(request), **({"base_url": base_url} if request["subscriber"] else {})},
            recorded=self._is_run_by_prefect(process_id) or self.settings.process(process_id).record,
            idempotency_key=idempotency_key,
            user=user,
            sealed=self._keys.seal(job_id, secrets) if secrets else None,
            trace_parent=trace_parent,
        )
        options = self._descriptions[process_id].get("jobControlOptions") or [JobControlOption.SYNC_EXECUTE]
        may_run_async = JobControlOption.ASYNC_EXECUTE in options
        may_run_sync = JobControlOption.SYNC_EXECUTE in options or not may_run_async
        wait: float
        if may_run_async and not may_run_sync:
            wait = 0
        elif may_run_async and preferences.respond_async:
            wait = preferences.wait or 0
        else:
            wait = math.inf if preferences.wait is None else preferences.wait
        job_id, ended = self._web_process.submit(new_job, wait=wait)
        if ended is None and not may_run_async:
            raise SyncWaitEndedError(job_id)
        applied = ["respond-async"] if preferences.respond_async and ended is None else []
        if preferences.wait is not None and may_run_sync:
            applied.append(f"wait={preferences.wait}")
        return Execution(
            job=self._web_process.store.job(job_id) if ended is None else ended.job,
            response=None
            if ended is None
            else self._web_process.respond(ended, base_url=base_url, prefers_json=prefers_json),
            applied=tuple(applied),
        )

    def _secrets_of(self, process_id: str, inputs: Mapping[str, Any], user: User | None) -> JobSecrets:
        """What nobody but the job may read of a request."""
        names = self._secret_inputs[process_id]
        token = user.token if user is not None and process_id in self._wants_token else ""
        return JobSecrets({name: inputs[name] for name in names if name in inputs}, token)

    def secret_inputs(self, process_id: str) -> list[str]:
        """Ids of the inputs that nobody but the job may read."""
        return self._secret_inputs[process_id]

    def _is_run_by_prefect(self, process_id: str) -> bool:
        """Then the flow run is there in any case, and must come to its end there too."""
        return process_id in self._flow_processes or self.settings.process(process_id).deployment is not None

    # ---------------------------------------------------------------- jobs

    @property
    def store(self) -> JobStore:
        """The job store as the current user may see it."""
        return self._web_process.store

    def owner_by_link(self, job_id: str, parameters: Mapping[str, Sequence[str]]) -> User | None:
        """See :meth:`~pygeoapi_prefect.web_process.WebProcess.owner_by_link`."""
        return self._web_process.owner_by_link(job_id, parameters)

    def get_jobs(
        self, status: HostJobStatus | None = None, limit: int | None = None, offset: int | None = None
    ) -> dict[str, Any]:
        """
        Jobs, newest first.

        Returns:
            ``jobs`` and ``numberMatched``, which is counted to ``offset + limit + 1`` only: pygeoapi uses it for the
            next link alone.
        """
        self._require_user()
        self.start()
        statuses = frozenset() if status is None else frozenset({JobStatus(status.value)})
        found, number_matched = self.store.list_jobs(JobFilter(statuses=statuses), limit=limit, offset=offset or 0)
        return {"jobs": [host_job(job) for job in found], "numberMatched": number_matched}

    def get_job(self, job_id: str) -> dict[str, Any]:
        """The job. Raises UnknownJobError."""
        self._require_user()
        self.start()
        return host_job(self._web_process.store.job(job_id))

    def get_job_result(self, job_id: str) -> tuple[str, Any]:
        """
        Media type and content of the job's result, in the form that its execute request asked for.

        Raises:
            UnknownJobError: There is no such job.
            ResultNotReadyError: It has not ended.
            ResultNotAvailableError: It was dismissed, or its stored outputs are gone.
            JobFailedError: It failed; with its reason and status.
        """
        response = self.response_of(job_id, prefers_json=True)
        return response.media_type, response.loaded()

    def response_of(
        self,
        job_id: str,
        *,
        base_url: str | None = None,
        prefers_json: bool = False,
        outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Sequence[str]] | None = None,
    ) -> Response:
        """
        The whole response; raises as :meth:`get_job_result`.

        Args:
            job_id: The job.
            base_url: Of the server, for links to outputs by reference; None: these are answered by value.
            prefers_json: Whether the client would rather have several raw outputs as a document than as a multipart.
            outputs: Ids of those that are wanted; None: all.
            parameters: Of the request; see :meth:`~pygeoapi_prefect.web_process.WebProcess.respond`.

        Raises:
            UnknownOutputError: *outputs* names one that there is not.
        """
        self._require_user()
        self.start()
        details = self._web_process.store.details(job_id)
        return self._web_process.respond(
            details, base_url=base_url, prefers_json=prefers_json, outputs=outputs, parameters=parameters
        )

    def delete_job(self, job_id: str) -> bool:
        """
        Dismiss a job that has not ended; remove an ended one with its stored outputs.

        Raises:
            UnknownJobError: There is no such job.
        """
        self._require_user()
        self.start()
        store = self.store
        job = store.job(job_id)
        if not job.status.is_terminal and store.dismiss(job_id) is not None:
            return True
        store.remove(job_id, clean_up=self._removes_resources(job.process_id))
        self._web_process.results.delete(job_id)
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
        self._web_process.store.add(job_id, process_id, columns_of(job_metadata))
        return job_id

    def update_job(self, job_id: str, update_dict: dict[str, Any]) -> bool:
        """Change a job that has not ended, in pygeoapi's terms. Returns whether it was changed."""
        return self._web_process.store.update(job_id, columns_of(update_dict))

    def _require_user(self) -> None:
        """Also of callers that nobody has asked for a token: pygeoapi's functions, should they not be wrapped."""
        if self.settings.auth is not None and self.settings.auth.required and current_user() is None:
            raise AuthenticationError("Nobody is known, and server.manager.auth.required is true")

    def start(self) -> None:
        """A request has come: see to it that a runner exists."""
        _serving.setdefault(self._configuration, self)
        if self.settings.runner == "embedded":
            self._supervisor.ensure()

    def __repr__(self) -> str:
        return f"<PrefectManager> {self.name}"
