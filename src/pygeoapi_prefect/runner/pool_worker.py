"""
Runs one job after the other in a child of the forkserver.

The runner and the pool worker exchange JSON messages over a connection:

* to the worker: ``run`` (one job, as :class:`Assignment`), ``read_result`` (the same; a deployment that somebody else
  made has run the job and persisted its result, maybe as a pickle, which nobody but a pool worker may read),
  ``ask_handlers`` (the same; a deployment will run the job, and its handlers may ask something of the work pool), and
  ``clean_up`` (let a processor remove its resources);
* to the runner: ``progress``, ``log``, ``flow_run`` (that executes the job), and ``done`` with the outcome. What
  handlers ask for comes as ``job_variables`` before it.

The worker writes the result itself, so it does not travel through the runner.
"""

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pygeoapi.process.base import BaseProcessor

from pygeoapi_prefect.jobs.records import MAX_LOG_LINES, Outcome, utc_now
from pygeoapi_prefect.masking import SecretMask
from pygeoapi_prefect.process.execution import JobStopped, execute_plain, failed, successful
from pygeoapi_prefect.process.handled import handled_job
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.process.processor import is_flow, load_processor
from pygeoapi_prefect.process.progress import progress_goes_to
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.runner.os_processes import kill_descendants
from pygeoapi_prefect.telemetry import tracing
from pygeoapi_prefect.telemetry.measured import forget_measured, measured
from pygeoapi_prefect.telemetry.usage import UsageMeter

if TYPE_CHECKING:
    from pygeoapi_prefect.handlers.handled_job import HandledJob

LOGGER = logging.getLogger(__name__)

_OUTPUT_LOGGER = "stdout"
_DRAIN_SECONDS = 0.5
_ASK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Assignment:
    """
    One job for a pool worker.

    Attributes:
        result_store: URL.
        scratch: Folder for the job's temporary files; made and removed by the worker.
        prefect_api_url: Of the local Prefect server; None: Prefect's own settings say where its API is.
    """

    order: JobOrder
    result_store: str
    scratch: str
    prefect_api_url: str | None = None


def run_worker(connection: Connection) -> None:
    """Take jobs from *connection* until the runner closes it."""
    channel = _Channel(connection)
    output = _capture_output(channel)
    # the runner's own handlers write to what is captured now
    channel.take_logs()
    channel.drain = output.drain
    store: ResultStore | None = None
    while True:
        try:
            order = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            tracing.close()
            return
        do = order.pop("do")
        if do == "clean_up":
            _clean_up(order["process_id"], order["resource"], order["job_id"])
            channel.send({"tell": "done"})
            continue
        assignment = Assignment(**order | {"order": JobOrder(**order["order"])})
        if store is None or store.url != assignment.result_store:
            store = ResultStore(assignment.result_store)
        channel.begin()
        outcome = _run(_TASKS[do], assignment, store, channel)
        if outcome is None:
            tracing.close()
            return
        output.drain()
        if do == "run":
            outcome = replace(outcome, usage=channel.usage.report(), metrics=measured())
        channel.end(outcome)
        tracing.flush()


def _run(
    do: Callable[[Assignment, ResultStore, "_Channel"], Outcome],
    assignment: Assignment,
    store: ResultStore,
    channel: "_Channel",
) -> Outcome | None:
    """The outcome; None when the job was stopped, and the worker with it."""
    with _job_environment(assignment), progress_goes_to(channel.progress), ExitStack() as job:
        channel.job = job
        mask = channel.mask
        try:
            if secrets := assignment.order.secrets:
                mask.add(secrets)
                mask.begin()
                job.callback(mask.end)
            return do(assignment, store.limited(assignment.order.max_output_bytes), channel)
        except JobStopped:
            return None
        except BaseException as error:
            return failed(mask.error(error))


def _execute(assignment: Assignment, store: ResultStore, channel: "_Channel") -> Outcome:
    order = assignment.order
    with tracing.job_span(*order.traced):
        return _executed(order, assignment.prefect_api_url, store, channel)


