"""The runner's loop: claim, start, watch, finish."""

import logging
import os
import selectors
import shutil
import signal
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol
from uuid import UUID

from pygeoapi_prefect.exceptions import (
    JobSecretsLostError,
    JobStoreUnavailableError,
    ResultStoreError,
    SecretKeyError,
    UnknownJobError,
)
from pygeoapi_prefect.jobs import Claim, JobDetails, JobSecrets, JobStore, LogLine, Outcome, RunnerRecord, Wakeups
from pygeoapi_prefect.jobs.records import MAX_LOG_LINES
from pygeoapi_prefect.jobs.sealing import SecretKeys
from pygeoapi_prefect.prefect_api import FlowRunState, PrefectApi, Progress
from pygeoapi_prefect.process.flow_runs import progress_description
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.runner.deployments import Deployments
from pygeoapi_prefect.runner.forkserver import Forkserver
from pygeoapi_prefect.runner.held_jobs import DeployedJob, HeldJob
from pygeoapi_prefect.runner.observer import JobObserver, RunnerUse
from pygeoapi_prefect.runner.os_processes import is_alive, start_time, this_host
from pygeoapi_prefect.runner.pool import PoolWorker
from pygeoapi_prefect.runner.pool_jobs import PoolJobs
from pygeoapi_prefect.runner.presence import Presence
from pygeoapi_prefect.schemas import JobStatus
from pygeoapi_prefect.settings import ManagerSettings

LOGGER = logging.getLogger(__name__)

_FLUSH_SECONDS = 0.25
_STORE_RETRY_SECONDS = 0.5
_SWEEP_SECONDS = 1.0


class Prefect(Protocol):
    """What the loop asks of the runner's link to Prefect."""

    @property
    def is_recording(self) -> bool:
        """Whether jobs shall be recorded."""

    @property
    def is_reachable(self) -> bool:
        """Whether Prefect answered lately."""

    @property
    def local_api_url(self) -> str | None:
        """Of the local server, if there is one: Prefect's settings do not know it."""

    def api(self) -> PrefectApi:
        """A connection for one use. Raises PrefectUnavailableError."""


