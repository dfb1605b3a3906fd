"""
Shows jobs in Prefect, beside their execution and never on its path.

The runner wants a job recorded when it claims it (a row in the job store); the recorder takes those rows in order,
creates the flow run, sends logs and progress while the job runs, sets the final state, and removes the row. What it
has not done when it is interrupted, by an outage or its own end, it or the next recorder does later.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from pygeoapi_prefect.exceptions import JobStoreUnavailableError, PrefectUnavailableError
from pygeoapi_prefect.jobs import Job, JobDetails, JobStore, LogLine, Recording
from pygeoapi_prefect.jobs.queries import MESSAGE_RUNNING
from pygeoapi_prefect.jobs.records import utc_now
from pygeoapi_prefect.prefect_api import (
    FlowRunNotFoundError,
    FlowRunStateType,
    PrefectApi,
    PrefectRefusedError,
)
from pygeoapi_prefect.process.flow_runs import (
    flow_name,
    flow_run_name,
    flow_run_parameters,
    flow_run_tags,
    progress_description,
)
from pygeoapi_prefect.process.handed_over import HandedOver
from pygeoapi_prefect.schemas import JobStatus

LOGGER = logging.getLogger(__name__)

FLOW_RUN_STATES: Mapping[JobStatus, FlowRunStateType] = {
    JobStatus.ACCEPTED: "PENDING",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.SUCCESSFUL: "COMPLETED",
    JobStatus.FAILED: "FAILED",
    JobStatus.DISMISSED: "CANCELLED",
}
"""What Prefect shows of each job status."""

ENDED_STATES: tuple[FlowRunStateType, ...] = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")

LATE = timedelta(seconds=15)
"""Prefect's server sets its own times; a job recorded later than this carries ours in parameters, log and a tag."""

_LAST_WORDS = timedelta(seconds=2)
"""Time for a pool worker that is being stopped to tell its flow run."""

_BATCH = 50
_LIVE_BATCH = 1000
_LIVE = timedelta(seconds=0.5)  # shorter jobs are recorded once, when they have ended
_QUIET_SECONDS = 0.25  # recording costs the machine 30 ms a job: jobs go first …
_PATIENCE = timedelta(seconds=10)  # … but not for ever
_LOOK_SECONDS = 0.25
_REST_SECONDS = 10.0
_MAX_RETRY_SECONDS = 30.0


@dataclass
class _Shown:
    """What Prefect shows of a running job."""

    artifact_id: UUID | None = None
    progress: int = 0
    message: str = MESSAGE_RUNNING


