"""The jobs of a runner that Prefect runs in deployments, on whatever work pool."""

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

from pygeoapi_prefect.exceptions import (
    PrefectUnavailableError,
    PygeoapiPrefectError,
    ResultStoreError,
)
from pygeoapi_prefect.jobs import JobDetails, JobSecrets, Outcome
from pygeoapi_prefect.jobs.queries import MESSAGE_RUNNING
from pygeoapi_prefect.prefect_api import FlowRunState, PrefectApi, PrefectRefusedError
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.runner.flow_run_tasks import JOB_STATUSES, FlowRunTasks, log_lines
from pygeoapi_prefect.runner.held_jobs import DeployedJob, HeldJob
from pygeoapi_prefect.schemas import JobStatus
from pygeoapi_prefect.settings import ManagerSettings

LOGGER = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""Between two looks at the log of a flow run."""

PATIENCE_SECONDS = 15.0
"""After which a job that has not begun says what it waits for; and between two looks for a worker of one that has."""

LAST_LINES_SECONDS = 5.0
"""After the end of a flow run, for what its process still sends: Prefect's client sends lines every 2 s."""

_THREADS = 4


class Deployments:
    """
    Hands jobs over to Prefect, follows their flow runs, fetches their outcomes, and cancels them.

    Its state belongs to the runner's main thread; what waits for Prefect or a store runs in a few threads, whose
    findings :meth:`settle` takes over.

    Args:
        settings: Of the manager.
        resources: The processes, by process id.
        results: The result store of the manager.
        connect: A connection to Prefect, for one use; raises PrefectUnavailableError.
        wake: Called from other threads when there is something to settle.
        begun: Called in the main thread with a job whose flow run has begun.
        ended: Called in the main thread with a job and its outcome.
        waits: Called in the main thread with a job that cannot be handed over now, and why.
        says: Called in the main thread with a job and the message for its client.
        dismissed: Called in the main thread with a job that somebody cancelled in Prefect.
        completed: Called in the main thread with a job whose flow run has persisted its result in a way that only a
            pool worker may read. It stays here until :meth:`release`.
        asks_handlers: Called in the main thread with a job whose handlers are to be asked before it is handed over. It
            stays here until :meth:`heed_handlers`.
        adds_lines: Called in the main thread with an ended job whose log has got further lines.
    """

    def __init__(
        self,
        settings: ManagerSettings,
        resources: Mapping[str, Mapping[str, Any]],
        results: ResultStore,
        *,
        connect: Callable[[], PrefectApi],
        wake: Callable[[], None],
        begun: Callable[[HeldJob], None],
        ended: Callable[[HeldJob, Outcome], None],
        waits: Callable[[HeldJob, str], None],
        says: Callable[[HeldJob, str], None],
        dismissed: Callable[[HeldJob], None],
        completed: Callable[[DeployedJob], None],
        asks_handlers: Callable[[DeployedJob], None],
        adds_lines: Callable[[HeldJob], None],
    ) -> None:
        self._settings = settings
        self._tasks = FlowRunTasks(settings, resources, results)
        self._connect = connect
        self._wake = wake
        self._begun = begun
        self._ended = ended
        self._waits = waits
        self._says = says
        self._dismissed = dismissed
        self._completed = completed
        self._asks_handlers = asks_handlers
        self._adds_lines = adds_lines
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="deployments")
        self._found: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._jobs: dict[str, DeployedJob] = {}
        self._ended_jobs: list[DeployedJob] = []
        self.processes = frozenset(
            process_id
            for process_id, process in settings.processes.items()
            if process.deployment is not None and process_id in resources
        )

    @property
    def jobs(self) -> list[DeployedJob]:
        """The jobs that were handed over and have not ended."""
        return list(self._jobs.values())

    def free(self) -> int:
        """How many more jobs may be handed over now."""
        return self._settings.max_handed_over - len(self._jobs)

    # ---------------------------------------------------------------- in the main thread

    def start(self, details: JobDetails, secrets: JobSecrets) -> None:
        """Hand a job over, or go on to follow it where that was done before: by this runner or by one that is gone."""
        job = DeployedJob(details, secrets, handed_over_at=time.monotonic(), look_at=time.monotonic() + LOOK_SECONDS)
        job.has_begun = details.job.status is JobStatus.RUNNING
        job.flow_run_id = details.job.flow_run_id
        job.flow_run_kept = job.flow_run_id is not None
        self._jobs[job.job_id] = job
        self._begin_time_limit(job)
        if job.flow_run_id is None and self._settings.process(job.process_id).handlers:
            self._asks_handlers(job)
        else:
            self._do(job, self._hand_over)

    def waits_for_handlers(self, job: DeployedJob) -> bool:
        """Whether a job whose handlers are to be asked is still to be handed over."""
        return self._jobs.get(job.job_id) is job

    def heed_handlers(self, job: DeployedJob, answer: Mapping[str, Any] | Outcome) -> None:
        """Hand over a job with the job variables that its handlers want; or end it."""
        if not self.waits_for_handlers(job):
            return
        if isinstance(answer, Outcome):
            self._end(job, answer)
        else:
            job.job_variables = answer
            self._do(job, self._hand_over)

    def heed(self, flow_run_id: UUID, state: FlowRunState | None) -> bool:
        """Take over the state of a flow run; None: it was deleted. False when it is none of ours."""
        for job in self._jobs.values():
            if job.flow_run_id == flow_run_id:
                self._apply(job, state)
                return True
        return False

    def stop(self, job: DeployedJob, outcome: Outcome | None) -> None:
        """Cancel a job's flow run; *outcome* is then its own. None: it ended elsewhere, by a dismissal."""
        if job.is_stopping:
            return
        job.is_stopping = True
        self._threads.submit(self._cancel, job)
        if outcome is not None:
            self._end(job, outcome)
        else:
            self._jobs.pop(job.job_id, None)
            self.forget(job)

    def release(self, job: DeployedJob) -> bool:
        """Let go of a completed job, whose result somebody reads now. False when it was stopped meanwhile."""
        if self._jobs.pop(job.job_id, None) is None:
            return False
        self._expect_last_lines(job)
        return True

    def forget(self, job: HeldJob) -> None:
        """The job has ended, and the job store has its outcome: remove what was for its flow run alone."""
        self._threads.submit(self._remove_traces, job)

    def settle(self) -> None:
        """Take over what the threads have found."""
        while True:
            try:
                self._found.get_nowait()()
            except Empty:
                return

    def look(self, now: float) -> None:
        """Look after the flow runs whose time has come."""
        for job in self._jobs.values():
            if now >= job.look_at and not job.is_looked_at and not job.is_collected and job.flow_run_id is not None:
                job.is_looked_at = True
                self._do(job, self._look)
        while self._ended_jobs and now >= self._ended_jobs[0].look_at:
            self._do(self._ended_jobs.pop(0), self._last_look)

    def next_look(self) -> float:
        """When :meth:`look` has something to do, in monotonic seconds."""
        times = [job.look_at for job in self._jobs.values() if not job.is_looked_at and not job.is_collected]
        times += [job.look_at for job in self._ended_jobs[:1]]
        return min(times, default=float("inf"))

    def let_go(self) -> None:
        """Follow none of the jobs any more: another runner adopts them."""
        self._jobs.clear()

    def close(self) -> None:
        """Let go of the jobs, and end the threads."""
        self.let_go()
        self._threads.shutdown(cancel_futures=True)

    def _apply(self, job: DeployedJob, state: FlowRunState | None) -> None:
        if job.is_collected or job.is_stopping:
            return
        if state is None:
            self._end(job, Outcome.failed("The flow run of the job was deleted in Prefect"))
            return
        match JOB_STATUSES[state.type]:
            case JobStatus.RUNNING:
                if not job.has_begun:
                    job.has_begun = True
                    job.began = datetime.now(UTC)
                    job.last_message = None
                    job.look_for_worker_at = time.monotonic() + PATIENCE_SECONDS
                    self._begin_time_limit(job)
                    self._begun(job)
            case JobStatus.DISMISSED:
                self._dismissed(job)
            case JobStatus.SUCCESSFUL | JobStatus.FAILED:
                job.is_collected = True
                self._do(job, self._collect, state)

    def _begin_time_limit(self, job: DeployedJob) -> None:
        limit = self._settings.process(job.process_id).time_limit
        if limit is not None and job.has_begun and job.details.job.started is not None:
            elapsed = (datetime.now(UTC) - job.details.job.started).total_seconds()
            job.deadline = time.monotonic() + limit - elapsed
        elif limit is not None and job.has_begun:
            job.deadline = time.monotonic() + limit

    def _end(self, job: DeployedJob, outcome: Outcome) -> None:
        if self._jobs.pop(job.job_id, None) is not None:
            self._ended(job, outcome)
            self._expect_last_lines(job)

    def _expect_last_lines(self, job: DeployedJob) -> None:
        if job.flow_run_id is not None:
            job.look_at = time.monotonic() + LAST_LINES_SECONDS
            self._ended_jobs.append(job)

    def _give_back(self, job: DeployedJob, reason: str) -> None:
        if self._jobs.pop(job.job_id, None) is not None:
            self._waits(job, reason)

    # ---------------------------------------------------------------- in threads

    def _do(self, job: DeployedJob, task: Callable[..., Callable[[], None]], *arguments: Any) -> None:
        """Run *task* in a thread; what it returns is called in the main thread."""

        def run() -> None:
            try:
                with self._connect() as api:
                    finding = task(api, job, *arguments)
            except Exception as error:
                finding = self._trouble(job, task, arguments, error)
            self._found.put(finding)
            self._wake()

        self._threads.submit(run)

    def _trouble(
        self, job: DeployedJob, task: Callable[..., Any], arguments: tuple[Any, ...], error: Exception
    ) -> Callable[[], None]:
        facts = {"action": task.__name__.strip("_"), "job_id": job.job_id, "reason": str(error)}
        is_outage = isinstance(error, PrefectUnavailableError | ResultStoreError)
        if not isinstance(error, PygeoapiPrefectError):
            LOGGER.error("job of a deployment failed", extra=facts, exc_info=error)
        elif not is_outage:
            LOGGER.warning("job of a deployment failed", extra=facts)
        if task == self._look:
            return lambda: self._looked(job)
        if task == self._last_look:
            return lambda: None
        if is_outage and task == self._hand_over:
            if job.flow_run_id is None:
                return lambda: self._give_back(job, "The job waits: Prefect or the result storage cannot be reached")
            return lambda: None
        if is_outage:
            # the outcome stays where it is; ask again with the next state that is told
            return lambda: setattr(job, "is_collected", False)
        if not isinstance(error, PygeoapiPrefectError):
            return lambda: self._end(job, Outcome.failed(type(error).__name__))
        outcome = Outcome.failed(
            error.client_message, status=int(error.http_status_code), type_=error.ogc_exception_code
        )
        return lambda: self._end(job, outcome)

    def _hand_over(self, api: PrefectApi, job: DeployedJob) -> Callable[[], None]:
        flow_run_id = job.flow_run_id
        if flow_run_id is None:
            flow_run_id = self._tasks.create(api, job, job.job_variables)
        state = api.flow_run_states([flow_run_id])[flow_run_id]

        def apply() -> None:
            job.flow_run_id = flow_run_id
            if job.is_stopping:
                # it was dismissed while its flow run was created
                self._threads.submit(self._cancel, job)
                self.forget(job)
            else:
                self._apply(job, state)

        return apply

    def _look(self, api: PrefectApi, job: DeployedJob) -> Callable[[], None]:
        assert job.flow_run_id is not None
        if not job.has_begun:
            waited = time.monotonic() - job.handed_over_at
            message = self._tasks.waits_for(api, job) if waited >= PATIENCE_SECONDS else None
            return lambda: self._looked(job, message)
        lines = log_lines(api, job.flow_run_id, after=job.logs_read)
        message = None
        if time.monotonic() >= job.look_for_worker_at:
            job.look_for_worker_at = time.monotonic() + PATIENCE_SECONDS
            message = self._tasks.lost_worker(api, job) or (MESSAGE_RUNNING if job.last_message else None)

        def take_over() -> None:
            job.lines += lines
            job.logs_read += len(lines)
            self._looked(job, message)

        return take_over

    def _last_look(self, api: PrefectApi, job: DeployedJob) -> Callable[[], None]:
        assert job.flow_run_id is not None
        lines = log_lines(api, job.flow_run_id, after=job.logs_read)

        def take_over() -> None:
            if lines:
                job.lines += lines
                self._adds_lines(job)

        return take_over

    def _looked(self, job: DeployedJob, message: str | None = None) -> None:
        job.is_looked_at = False
        # a hundred jobs are not asked for as often as one: the server runs about 12 flow runs a second
        job.look_at = time.monotonic() + max(LOOK_SECONDS, 0.1 * len(self._jobs))
        if message is not None and message != job.last_message:
            job.last_message = message
            self._says(job, message)

    def _collect(self, api: PrefectApi, job: DeployedJob, state: FlowRunState) -> Callable[[], None]:
        assert job.flow_run_id is not None
        lines = log_lines(api, job.flow_run_id, after=job.logs_read)
        outcome = self._tasks.outcome(api, job, state)

        def end() -> None:
            job.lines += lines
            job.logs_read += len(lines)
            if outcome is not None:
                self._end(job, outcome)
            elif job.job_id in self._jobs:
                self._completed(job)

        return end

    def _cancel(self, job: DeployedJob) -> None:
        """Ask for it at once; where that fails the recorder does it later."""
        if job.flow_run_id is None:
            return
        try:
            with self._connect() as api:
                api.set_flow_run_state(
                    job.flow_run_id, state_type="CANCELLING", message="The job was dismissed", force=False
                )
        except (PrefectUnavailableError, PrefectRefusedError) as error:
            facts = {"action": "cancel", "job_id": job.job_id, "reason": str(error)}
            LOGGER.warning("flow run not cancelled yet", extra=facts)

    def _remove_traces(self, job: HeldJob) -> None:
        try:
            with self._connect() as api:
                self._tasks.remove_traces(api, job)
        except (PygeoapiPrefectError, OSError) as error:
            facts = {"action": "forget", "job_id": job.job_id, "reason": str(error)}
            LOGGER.warning("traces of a flow run left behind", extra=facts)
