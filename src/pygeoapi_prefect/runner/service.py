"""The runner's loop: claim, assign, watch, finish."""

import logging
import os
import selectors
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pygeoapi_prefect.exceptions import JobStoreUnavailableError, ResultStoreError, UnknownJobError
from pygeoapi_prefect.jobs import Claim, JobDetails, JobStore, LogLine, Outcome, Problem, RunnerRecord, Wakeups
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.runner.forkserver import Forkserver
from pygeoapi_prefect.runner.os_processes import is_alive, start_time, this_host
from pygeoapi_prefect.runner.pool import Pool, PoolWorker
from pygeoapi_prefect.runner.pool_worker import Assignment
from pygeoapi_prefect.runner.presence import Presence
from pygeoapi_prefect.schemas import JobStatus
from pygeoapi_prefect.settings import ManagerSettings

LOGGER = logging.getLogger(__name__)

_FLUSH_SECONDS = 0.25
_STORE_RETRY_SECONDS = 0.5
_SWEEP_SECONDS = 1.0


@dataclass(eq=False)
class _RunningJob:
    """A job in a pool worker. *stopped_for*: set once it is being stopped; None then means: it ended elsewhere."""

    details: JobDetails
    deadline: float | None
    lines: list[LogLine] = field(default_factory=list)
    lines_written: int = 0
    progress: tuple[int, str | None] | None = None
    is_stopping: bool = False
    stopped_for: Outcome | None = None

    @property
    def claim(self) -> Claim:
        return self.details.job.claim


@dataclass(eq=False)
class _CleanUp:
    """A pool worker lets a processor remove the resources of a job."""

    job_id: str