class RunnerService:
    """
    Runs jobs until it is told to stop.

    Lives in the main thread of its process. An outcome that cannot be written because the database is away is kept
    and written when it is back.

    Args:
        runner_id: Unique.
        settings: Of the manager.
        resources: The processes: entries under ``resources`` of the configuration, by process id.
        store: The job store.
        forkserver: Forked before any thread was started.
        prefect: Of this runner.
        keys: Of the secrets in the job store.
        flow_processes: Ids of the processes whose work is a flow: without a deployment they run in the pool, through
            Prefect's engine.
        is_wanted: Asked once a second; when it says no for ``shutdown_grace`` seconds the runner drains. None: always.

    Attributes:
        on_jobs_change: Called when jobs have started or ended here: for the recorder.
        on_callbacks: Called when clients are to be called back.
        observer: Is told of jobs that begin and end here, in the main thread.
        last_activity: When a job last started or ended, in monotonic seconds.
    """

    def __init__(
        self,
        runner_id: str,
        settings: ManagerSettings,
        resources: Mapping[str, Mapping[str, Any]],
        store: JobStore,
        forkserver: Forkserver,
        *,
        prefect: Prefect,
        keys: SecretKeys,
        flow_processes: Collection[str] = (),
        is_wanted: Callable[[], bool] | None = None,
    ) -> None:
        self.runner_id = runner_id
        self._settings = settings
        self._resources = resources
        self._store = store
        self._forkserver = forkserver
        self._prefect = prefect
        self._keys = keys
        self._is_wanted = is_wanted
        self.on_jobs_change: Callable[[], None] = lambda: None
        self.on_callbacks: Callable[[], None] = lambda: None
        self.observer = JobObserver()
        self._process_limits = {
            process_id: process.max_running
            for process_id, process in settings.processes.items()
            if process.max_running is not None
        }
        self._results = ResultStore(settings.output_dir)
        self._chores = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chores")
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._wakeups = Wakeups(store.database.url, on_change=self.wake)
        self._selector = selectors.DefaultSelector()
        self._pool = PoolJobs(
            settings,
            resources,
            forkserver,
            self._selector,
            scratch=Presence(settings.data_dir).scratch,
            ended=self._pool_job_ended,
            answered=self._handlers_answered,
        )
        self._deployments = Deployments(
            settings,
            resources,
            self._results,
            connect=prefect.api,
            wake=self.wake,
            begun=self._flow_run_begun,
            ended=lambda job, outcome: self._unwritten.append((job, outcome)),
            waits=lambda job, reason: self._due.append(lambda: self._store.give_back(job.claim, reason)),
            says=lambda job, message: self._due.append(lambda: self._store.say(job.claim, message)),
            dismissed=lambda job: self._due.append(lambda: self._dismiss(job.job_id)),
            completed=self._flow_run_completed,
            asks_handlers=self._ask_handlers,
            adds_lines=lambda job: self._due.append(lambda: self._write_logs(job)),
        )
        self._engine_processes = frozenset(flow_processes) - self._deployments.processes
        self._host = this_host()
        self._heard: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._runs_of_prefect: tuple[UUID, ...] = ()
        self._due: list[Callable[[], Any]] = []
        self._unwritten: list[tuple[HeldJob, Outcome]] = []
        self._cleanups: list[tuple[str, str]] = []
        self._unread: list[DeployedJob] = []
        self._unasked: list[DeployedJob] = []
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
        """Claim nothing more, finish the jobs that run in the pool, then end. Those of deployments go on without."""
        self._is_draining = True
        self.wake()

    def stop(self) -> None:
        """Stop the jobs that run in the pool, then end."""
        self._is_draining = self._is_stopping = True
        self.wake()

    def flow_run_changed(self, flow_run_id: UUID, state: FlowRunState | None) -> None:
        """A flow run has this state now; None: it was deleted. From any thread, as often as one likes."""
        self._heard.put(partial(self._heed_state, flow_run_id, state))
        self.wake()

    def flow_run_progressed(self, flow_run_id: UUID, progress: Progress) -> None:
        """A flow run shows this progress in Prefect. From any thread, as often as one likes."""
        self._heard.put(partial(self._heed_progress, flow_run_id, progress))
        self.wake()

    def log(self, job_id: str, line: LogLine) -> None:
        """Add a line to the log of a job that this runner holds; of others nothing is written. From any thread."""
        self._heard.put(partial(self._heed_line, job_id, line))
        self.wake()

    @property
    def runs_of_prefect(self) -> list[UUID]:
        """The flow runs that execute jobs, rather than show them."""
        return list(self._runs_of_prefect)

    @property
    def needs_prefect(self) -> frozenset[str]:
        """Ids of the processes that cannot run without Prefect."""
        return self._engine_processes | self._deployments.processes

    @property
    def deployed(self) -> frozenset[str]:
        """Ids of the processes that have a deployment."""
        return self._deployments.processes

    @property
    def runs_in_engine(self) -> bool:
        """Whether a job of the pool needs Prefect to its end: it runs through its engine, or its result is read."""
        return any(job.process_id in self._engine_processes or isinstance(job, DeployedJob) for job in self._pool.jobs)

    def use(self) -> RunnerUse:
        """How busy the runner is. From any thread."""
        busy, idle = self._pool.use()
        return RunnerUse(busy, idle, self._settings.max_running, len(self._deployments.jobs))

    @property
    def is_draining(self) -> bool:
        """Whether no job is claimed any more."""
        return self._is_draining

    @property
    def _held(self) -> list[HeldJob]:
        return [*self._pool.jobs, *self._deployments.jobs]

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
        self._pool.start_worker()
        drain_told = False
        try:
            while True:
                if self._is_draining and not drain_told:
                    drain_told = True
                    self._pool.keeps_a_worker = False
                    # another runner adopts them now, however long the jobs of the pool still take
                    self._deployments.let_go()
                    self._due.append(partial(self._store.let_go, self.runner_id, self._deployments.processes))
                    LOGGER.info("runner drains", extra={"action": "drain", "running": len(self._pool.jobs)})
                    on_drain()
                if self._is_stopping:
                    for job in self._pool.jobs:
                        # the result of a flow run can be read by the next runner
                        outcome = Outcome.failed("The runner was stopped while the job was running")
                        self._pool.stop(job, None if isinstance(job, DeployedJob) else outcome)
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
            elif isinstance(key.fileobj, PoolWorker) and self._pool.hear(key.fileobj):
                self._look_again = True
        if self._pool.process_events():
            self._look_again = True
        self._heed_flow_runs()
        now = time.monotonic()
        self._deployments.look(now)
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
        if self._unwritten or self._due or self._look_again:
            return 0
        held = self._held
        times = [self._renew_at, self._deployments.next_look()]
        if not self._is_draining:
            times.append(self._sweep_at)
        if any(job.has_news for job in held):
            times.append(self._flush_at)
        times += [job.deadline for job in held if job.deadline is not None and not job.is_stopping]
        return max(0.0, min(times) - now)

    def _use_store(self, now: float) -> None:
        if now >= self._renew_at:
            self._renew_lease()
            self._renew_at = now + self._settings.lease / 3
            # also finds what no wake-up told of: jobs of unknown processes that have waited long enough
            self._look_again = True
        if now >= self._sweep_at and not self._is_draining:
            self._sweep()
            self._sweep_at = now + _SWEEP_SECONDS
        while self._due:
            self._due[0]()
            self._due.pop(0)
            self._look_again = True
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

    def _heed_flow_runs(self) -> None:
        self._deployments.settle()
        while True:
            try:
                self._heard.get_nowait()()
            except Empty:
                break
        self._runs_of_prefect = tuple(job.flow_run_id for job in self._held if job.flow_run_id is not None)

    def _heed_state(self, flow_run_id: UUID, state: FlowRunState | None) -> None:
        if self._deployments.heed(flow_run_id, state) or state is None:
            return
        # somebody cancelled it in Prefect; of a run in the pool only this runner can stop the work
        if state.type in ("CANCELLING", "CANCELLED"):
            self._due.append(partial(self._dismiss_flow_run, flow_run_id))

    def _heed_progress(self, flow_run_id: UUID, progress: Progress) -> None:
        for job in self._held:
            # what the recorder shows came from here
            if job.flow_run_id == flow_run_id and progress.description != progress_description(job.job_id):
                job.add_progress(int(progress.percent), progress.description)

    def _heed_line(self, job_id: str, line: LogLine) -> None:
        for job in self._held:
            if job.job_id == job_id and job.lines_written + len(job.lines) < MAX_LOG_LINES:
                job.lines.append(line)

    def _dismiss_flow_run(self, flow_run_id: UUID) -> None:
        # its client may have dismissed and removed the job meanwhile
        with suppress(UnknownJobError):
            for job in self._pool.jobs:
                if job.flow_run_id == flow_run_id:
                    self._store.dismiss(job.job_id)
                    return
            self._store.dismiss_flow_run(flow_run_id)

    def _dismiss(self, job_id: str) -> None:
        with suppress(UnknownJobError):
            self._store.dismiss(job_id)

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
            adopt=lambda process_id: process_id in self._deployments.processes,
        )
        for job in lost:
            facts = {"action": "sweep", "job_id": job.job_id, "status": job.status}
            if job.runner_id == self.runner_id:
                LOGGER.info("job of a deployment adopted", extra=facts)
                continue
            LOGGER.warning("job lost by its runner", extra=facts)
            if job.status.is_terminal:
                self.observer.lost(job.process_id)
            self._delete_traces(job.claim)
        if lost:
            self._look_again = True
            self.on_jobs_change()
        if self.needs_prefect and not self._prefect.is_reachable:
            failed = self._store.explain_waiting(
                self.needs_prefect,
                "The job waits: Prefect cannot be reached",
                give_up=self._settings.prefect_timeout,
                reason=f"Prefect could not be reached for {self._settings.prefect_timeout:g} seconds",
            )
            if failed:
                LOGGER.warning("jobs failed: Prefect cannot be reached", extra={"action": "sweep", "count": failed})

    # ---------------------------------------------------------------- claims

    def _look(self) -> None:
        outlook = self._store.outlook(self.runner_id)
        held = {job.claim: job for job in self._held}
        for claim in outlook.claims - held.keys() - {job.claim for job, _ in self._unwritten}:
            # adopted; or the database went away between the commit of this claim and its answer, and it has not begun
            try:
                details = self._store.details(claim.job_id)
            except UnknownJobError:
                # dismissed and removed since the outlook
                continue
            self._start(details)
        for claim, job in held.items():
            if claim not in outlook.claims:
                if not job.is_stopping and self._is_dismissed(claim):
                    self.observer.ended(job, JobStatus.DISMISSED)
                self._stop_job(job, None)
        if outlook.callbacks_wait:
            self.on_callbacks()
        if self._is_draining:
            return
        if outlook.cleanups_wait:
            for number, job_id, process_id in self._store.next_cleanups(limit=10):
                if self._store.take_cleanup(number):
                    self._cleanups.append((job_id, process_id))
        self._lend_workers()
        if outlook.jobs_wait:
            self._claim()

    def _is_dismissed(self, claim: Claim) -> bool:
        """Whether that is why it is held no more: its lease may have lapsed, and another runner have taken it."""
        try:
            job = self._store.job(claim.job_id)
        except UnknownJobError:
            # and removed since
            return True
        return job.claim == claim and job.status is JobStatus.DISMISSED

    def _lend_workers(self) -> None:
        """Give free pool workers what else only they may do."""
        while self._cleanups and self._pool.free() > 0:
            self._pool.clean_up(*self._cleanups.pop())
        while self._unread and self._pool.free() > 0 and self._prefect.is_reachable:
            job = self._unread.pop(0)
            if self._deployments.release(job):
                self._pool.read_result(job, prefect_api_url=self._prefect.local_api_url)
        while self._unasked and self._pool.free() > 0:
            job = self._unasked.pop(0)
            if self._deployments.waits_for_handlers(job):
                self._pool.ask_handlers(job, prefect_api_url=self._prefect.local_api_url)

    def _claim(self) -> None:
        claimed: list[JobDetails] = []
        record = self._prefect.is_recording
        if (free := self._pool.free()) > 0:
            without = self._deployments.processes if self._prefect.is_reachable else self.needs_prefect
            claimed += self._store.claim(
                self.runner_id,
                limit=free,
                process_limits=self._process_limits,
                record=record,
                processes=self._resources,
                but=without,
            )
        if self._deployments.processes and self._prefect.is_reachable and (free := self._deployments.free()) > 0:
            claimed += self._store.claim_to_hand_over(
                self.runner_id,
                limit=free,
                process_limits=self._process_limits,
                processes=self._deployments.processes,
                record=record,
            )
        for details in claimed:
            self._start(details)
        if claimed:
            self.on_jobs_change()

    def _start(self, details: JobDetails) -> None:
        process_id = details.job.process_id
        self.last_activity = time.monotonic()
        self._wakeups.expect_changes()
        if process_id not in self._resources:
            reason = f"Process {process_id!r} is no longer configured"
            self._unwritten.append((HeldJob(details), Outcome.failed(reason)))
            return
        is_deployed = process_id in self._deployments.processes
        secrets = JobSecrets()
        # a flow run has them already
        if details.has_secrets and not (is_deployed and details.job.flow_run_id is not None):
            try:
                secrets = self._keys.open(details.job.job_id, self._store.sealed_secrets(details.job.claim))
            except (SecretKeyError, JobSecretsLostError) as error:
                facts = {"action": "open_secrets", "job_id": details.job.job_id, "reason": str(error)}
                LOGGER.error("job cannot run without its secrets", extra=facts)
                self._unwritten.append((HeldJob(details), Outcome.failed(error.client_message)))
                return
        if is_deployed:
            self._deployments.start(details, secrets)
        else:
            self.observer.begun(self._begin_in_pool(details, secrets))

    def _begin_in_pool(self, details: JobDetails, secrets: JobSecrets) -> HeldJob:
        # an attempt that was lost with its runner has left lines
        is_first = details.job.claim_number == 1
        lines_written = 0 if is_first else self._store.last_log_line(details.job.job_id)
        held = self._pool.start(details, secrets, prefect_api_url=self._prefect.local_api_url)
        held.lines_written = lines_written
        return held

    # ---------------------------------------------------------------- the ends of jobs

    def _pool_job_ended(self, job: HeldJob, outcome: Outcome | None, was_killed: bool) -> None:
        if outcome is not None:
            self._unwritten.append((job, outcome))
        elif job.flow_run_id is not None and not job.flow_run_kept:
            self._due.append(partial(self._store.keep_flow_run, job.claim, job.flow_run_id))
        if was_killed:
            self._delete_traces(job.claim)
            if job.is_stopping:
                self._cleanups.append((job.job_id, job.process_id))

    def _ask_handlers(self, job: DeployedJob) -> None:
        self._unasked.append(job)
        self._look_again = True

    def _handlers_answered(self, job: HeldJob, answer: Mapping[str, Any] | Outcome) -> None:
        assert isinstance(job, DeployedJob)
        self._deployments.heed_handlers(job, answer)

    def _flow_run_begun(self, job: HeldJob) -> None:
        self._due.append(lambda: self._store.begin(job.claim))
        self.observer.begun(job)

    def _flow_run_completed(self, job: DeployedJob) -> None:
        self._unread.append(job)
        self._look_again = True

    def _stop_job(self, job: HeldJob, outcome: Outcome | None) -> None:
        if isinstance(job, DeployedJob) and job not in self._pool.jobs:
            self._deployments.stop(job, outcome)
        else:
            self._pool.stop(job, outcome)

    def _stop_overdue(self, now: float) -> None:
        for job in self._held:
            if not job.is_stopping and job.deadline is not None and now >= job.deadline:
                limit = self._settings.process(job.process_id).time_limit
                reason = f"The job ran longer than its process may: {limit:g} seconds"
                self._stop_job(job, Outcome.failed(reason))

    def _delete_traces(self, claim: Claim) -> None:
        """Of a claim that ended without success: what it stored, and its temporary files."""
        self._chores.submit(self._delete_outputs, claim)
        self._chores.submit(shutil.rmtree, self._pool.scratch_of(claim), ignore_errors=True)

    def _delete_outputs(self, claim: Claim) -> None:
        try:
            self._results.delete(f"{claim.job_id}/{claim.number}")
        except ResultStoreError as error:
            LOGGER.warning("stored outputs left behind", extra={"action": "delete_outputs", "reason": str(error)})

    # ---------------------------------------------------------------- writing

    def _flush(self) -> None:
        for job in self._held:
            if job.flow_run_id is not None and not job.flow_run_kept:
                self._store.keep_flow_run(job.claim, job.flow_run_id)
                job.flow_run_kept = True
            self._write_logs(job)
            if job.progress is not None:
                progress, job.progress = job.progress, None
                self._store.report_progress(job.claim, *progress)

    def _write_logs(self, job: HeldJob) -> None:
        if job.lines:
            try:
                self._store.append_logs(job.job_id, job.lines_written + 1, job.lines)
            except JobStoreUnavailableError:
                raise
            except Exception:
                LOGGER.exception("log lines cannot be stored", extra={"action": "log", "job_id": job.job_id})
            job.lines_written += len(job.lines)
            job.lines = []

    def _write_outcome(self, job: HeldJob, outcome: Outcome) -> None:
        try:
            is_finished = self._write_all(job, outcome)
        except JobStoreUnavailableError:
            raise
        except Exception:
            # one job's words must not end the runner, and with it the other jobs
            LOGGER.exception("outcome cannot be stored", extra={"action": "finish", "job_id": job.job_id})
            outcome = Outcome.failed("The outcome of the job could not be stored")
            is_finished = self._store.finish(job.claim, outcome)
        if not is_finished and not self._is_written(job.claim, outcome):
            LOGGER.info("late outcome refused", extra={"action": "finish", "job_id": job.job_id})
            self._delete_traces(job.claim)
            if self._is_dismissed(job.claim):
                self.observer.ended(job, JobStatus.DISMISSED)
        else:
            self.observer.ended(job, outcome.status, outcome)
        if isinstance(job, DeployedJob):
            self._deployments.forget(job)
        self.last_activity = time.monotonic()
        self.on_jobs_change()

    def _is_written(self, claim: Claim, outcome: Outcome) -> bool:
        """Whether the outcome was written before: the database went away between its commit and the answer."""
        try:
            job = self._store.job(claim.job_id)
        except UnknownJobError:
            return False
        return job.claim == claim and job.status is outcome.status

    def _write_all(self, job: HeldJob, outcome: Outcome) -> bool:
        self._write_logs(job)
        if job.progress is not None and outcome.status is not JobStatus.SUCCESSFUL:
            self._store.report_progress(job.claim, *job.progress)
        return self._store.finish(job.claim, outcome, flow_run_id=None if job.flow_run_kept else job.flow_run_id)

    # ---------------------------------------------------------------- the end

    def _has_work(self) -> bool:
        return bool(self._pool.jobs or self._unwritten or self._due)

    def _check_wanted(self, now: float) -> None:
        assert self._is_wanted is not None
        if self._is_wanted():
            self._unwanted_since = None
        elif self._unwanted_since is None:
            self._unwanted_since = now
        elif now - self._unwanted_since >= self._settings.shutdown_grace and not self._pool.jobs:
            self.drain()

    def _end(self) -> None:
        self._wakeups.stop()
        self._deployments.close()
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