class Recorder:
    """
    One thread that records the jobs of a job store.

    Args:
        store: Where the jobs are.
        runner_id: Whose jobs are recorded, beside those of nobody.
        connect: Called in the recorder's thread when there is no connection; raises PrefectUnavailableError to be
            called again later. None says that there is nothing to record to, for good.
        last_activity: When a job last started or ended (monotonic seconds): recording waits for a quiet moment.
        backlog: How many jobs may wait to be recorded; older ones are given up.
        run_by_prefect: Ids of processes whose jobs are flow runs by themselves: of them only the end is seen to.
        deployed: Those of them that run in deployments.
    """

    def __init__(
        self,
        store: JobStore,
        runner_id: str,
        connect: Callable[[], PrefectApi | None],
        *,
        last_activity: Callable[[], float],
        backlog: int,
        run_by_prefect: Collection[str] = (),
        deployed: Collection[str] = (),
    ) -> None:
        self._store = store
        self._runner_id = runner_id
        self._connect = connect
        self._last_activity = last_activity
        self._backlog = backlog
        self._run_by_prefect = run_by_prefect
        self._deployed = deployed
        self._api: PrefectApi | None = None
        self._shown: dict[str, _Shown] = {}
        self._nudged = threading.Event()
        self._stopping = threading.Event()
        self._retry_seconds = 0.0
        self._trim_at = 0.0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Start recording."""
        self._thread.start()

    def nudge(self) -> None:
        """Jobs have started or ended."""
        self._nudged.set()

    def stop(self, timeout: float) -> None:
        """Record what has ended, for at most *timeout* seconds, then end. The rest stays for the next recorder."""
        self._stopping.set()
        self._nudged.set()
        self._thread.join(timeout)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._api is not None:
            self._api.close()
            self._api = None

    def _run(self) -> None:
        while True:
            is_last_round = self._stopping.is_set()
            pause = _REST_SECONDS
            try:
                if time.monotonic() >= self._trim_at:
                    self._trim_at = time.monotonic() + 60
                    self._trim()
                if self._api is None:
                    self._api = self._connect()
                if self._api is None:
                    return
                if self._record_all():
                    pause = _LOOK_SECONDS
                if self._retry_seconds:
                    LOGGER.info("Prefect can be reached again", extra={"action": "record"})
                    self._retry_seconds = 0.0
            except (PrefectUnavailableError, JobStoreUnavailableError) as error:
                if isinstance(error, PrefectUnavailableError):
                    # a local server that died is started by the next connect
                    self._disconnect()
                if not self._retry_seconds:
                    LOGGER.warning("jobs are recorded later", extra={"action": "record", "reason": str(error)})
                pause = self._retry_seconds = min(self._retry_seconds * 2 or 0.5, _MAX_RETRY_SECONDS)
            except Exception:
                LOGGER.exception("recorder failed; trying again", extra={"action": "record"})
                pause = self._retry_seconds = _MAX_RETRY_SECONDS
            if is_last_round:
                return
            self._nudged.wait(pause)
            if self._nudged.is_set():
                # not at once: what this thread does, the runner's loop must wait for; and an outage is not shorter
                # because there is more to record
                self._stopping.wait(max(self._retry_seconds, _QUIET_SECONDS))
                self._nudged.clear()

    def _trim(self) -> None:
        given_up = self._store.trim_recordings(self._backlog)
        if given_up:
            LOGGER.warning("oldest recordings given up", extra={"action": "trim_recordings", "count": given_up})

    def _record_all(self) -> bool:
        """Record what there is to record now; whether some is left for later."""
        is_left = False
        for recording in self._store.recordings(ended=False, limit=_LIVE_BATCH, runner_id=self._runner_id):
            is_left = True
            started = recording.details.job.started
            if started is not None and utc_now() - started >= _LIVE:
                self._try_to_record(recording)
        while ended := self._store.recordings(ended=True, limit=_BATCH, runner_id=self._runner_id):
            for recording in ended:
                if not self._is_quiet(recording.details.job):
                    return True
                self._try_to_record(recording)
            if len(ended) < _BATCH:
                # some may be left for later
                return is_left or bool(ended)
        return is_left

    def _is_quiet(self, job: Job) -> bool:
        if self._stopping.is_set() or time.monotonic() - self._last_activity() >= _QUIET_SECONDS:
            return True
        return job.finished is not None and utc_now() - job.finished >= _PATIENCE

    def _try_to_record(self, recording: Recording) -> None:
        job = recording.details.job
        try:
            self._record(recording)
        except FlowRunNotFoundError:
            LOGGER.info("flow run was deleted", extra={"action": "record", "job_id": job.job_id})
            self._end(job)
        except PrefectRefusedError as error:
            LOGGER.warning("job not recorded", extra={"action": "record", "job_id": job.job_id, "reason": str(error)})
            self._end(job)

    def _record(self, recording: Recording) -> None:
        assert self._api is not None
        job = recording.details.job
        if job.status.is_terminal and job.process_id in self._deployed and recording.details.has_secrets:
            # its runner does so, too; but not of a job that waited for Prefect, or was dismissed while no runner lived
            self._api.delete_secret(HandedOver.secret_block_of(job.job_id))
        if job.process_id in self._run_by_prefect and recording.flow_run_id is None:
            if job.flow_run_id is not None:
                self._see_to(job.flow_run_id, job)
                return
            if not job.status.is_terminal:
                return
            if job.process_id in self._deployed:
                self._end(job)
                return
            assert job.finished is not None
            if utc_now() - job.finished < _LAST_WORDS:
                return
            # a worker that was stopped between the call that creates the run and its answer could not tell of it
            created = self._api.find_flow_runs(tags=flow_run_tags(job.process_id, job.job_id))
            if created:
                self._store.update_recording(job.job_id, flow_run_id=created[0])
                self._see_to(created[0], job)
                return
            # it ended before Prefect had it
        flow_run_id = recording.flow_run_id or self._create_flow_run(recording.details)
        self._send_logs(flow_run_id, recording)
        shown = self._shown.setdefault(job.job_id, _Shown())
        if job.progress > shown.progress:
            self._show_progress(flow_run_id, job, shown)
        if job.status.is_terminal:
            self._api.set_flow_run_state(
                flow_run_id, state_type=FLOW_RUN_STATES[job.status], message=job.message, force=True
            )
            self._end(job)
        elif job.message != shown.message:
            shown.message = job.message
            self._api.write_logs(flow_run_id, [LogLine(job.updated, logging.INFO, __name__, job.message)])

    def _see_to(self, flow_run_id: UUID, job: Job) -> None:
        """Of a job that is a flow run by itself: show its progress, and see that the run ends with it."""
        assert self._api is not None
        is_deployed = job.process_id in self._deployed
        if not job.status.is_terminal:
            shown = self._shown.setdefault(job.job_id, _Shown())
            if not is_deployed and job.progress > shown.progress:
                self._show_progress(flow_run_id, job, shown)
            return
        # of a success the run has told by itself
        if job.status is not JobStatus.SUCCESSFUL:
            state = self._api.flow_run_states([flow_run_id])[flow_run_id]
            has_ended = state is None or state.type in ENDED_STATES
            # stopped between two steps of Prefect's engine, which then takes that for a crash
            is_mistaken = state is not None and state.type == "CRASHED"
            if not is_deployed and (is_mistaken or not has_ended):
                self._api.set_flow_run_state(
                    flow_run_id, state_type=FLOW_RUN_STATES[job.status], message=job.message, force=True
                )
            elif is_deployed and state is not None and not has_ended and state.type != "CANCELLING":
                self._api.set_flow_run_state(flow_run_id, state_type="CANCELLING", message=job.message, force=False)
        self._end(job)

    def _create_flow_run(self, details: JobDetails) -> UUID:
        assert self._api is not None
        job = details.job
        is_late = job.finished is not None and utc_now() - job.finished > LATE
        flow_run_id = self._api.create_flow_run(
            flow_name=flow_name(job.process_id),
            name=flow_run_name(job.process_id, job.job_id),
            parameters=flow_run_parameters(job.job_id, details.request) | (_times(job) if is_late else {}),
            tags=flow_run_tags(job.process_id, job.job_id) + (["recorded-late"] if is_late else []),
            idempotency_key=job.job_id,
            state_type="RUNNING",
            state_message="Runs in the pool of a pygeoapi-prefect runner",
        )
        if is_late:
            text = ", ".join(f"{name} {at}" for name, at in _times(job).items())
            self._api.write_logs(
                flow_run_id, [LogLine(job.created, logging.INFO, __name__, f"Recorded late. The job was {text}")]
            )
        self._store.update_recording(job.job_id, flow_run_id=flow_run_id)
        return flow_run_id

    def _send_logs(self, flow_run_id: UUID, recording: Recording) -> None:
        assert self._api is not None
        if recording.is_deleted:
            return
        lines = self._store.logs(recording.job_id, after=recording.logs_sent)
        if lines:
            self._api.write_logs(flow_run_id, lines)
            self._store.update_recording(recording.job_id, logs_sent=recording.logs_sent + len(lines))

    def _show_progress(self, flow_run_id: UUID, job: Job, shown: _Shown) -> None:
        assert self._api is not None
        if shown.artifact_id is None:
            # a job that was never seen under way needs no bar
            if job.status.is_terminal:
                return
            shown.artifact_id = self._api.create_progress_artifact(
                flow_run_id, key="progress", progress=job.progress, description=progress_description(job.job_id)
            )
        else:
            self._api.update_progress_artifact(shown.artifact_id, job.progress)
        shown.progress = job.progress

    def _end(self, job: Job) -> None:
        if job.status.is_terminal:
            self._store.end_recording(job.job_id)
            self._shown.pop(job.job_id, None)


def _times(job: Job) -> dict[str, str]:
    times = {"created": job.created, "started": job.started, "finished": job.finished}
    return {name: at.isoformat() for name, at in times.items() if at is not None}