class RunnerService:
    """
    Runs jobs until it is told to stop.

    Lives in the main thread of its process. An outcome that cannot be written because the database is away is kept
    and written when it is back.

    Args:
        settings: Of the manager.
        resources: The processes: entries under ``resources`` of the configuration, by process id.
        store: The job store.
        forkserver: Forked before any thread was started.
        is_wanted: Asked once a second; when it says no for ``shutdown_grace`` seconds the runner drains. None: always.
        is_recording: Whether jobs shall be recorded in Prefect.
        on_jobs_change: Called when jobs have started or ended here: for the recorder.
    """

    def __init__(
        self,
        settings: ManagerSettings,
        resources: Mapping[str, Mapping[str, Any]],
        store: JobStore,
        forkserver: Forkserver,
        *,
        is_wanted: Callable[[], bool] | None = None,
        is_recording: Callable[[], bool] = lambda: False,
        on_jobs_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.runner_id = str(uuid.uuid4())
        self._settings = settings
        self._resources = resources
        self._store = store
        self._forkserver = forkserver
        self._is_wanted = is_wanted
        self._is_recording = is_recording
        self._on_jobs_change = on_jobs_change
        self._process_limits = {
            process_id: process.max_running
            for process_id, process in settings.processes.items()
            if process.max_running is not None
        }
        self._results = ResultStore(settings.output_dir)
        self._presence = Presence(settings.data_dir)
        self._pool = Pool(forkserver, tasks_per_worker=settings.jobs_per_worker)
        self._chores = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chores")
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._wakeups = Wakeups(store.database.url, on_change=self.wake)
        self._selector = selectors.DefaultSelector()
        self._host = this_host()
        self._unwritten: list[tuple[_RunningJob, Outcome]] = []
        self._cleanups: list[tuple[str, str]] = []
        self._is_registered = False
        self._is_draining = False
        self._is_stopping = False
        self._look_again = True
        self._store_retry_at = 0.0
        self._renew_at = 0.0
        self._sweep_at = 0.0
        self._flush_at = 0.0
        self._unwanted_since: float | None = None
        self.last_activity = 0.0

    # ---------------------------------------------------------------- from outside

    def wake(self) -> None:
        """Have the loop look again; from any thread or signal handler."""
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"x")

    def drain(self) -> None:
        """Claim nothing more, finish the jobs that run, then end."""
        self._is_draining = True
        self.wake()

    def stop(self) -> None:
        """Stop the jobs that run, then end."""
        self._is_draining = self._is_stopping = True
        self.wake()

    @property
    def is_draining(self) -> bool:
        """Whether no job is claimed any more."""
        return self._is_draining

    @property
    def running_jobs(self) -> list[_RunningJob]:
        return [worker.task for worker in self._pool.workers.values() if isinstance(worker.task, _RunningJob)]

    # ---------------------------------------------------------------- the loop

    def run(self, *, on_drain: Callable[[], None] = lambda: None) -> None:
        """
        Run until :meth:`drain` or :meth:`stop` has done its work.

        Args:
            on_drain: Called once when draining begins: another runner may take over then.

        Raises:
            EOFError: The forkserver was killed; the next runner finishes the jobs that ran.
        """
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._selector.register(self._forkserver, selectors.EVENT_READ)
        self._wakeups.start()
        self._register(self._pool.start_worker())
        drain_told = False
        try:
            while True:
                if self._is_draining and not drain_told:
                    drain_told = True
                    LOGGER.info("runner drains", extra={"action": "drain", "running": len(self.running_jobs)})
                    on_drain()
                if self._is_stopping:
                    self._stop_all()
                if self._is_draining and not self._has_work():
                    break
                self._turn()
        finally:
            self._end()

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._seconds_to_next()):
            if key.fd == self._wake_read:
                with suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
                self._look_again = True
            elif isinstance(key.fileobj, PoolWorker):
                self._hear(key.fileobj)
        for worker, reason in self._pool.process_events():
            self._worker_ended(worker, reason)
        now = time.monotonic()
        self._stop_overdue(now)
        if self._is_wanted is not None:
            self._check_wanted(now)
        if now < self._store_retry_at:
            return
        try:
            self._use_store(now)
        except JobStoreUnavailableError as error:
            LOGGER.warning("job store cannot be reached; trying again", extra={"action": "run", "reason": str(error)})
            self._store_retry_at = now + _STORE_RETRY_SECONDS
            self._look_again = True

    def _seconds_to_next(self) -> float:
        now = time.monotonic()
        if now < self._store_retry_at:
            return self._store_retry_at - now
        times = [self._renew_at, self._sweep_at]
        if any(job.lines or job.progress for job in self.running_jobs):
            times.append(self._flush_at)
        times += [job.deadline for job in self.running_jobs if job.deadline is not None and not job.is_stopping]
        if self._unwritten or self._look_again:
            return 0
        return max(0.0, min(times) - now)

    def _use_store(self, now: float) -> None:
        if now >= self._renew_at:
            self._renew_lease()
            self._renew_at = now + self._settings.lease / 3
            # also finds what no wake-up told of: jobs of unknown processes that have waited long enough
            self._look_again = True
        if now >= self._sweep_at:
            self._sweep()
            self._sweep_at = now + _SWEEP_SECONDS
        while self._unwritten:
            self._write_outcome(*self._unwritten[0])
            self._unwritten.pop(0)
            self._look_again = True
        if now >= self._flush_at:
            self._flush()
            self._flush_at = now + _FLUSH_SECONDS
        while self._look_again:
            self._look_again = False
            self._look()

    # ---------------------------------------------------------------- leases

    def _renew_lease(self) -> None:
        lease = self._settings.lease
        if self._is_registered and self._store.renew_lease(self.runner_id, lease=lease):
            return
        if self._is_registered:
            LOGGER.warning("lease lapsed; registering anew", extra={"action": "renew_lease"})
        record = RunnerRecord(self.runner_id, self._host, os.getpid(), start_time(os.getpid()))
        self._store.register_runner(record, lease=lease)
        self._is_registered = True

    def _sweep(self) -> None:
        lost = self._store.finish_lost(
            self.runner_id,
            host=self._host,
            is_alive=is_alive,
            rerun=lambda process_id: self._settings.process(process_id).rerun_lost,
        )
        for job in lost:
            LOGGER.warning(
                "job lost by its runner", extra={"action": "sweep", "job_id": job.job_id, "status": job.status}
            )
            self._delete_traces(job.claim)
        if lost:
            self._look_again = True
            self._on_jobs_change()

    # ---------------------------------------------------------------- claims

    def _look(self) -> None:
        outlook = self._store.outlook(self.runner_id)
        held = {job.claim for job in [*self.running_jobs, *(job for job, _ in self._unwritten)]}
        for claim in outlook.claims - held:
            # the database went away between the commit of this claim and its answer: the job has not begun
            self._start(self._store.details(claim.job_id))
        for worker in list(self._pool.workers.values()):
            job = worker.task
            if isinstance(job, _RunningJob) and not job.is_stopping and job.claim not in outlook.claims:
                self._stop_job(worker, job, None)
        if self._is_draining:
            return
        if outlook.cleanups_wait:
            for number, job_id, process_id in self._store.next_cleanups(limit=10):
                if self._store.take_cleanup(number):
                    self._cleanups.append((job_id, process_id))
        while self._cleanups and self._free() > 0:
            self._assign_cleanup(*self._cleanups.pop())
        if outlook.jobs_wait and (free := self._free()) > 0:
            claimed = self._store.claim(
                self.runner_id,
                limit=free,
                process_limits=self._process_limits,
                record=self._is_recording(),
                processes=self._resources,
            )
            for details in claimed:
                self._start(details)
            if claimed:
                self._on_jobs_change()

    def _free(self) -> int:
        busy = sum(isinstance(worker.task, _RunningJob | _CleanUp) for worker in self._pool.workers.values())
        return self._settings.max_running - busy

    def _start(self, details: JobDetails) -> None:
        job = details.job
        self.last_activity = time.monotonic()
        self._wakeups.expect_changes()
        resource = self._resources.get(job.process_id)
        if resource is None:
            reason = f"Process {job.process_id!r} is no longer configured"
            self._unwritten.append((_RunningJob(details, None), Outcome.failed(reason)))
            return
        process = self._settings.process(job.process_id)
        limit = process.time_limit
        running = _RunningJob(details, None if limit is None else time.monotonic() + limit)
        assignment = Assignment(
            job_id=job.job_id,
            claim_number=job.claim_number,
            process_id=job.process_id,
            resource=resource,
            request=details.request,
            result_store=self._settings.output_dir,
            scratch=str(self._scratch_of(job.claim)),
        )
        self._assign(job.process_id, running, {"do": "run", **asdict(assignment)})

    def _assign_cleanup(self, job_id: str, process_id: str) -> None:
        resource = self._resources.get(process_id)
        if resource is not None:
            self._assign(process_id, _CleanUp(job_id), {"do": "clean_up", "resource": resource, "job_id": job_id})

    def _assign(self, process_id: str, task: _RunningJob | _CleanUp, order: Mapping[str, Any]) -> None:
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

    # ---------------------------------------------------------------- what pool workers tell

    def _hear(self, worker: PoolWorker) -> None:
        if worker.connection.closed:
            return
        fd = worker.fileno()
        for message in self._pool.receive(worker):
            self._heed(worker, message)
        if worker.connection.closed:
            self._unregister(fd)

    def _heed(self, worker: PoolWorker, message: Mapping[str, Any]) -> None:
        task = worker.task
        if message["tell"] == "done":
            if isinstance(task, _RunningJob) and not task.is_stopping:
                self._unwritten.append((task, _outcome(message["outcome"])))
            elif isinstance(task, _RunningJob):
                # it ended while it was being stopped; its worker ends too, and with it the story
                return
            self._pool.release(worker)
            self._look_again = True
        elif isinstance(task, _RunningJob):
            if message["tell"] == "log":
                task.lines.append(
                    LogLine(
                        datetime.fromisoformat(message["time"]), message["level"], message["logger"], message["text"]
                    )
                )
            elif message["tell"] == "progress":
                last_message = task.progress[1] if task.progress else None
                task.progress = message["percent"], message["message"] or last_message

    def _worker_ended(self, worker: PoolWorker, reason: str) -> None:
        # an outcome that came with the last words counts
        self._hear(worker)
        if not worker.connection.closed:
            self._unregister(worker.fileno())
            worker.connection.close()
        task = worker.task
        if isinstance(task, _RunningJob):
            if task.is_stopping:
                self._job_stopped(task)
            else:
                LOGGER.warning(
                    "pool worker ended in a job",
                    extra={"action": "worker_ended", "job_id": task.claim.job_id, "reason": reason},
                )
                self._unwritten.append((task, Outcome.failed(f"The process that ran the job {reason}")))
                self._delete_traces(task.claim)
        if isinstance(task, _RunningJob | _CleanUp):
            self._look_again = True
        if not self._is_draining and not self._pool.workers:
            self._register(self._pool.start_worker())

    # ---------------------------------------------------------------- stopping jobs

    def _stop_job(self, worker: PoolWorker, job: _RunningJob, outcome: Outcome | None) -> None:
        job.is_stopping = True
        job.stopped_for = outcome
        LOGGER.info("stopping job", extra={"action": "stop_job", "job_id": job.claim.job_id})
        self._pool.stop(worker, grace=self._settings.dismiss_grace)

    def _job_stopped(self, job: _RunningJob) -> None:
        if job.stopped_for is not None:
            self._unwritten.append((job, job.stopped_for))
        self._delete_traces(job.claim)
        self._cleanups.append((job.claim.job_id, job.details.job.process_id))

    def _stop_overdue(self, now: float) -> None:
        for worker in list(self._pool.workers.values()):
            job = worker.task
            if (
                isinstance(job, _RunningJob)
                and not job.is_stopping
                and job.deadline is not None
                and now >= job.deadline
            ):
                limit = self._settings.process(job.details.job.process_id).time_limit
                self._stop_job(
                    worker, job, Outcome.failed(f"The job ran longer than its process may: {limit:g} seconds")
                )

    def _stop_all(self) -> None:
        for worker in list(self._pool.workers.values()):
            if isinstance(worker.task, _RunningJob) and not worker.task.is_stopping:
                self._stop_job(worker, worker.task, Outcome.failed("The runner was stopped while the job was running"))

    def _delete_traces(self, claim: Claim) -> None:
        """Of a claim that ended without success: what it stored, and its temporary files."""
        self._chores.submit(self._delete_outputs, claim)
        self._chores.submit(shutil.rmtree, self._scratch_of(claim), ignore_errors=True)

    def _scratch_of(self, claim: Claim) -> Path:
        return self._presence.scratch / f"{claim.job_id}-{claim.number}"

    def _delete_outputs(self, claim: Claim) -> None:
        try:
            self._results.delete(f"{claim.job_id}/{claim.number}")
        except ResultStoreError as error:
            LOGGER.warning("stored outputs left behind", extra={"action": "delete_outputs", "reason": str(error)})

    # ---------------------------------------------------------------- writing

    def _flush(self) -> None:
        for job in self.running_jobs:
            self._write_logs(job)
            if job.progress is not None:
                progress, job.progress = job.progress, None
                self._store.report_progress(job.claim, *progress)

    def _write_logs(self, job: _RunningJob) -> None:
        if job.lines:
            try:
                self._store.append_logs(job.claim.job_id, job.lines_written + 1, job.lines)
            except JobStoreUnavailableError:
                raise
            except Exception:
                LOGGER.exception("log lines cannot be stored", extra={"action": "log", "job_id": job.claim.job_id})
            job.lines_written += len(job.lines)
            job.lines = []

    def _write_outcome(self, job: _RunningJob, outcome: Outcome) -> None:
        try:
            is_finished = self._write_all(job, outcome)
        except JobStoreUnavailableError:
            raise
        except Exception:
            # one job's words must not end the runner, and with it the other jobs
            LOGGER.exception("outcome cannot be stored", extra={"action": "finish", "job_id": job.claim.job_id})
            is_finished = self._store.finish(job.claim, Outcome.failed("The outcome of the job could not be stored"))
        if not is_finished and not self._is_written(job.claim, outcome):
            LOGGER.info("late outcome refused", extra={"action": "finish", "job_id": job.claim.job_id})
            self._delete_traces(job.claim)
        self.last_activity = time.monotonic()
        self._on_jobs_change()

    def _is_written(self, claim: Claim, outcome: Outcome) -> bool:
        """Whether the outcome was written before: the database went away between its commit and the answer."""
        try:
            job = self._store.job(claim.job_id)
        except UnknownJobError:
            return False
        return job.claim == claim and job.status is outcome.status

    def _write_all(self, job: _RunningJob, outcome: Outcome) -> bool:
        self._write_logs(job)
        if job.progress is not None and outcome.status is not JobStatus.SUCCESSFUL:
            self._store.report_progress(job.claim, *job.progress)
        return self._store.finish(job.claim, outcome)

    # ---------------------------------------------------------------- the end

    def _has_work(self) -> bool:
        return bool(self.running_jobs or self._unwritten)

    def _check_wanted(self, now: float) -> None:
        assert self._is_wanted is not None
        if self._is_wanted():
            self._unwanted_since = None
        elif self._unwanted_since is None:
            self._unwanted_since = now
        elif now - self._unwanted_since >= self._settings.shutdown_grace and not self.running_jobs:
            self.drain()

    def _end(self) -> None:
        self._wakeups.stop()
        self._chores.shutdown()
        self._forkserver.close()
        with suppress(JobStoreUnavailableError):
            for job_id, process_id in self._cleanups:
                self._store.add_cleanup(job_id, process_id)
            self._store.release_runner(self.runner_id)
        LOGGER.info("runner ended", extra={"action": "end"})


def install_signal_handlers(service: RunnerService) -> None:
    """SIGTERM drains; SIGINT drains, and the second one stops."""

    def interrupt(*_: Any) -> None:
        if service.is_draining:
            service.stop()
        else:
            service.drain()

    signal.signal(signal.SIGTERM, lambda *_: service.drain())
    signal.signal(signal.SIGINT, interrupt)


def _outcome(values: Mapping[str, Any]) -> Outcome:
    problem = values["problem"]
    return Outcome(
        status=JobStatus(values["status"]),
        message=values["message"],
        media_type=values["media_type"],
        result=values["result"],
        problem=Problem(**problem) if problem else None,
    )
