"""The jobs of a runner that run in its pool."""

import logging
import selectors
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from pygeoapi_prefect.jobs import Claim, JobDetails, JobSecrets, LogLine, Outcome
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.runner.forkserver import Forkserver
from pygeoapi_prefect.runner.held_jobs import HeldJob
from pygeoapi_prefect.runner.pool import Pool, PoolWorker
from pygeoapi_prefect.runner.pool_worker import Assignment
from pygeoapi_prefect.schemas import JobStatus
from pygeoapi_prefect.settings import ManagerSettings

LOGGER = logging.getLogger(__name__)


@dataclass(eq=False)
class _CleanUp:
    """A pool worker lets a processor remove the resources of a job."""

    job_id: str


@dataclass(eq=False)
class _Asked:
    """
    A pool worker asks the handlers of a job that is to be handed over.

    Attributes:
        variables: Their answer, when it is there.
    """

    job: HeldJob
    variables: Mapping[str, Any] = field(default_factory=dict)


class PoolJobs:
    """
    Gives jobs to pool workers, hears what they tell, and stops them.

    Lives in the runner's main thread.

    Args:
        settings: Of the manager.
        resources: The processes, by process id.
        forkserver: Starts and ends pool workers.
        selector: Of the runner's loop; the pool workers' connections are registered with it.
        scratch: Folder of the jobs' temporary files.
        ended: Called with a job and its outcome; None: the job ended elsewhere, and its work has stopped now.
        answered: Called with a job whose handlers were asked, with the job variables that they want, or with the
            outcome of a job that cannot run.
    """

    def __init__(
        self,
        settings: ManagerSettings,
        resources: Mapping[str, Mapping[str, Any]],
        forkserver: Forkserver,
        selector: selectors.BaseSelector,
        *,
        scratch: Path,
        ended: Callable[[HeldJob, Outcome | None, bool], None],
        answered: Callable[[HeldJob, Mapping[str, Any] | Outcome], None],
    ) -> None:
        self._settings = settings
        self._resources = resources
        self._forkserver = forkserver
        self._selector = selector
        self._scratch = scratch
        self._ended = ended
        self._answered = answered
        self._pool = Pool(forkserver, tasks_per_worker=settings.jobs_per_worker)
        self.keeps_a_worker = True

    @property
    def jobs(self) -> list[HeldJob]:
        """The jobs that run, and those whose results are being read."""
        return [worker.task for worker in self._pool.workers.values() if isinstance(worker.task, HeldJob)]

    def free(self) -> int:
        """How many more jobs may run now."""
        busy = sum(isinstance(worker.task, HeldJob | _CleanUp | _Asked) for worker in self._pool.workers.values())
        return self._settings.max_running - busy

    def use(self) -> tuple[int, int]:
        """How many pool workers are busy, and how many idle. From any thread."""
        workers = list(self._pool.workers.values())
        idle = sum(worker.is_idle for worker in workers)
        return len(workers) - idle, idle

    # ---------------------------------------------------------------- to pool workers

    def start_worker(self) -> None:
        """Have an idle worker ready."""
        self._register(self._pool.start_worker())

    def start(self, details: JobDetails, secrets: JobSecrets, *, prefect_api_url: str | None) -> HeldJob:
        """
        Give a job to a pool worker.

        Args:
            details: The job; its process is configured.
            secrets: Of the job.
            prefect_api_url: Of the local Prefect server, if there is one.

        Returns:
            The job as this runner holds it.
        """
        limit = self._settings.process(details.job.process_id).time_limit
        running = HeldJob(details, secrets, None if limit is None else time.monotonic() + limit)
        self._give("run", running, running, prefect_api_url)
        return running

    def read_result(self, job: HeldJob, *, prefect_api_url: str | None) -> None:
        """
        Let a pool worker read the result that the job's flow run has persisted.

        Args:
            job: Its time limit goes on to hold.
            prefect_api_url: Of the local Prefect server, if there is one.
        """
        self._give("read_result", job, job, prefect_api_url)

    def ask_handlers(self, job: HeldJob, *, prefect_api_url: str | None) -> None:
        """Let a pool worker ask the handlers of a job what it needs of its work pool. The arguments are as above."""
        self._give("ask_handlers", job, _Asked(job), prefect_api_url)

    def _give(self, do: str, held: HeldJob, task: HeldJob | _Asked, prefect_api_url: str | None) -> None:
        details, job = held.details, held.details.job
        assignment = Assignment(
            order=JobOrder(
                job_id=job.job_id,
                process_id=job.process_id,
                resource=self._resources[job.process_id],
                request=held.secrets.fill(details.request),
                folder=f"{job.job_id}/{job.claim_number}",
                reference_limits=asdict(self._settings.reference_limits),
                user=None if details.user is None else details.user.to_json(),
                access_token=held.secrets.access_token,
                trace_parent=details.trace_parent,
                created=job.created.isoformat(),
                max_output_bytes=self._settings.max_output_bytes_of(job.process_id),
            ),
            result_store=self._settings.output_dir,
            scratch=str(self.scratch_of(job.claim)),
            prefect_api_url=prefect_api_url,
        )
        self._assign(job.process_id, task, {"do": do, **asdict(assignment)})

    def clean_up(self, job_id: str, process_id: str) -> None:
        """Let a processor remove the resources of a job, if it is still configured."""
        resource = self._resources.get(process_id)
        if resource is not None:
            order = {"do": "clean_up", "process_id": process_id, "resource": resource, "job_id": job_id}
            self._assign(process_id, _CleanUp(job_id), order)

    def scratch_of(self, claim: Claim) -> Path:
        """The folder of a job's temporary files."""
        return self._scratch / f"{claim.job_id}-{claim.number}"

    def _assign(self, process_id: str, task: HeldJob | _CleanUp | _Asked, order: Mapping[str, Any]) -> None:
        spawned = self._settings.process(process_id).isolation == "spawn"
        while True:
            worker = self._pool.idle_worker(process_id, spawned=spawned) or self._new_worker(
                process_id, spawned=spawned
            )
            if self._pool.assign(worker, process_id, task, order):
                return

    def _new_worker(self, process_id: str, *, spawned: bool) -> PoolWorker:
        surplus = self._pool.idle_worker(process_id, spawned=not spawned)
        if surplus is not None and len(self._pool.workers) >= self._settings.max_running:
            self._unregister(surplus.fileno())
            self._pool.retire(surplus)
        worker = self._pool.start_worker(spawned=spawned)
        self._register(worker)
        return worker

    def _register(self, worker: PoolWorker) -> None:
        self._selector.register(worker, selectors.EVENT_READ)

    def _unregister(self, fd: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(fd)

    # ---------------------------------------------------------------- from pool workers

    def process_events(self) -> bool:
        """Heed the ends of pool workers; whether there were any. Raises EOFError when the forkserver is gone."""
        ended = self._pool.process_events()
        for worker, reason in ended:
            self._worker_ended(worker, reason)
        return bool(ended)

    def hear(self, worker: PoolWorker) -> bool:
        """Heed what a worker tells; whether it became free."""
        if worker.connection.closed:
            return False
        fd = worker.fileno()
        became_free = [self._heed(worker, message) for message in self._pool.receive(worker)]
        if worker.connection.closed:
            self._unregister(fd)
        return any(became_free)

    def _heed(self, worker: PoolWorker, message: Mapping[str, Any]) -> bool:
        task = worker.task
        if message["tell"] == "done":
            if isinstance(task, HeldJob):
                if task.is_stopping:
                    # it ended while it was being stopped; its worker ends too, and with it the story
                    return False
                self._ended(task, Outcome.from_json(message["outcome"]), False)
            if isinstance(task, _Asked):
                outcome = Outcome.from_json(message["outcome"])
                self._answered(task.job, task.variables if outcome.status is JobStatus.SUCCESSFUL else outcome)
            self._pool.release(worker)
            return True
        if isinstance(task, _Asked):
            match message["tell"]:
                case "job_variables":
                    task.variables = message["variables"]
                case "log":
                    task.job.lines.append(_line(message))
        if isinstance(task, HeldJob):
            match message["tell"]:
                case "log":
                    task.lines.append(_line(message))
                case "progress":
                    task.add_progress(message["percent"], message["message"])
                case "flow_run":
                    task.flow_run_id = UUID(message["flow_run_id"])
        return False

    def _worker_ended(self, worker: PoolWorker, reason: str) -> None:
        # an outcome that came with the last words counts
        self.hear(worker)
        if not worker.connection.closed:
            self._unregister(worker.fileno())
            worker.connection.close()
        task = worker.task
        if isinstance(task, HeldJob):
            if task.is_stopping:
                self._ended(task, task.stopped_for, True)
            else:
                LOGGER.warning(
                    "pool worker ended in a job",
                    extra={"action": "worker_ended", "job_id": task.job_id, "reason": reason},
                )
                self._ended(task, Outcome.failed(f"The process that ran the job {reason}"), True)
        if isinstance(task, _Asked):
            self._answered(task.job, Outcome.failed(f"The process that asked the job's handlers {reason}"))
        if self.keeps_a_worker and not self._pool.workers:
            self.start_worker()

    # ---------------------------------------------------------------- stopping jobs

    def stop(self, job: HeldJob, outcome: Outcome | None) -> None:
        """End a job with all that it started; *outcome* is then its own. Does nothing when it is being stopped."""
        for worker in list(self._pool.workers.values()):
            if worker.task is job and not job.is_stopping:
                job.is_stopping = True
                job.stopped_for = outcome
                LOGGER.info("stopping job", extra={"action": "stop_job", "job_id": job.job_id})
                self._pool.stop(worker, grace=self._settings.dismiss_grace)


def _line(message: Mapping[str, Any]) -> LogLine:
    time_ = datetime.fromisoformat(message["time"])
    return LogLine(time_, message["level"], message["logger"], message["text"])