def _executed(order: JobOrder, api_url: str | None, store: ResultStore, channel: "_Channel") -> Outcome:
    processor = load_processor(order.process_id, order.resource)
    if not is_flow(processor):
        handled = _handled(order, processor, store, channel)
        if handled is not None:
            handled.set_environment()
        with nullcontext() if handled is None else handled.attempt():
            return successful(execute_plain(processor, order, store, handled), handled)
    from pygeoapi_prefect.process.engine import run_in_pool

    # Prefect's own configuration of logging replaces the handlers of the root logger when it is imported
    channel.take_logs()
    handled = _handled(order, processor, store, channel)
    if handled is not None:
        handled.set_environment()
    manifest = run_in_pool(
        processor, order, store, api_url=api_url, began=channel.flow_run, handled=handled, mask=channel.mask
    )
    return successful(manifest, handled)


def _handled(order: JobOrder, processor: BaseProcessor, store: ResultStore, channel: "_Channel") -> "HandledJob | None":
    handled = handled_job(order, processor.metadata, store, mask=channel.mask, drain=channel.drain, usage=channel.usage)
    if handled is not None:
        channel.job.callback(handled.close)
        handled.open()
    return handled


def _read_result(assignment: Assignment, store: ResultStore, channel: "_Channel") -> Outcome:
    from pygeoapi_prefect.process.persisted import take_over

    channel.take_logs()
    return successful(take_over(assignment.order, store, api_url=assignment.prefect_api_url))


def _ask_handlers(assignment: Assignment, store: ResultStore, channel: "_Channel") -> Outcome:
    order = assignment.order
    # somebody who waits for an answer keeps a pool worker from jobs
    signal.signal(signal.SIGALRM, _give_up_asking)
    signal.setitimer(signal.ITIMER_REAL, _ASK_SECONDS)
    try:
        handled = _handled(order, load_processor(order.process_id, order.resource), store, channel)
        if handled is not None:
            channel.send({"tell": "job_variables", "variables": handled.job_variables()})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return successful({"values": {}})


def _give_up_asking(*_: Any) -> None:
    raise TimeoutError(f"The handlers did not say within {_ASK_SECONDS} s what their job needs")


_TASKS = {"run": _execute, "read_result": _read_result, "ask_handlers": _ask_handlers}


def _clean_up(process_id: str, resource: Mapping[str, Any], job_id: str) -> None:
    """Call the processor's ``remove_resources(job_id)`` where it has one (pygeoapi#2382)."""
    try:
        processor = load_processor(process_id, resource)
        remove = getattr(processor, "remove_resources", None)
        if callable(remove):
            remove(job_id)
    except Exception as error:
        LOGGER.warning("resources of a job could not be removed", extra={"job_id": job_id, "reason": str(error)})


@contextmanager
def _job_environment(assignment: Assignment) -> Iterator[None]:
    """
    Each job has a folder for temporary files, and finds environment and working directory as the last one did.

    The working directory stays the server's: processors that name their data relative to it must go on to work.
    """
    os.environ.pop("TMPDIR", None)
    environment, folder = dict(os.environ), Path.cwd()
    scratch = Path(assignment.scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    signal.signal(signal.SIGTERM, _stop_job)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _end_children()
        os.environ.pop("TMPDIR", None)
        if os.environ != environment:
            os.environ.clear()
            os.environ.update(environment)
        tempfile.tempdir = None
        with suppress(OSError):
            os.chdir(folder)
        try:
            scratch.rmdir()
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)


def _stop_job(*_: Any) -> None:
    raise JobStopped


def _end_children() -> None:
    """A job that has ended leaves no process behind. Without children this costs one system call."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
    kill_descendants(os.getpid())
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


class _Channel:
    """
    The worker's side of the connection; used from every thread of the job.

    Attributes:
        mask: Of the job.
        drain: Waits until all that was printed is in the log.
        job: What has to be undone when the job has ended, while its environment is still there.
        usage: Measures the job.

    Processes that the job forks inherit it and would garble it: what they tell goes through the captured output.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pid = os.getpid()
        self.mark = f"\x00progress-{self._pid}\x00"
        self._lock = threading.RLock()
        self._lines_left = 0
        self._percent = 0
        self._handler = _JobLog(self)
        self.mask = SecretMask()
        self.drain: Callable[[], None] = lambda: None
        self.job = ExitStack()
        self.usage = UsageMeter()

    def begin(self) -> None:
        self.usage = UsageMeter()
        forget_measured()
        self._lines_left = MAX_LOG_LINES
        self._percent = 0
        self.mask = SecretMask()

    def end(self, outcome: Outcome) -> None:
        self._lines_left = 0
        self.send({"tell": "done", "outcome": outcome.to_json()})

    def take_logs(self) -> None:
        """Make the job's log the only handler of the root logger."""
        root = logging.getLogger()
        root.handlers[:] = [self._handler]
        root.setLevel(logging.INFO)

    def flow_run(self, flow_run_id: UUID) -> None:
        self.send({"tell": "flow_run", "flow_run_id": str(flow_run_id)})

    def progress(self, percent: int, message: str | None) -> None:
        if os.getpid() != self._pid:
            os.write(2, f"{self.mark}{percent} {message or ''}\n".encode(errors="replace"))
            return
        self._percent = max(self._percent, percent)
        shown = message and self.mask.text(message)
        self.send({"tell": "progress", "percent": self._percent, "message": shown})

    def log(self, level: int, logger: str, text: str) -> None:
        if os.getpid() != self._pid:
            os.write(2, f"{text}\n".encode(errors="replace"))
            return
        with self._lock:
            if self._lines_left <= 0:
                return
            self._lines_left -= 1
            if self._lines_left == 0:
                level, logger, text = logging.WARNING, __name__, f"The log ends here: it has {MAX_LOG_LINES} lines"
            line = {"time": utc_now().isoformat(), "level": level, "logger": logger, "text": self.mask.text(text)}
            self.send({"tell": "log", **line})

    def send(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            try:
                self._connection.send_bytes(json.dumps(message).encode())
            except OSError:
                # the runner is gone, and nobody is left to do this for
                os._exit(1)


class _JobLog(logging.Handler):
    """The job's log records, for its user."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__(logging.INFO)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:
            text = str(record.msg)
        self._channel.log(record.levelno, record.name, text)


class _CapturedOutput:
    """What the job and its tools print becomes lines of its log."""

    def __init__(self, read_fd: int, channel: _Channel) -> None:
        self._read_fd = read_fd
        self._channel = channel
        self._mark = f"\x00{os.getpid()}-{id(self)}\x00"
        self._drained = threading.Event()
        self._log = logging.getLogger(_OUTPUT_LOGGER)
        threading.Thread(target=self._read, name="captured-output", daemon=True).start()

    def drain(self) -> None:
        """Wait until all that was printed is in the log."""
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        self._drained.clear()
        os.write(1, f"{self._mark}\n".encode())
        self._drained.wait(_DRAIN_SECONDS)

    def _read(self) -> None:
        with os.fdopen(self._read_fd, errors="replace") as lines:
            for line in lines:
                text, mark, _ = line.rstrip("\n").partition(self._mark)
                text, is_progress, progress = text.partition(self._channel.mark)
                if is_progress:
                    percent, _, message = progress.partition(" ")
                    self._channel.progress(int(percent), message or None)
                if text.strip():
                    self._log.info("%s", text)
                if mark:
                    self._drained.set()


def _capture_output(channel: _Channel) -> _CapturedOutput:
    read_fd, write_fd = os.pipe()
    for fd in (1, 2):
        os.dup2(write_fd, fd)
    os.close(write_fd)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False, errors="replace")
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="replace")
    return _CapturedOutput(read_fd, channel)


if __name__ == "__main__":
    run_worker(Connection(int(sys.argv[1])))
