"""
A runner as a process: ``python -m pygeoapi_prefect.runner``.

An embedded one reads its :class:`~pygeoapi_prefect.runner.supervisor.Handover` as YAML from standard input: it may
hold passwords, so it is never a file or an argument. ``pygeoapi plugins prefect runner`` calls :func:`run_external`.
"""

import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.sealing import KEY_VARIABLE, SecretKeys
from pygeoapi_prefect.process.processor import flow_processes
from pygeoapi_prefect.references.guard import AddressPolicy
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.results.signed_links import LinkSigner
from pygeoapi_prefect.runner.callbacks import Callbacks
from pygeoapi_prefect.runner.flow_run_watch import FlowRunWatch
from pygeoapi_prefect.runner.forkserver import Forkserver
from pygeoapi_prefect.runner.os_processes import FileLock, in_child, start_time
from pygeoapi_prefect.runner.pool_worker import run_worker
from pygeoapi_prefect.runner.prefect_link import PrefectLink
from pygeoapi_prefect.runner.presence import Presence, RunnerStatus
from pygeoapi_prefect.runner.recorder import Recorder
from pygeoapi_prefect.runner.service import RunnerService, install_signal_handlers
from pygeoapi_prefect.runner.supervisor import Handover
from pygeoapi_prefect.settings import ManagerSettings

if TYPE_CHECKING:
    from pygeoapi_prefect.runner.metrics import MetricsServer

LOGGER = logging.getLogger(__name__)

_RECORDER_STOP_SECONDS = 5
_CALLBACKS_STOP_SECONDS = 5
_WANTED_CHECK_SECONDS = 0.5
_LOCK_SECONDS = 1.0


def run(settings: ManagerSettings, handover: Handover, *, embedded: bool) -> int:
    """
    Run a runner in this process until it is told to end.

    Returns:
        The exit code: 0, or 3 when another embedded runner of this data folder lives.
    """
    # for every child: Prefect must never start a server of its own per process
    os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
    keys = SecretKeys(settings)
    # it is nothing for jobs, nor for the tools that they call
    os.environ.pop(KEY_VARIABLE, None)
    deployed = {process_id for process_id, process in settings.processes.items() if process.deployment is not None}
    # the pool runs flows, or reads what flow runs have persisted
    uses_prefect = bool(set(handover.flow_processes) - deployed) or any(
        process.is_foreign for process in settings.processes.values()
    )
    # before anything starts a thread or takes a lock, which a forked child would share
    forkserver = Forkserver(run_worker, preload=import_prefect if uses_prefect else None)
    presence = Presence(settings.data_dir)
    presence.make()
    lock = presence.runner_lock()
    if embedded and not _take(lock):
        forkserver.close()
        return 3
    store = JobStore(Database(settings.connection, timeout=settings.database_timeout))
    status = RunnerStatus(str(uuid.uuid4()), os.getpid(), start_time(os.getpid()), handover.fingerprint)
    link = PrefectLink(presence, status, may_start_server=embedded, tell_status=embedded)
    service = RunnerService(
        status.runner_id,
        settings,
        handover.manager_def.get("processes") or {},
        store,
        forkserver,
        prefect=link,
        keys=keys,
        flow_processes=handover.flow_processes,
        is_wanted=_web_process_lives(presence.web_lock()) if embedded else None,
    )
    if embedded:
        presence.write_status(status)
    recorder = Recorder(
        store,
        service.runner_id,
        link.connect,
        last_activity=lambda: service.last_activity,
        backlog=settings.record_backlog,
        run_by_prefect=service.needs_prefect,
        deployed=service.deployed,
    )
    service.on_jobs_change = recorder.nudge
    callbacks = Callbacks(
        store,
        ResultStore(settings.output_dir),
        policy=_address_policy(settings, handover.manager_def.get("processes") or {}),
        attempts=settings.callback_attempts,
        timeout=settings.callback_timeout,
        log=service.log,
        signer=LinkSigner.of(settings),
    )
    service.on_callbacks = callbacks.nudge
    metrics = _serve_metrics(settings, handover, service, link)
    install_signal_handlers(service)
    callbacks.start()
    recorder.start()
    link.watch(
        FlowRunWatch(
            link.connect,
            watched=lambda: store.live_flow_runs(service.runner_id),
            tell=service.flow_run_changed,
            in_progress=lambda: service.runs_of_prefect,
            tell_progress=service.flow_run_progressed,
            on_change=service.wake,
            every_state=bool(service.deployed),
        )
    )
    LOGGER.info("runner started", extra={"action": "start", "runner_id": service.runner_id})

    def hand_over() -> None:
        """Before another runner takes over, so that two never have the same local Prefect server or address."""
        if metrics is not None:
            metrics.stop()
        recorder.stop(_RECORDER_STOP_SECONDS)
        link.close()
        lock.release()

    handing_over = threading.Thread(target=hand_over, name="hand-over")

    def drain() -> None:
        # flows that run in the pool need the local server to their end; the next runner waits for it
        if not (service.runs_in_engine and link.local_api_url):
            handing_over.start()

    try:
        service.run(on_drain=drain)
    except EOFError:
        LOGGER.error("forkserver was killed; the runner ends", extra={"action": "run"})
        return 1
    finally:
        callbacks.stop(_CALLBACKS_STOP_SECONDS)
        if handing_over.ident is None:
            handing_over.start()
        handing_over.join()
    return 0


def _serve_metrics(
    settings: ManagerSettings, handover: Handover, service: RunnerService, link: PrefectLink
) -> "MetricsServer | None":
    if settings.metrics is None:
        return None
    # the library is for those who want metrics
    from pygeoapi_prefect.runner.metrics import serve_metrics

    # connections of its own, and no patience: the runner's loop never waits behind a scrape
    store = JobStore(Database(settings.connection, timeout=0))
    service.observer, server = serve_metrics(
        settings.metrics,
        list(handover.manager_def.get("processes") or {}),
        runner_id=service.runner_id,
        use=service.use,
        prefect_is_reachable=lambda: link.is_reachable,
        load=store.load,
    )
    return server


def _address_policy(
    settings: ManagerSettings, resources: Mapping[str, Mapping[str, Any]]
) -> Callable[[str], AddressPolicy]:
    """What clients of each process may have called; pygeoapi's own key lets its processes reach internal addresses."""

    def policy(process_id: str) -> AddressPolicy:
        processor = resources.get(process_id, {}).get("processor") or {}
        return AddressPolicy(bool(processor.get("allow_internal_requests")), settings.allowed_hosts)

    return policy


def _take(lock: FileLock) -> bool:
    """Web processes probe the lock for moments; whoever holds it longer is a runner."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while not lock.acquire():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


def _web_process_lives(lock: FileLock) -> Any:
    """Whether any web process holds *lock*, asked at most twice a second."""
    asked_at, answer = 0.0, True

    def lives() -> bool:
        nonlocal asked_at, answer
        if time.monotonic() - asked_at >= _WANTED_CHECK_SECONDS:
            asked_at, answer = time.monotonic(), not lock.is_free()
        return answer

    return lives


def run_external(manager_def: Mapping[str, Any]) -> int:
    """Run a runner that is started by hand or by a service manager. Returns the exit code."""
    settings = ManagerSettings.from_manager_def(manager_def)
    found = in_child(lambda: flow_processes(manager_def.get("processes") or {}))
    handover = Handover(manager_def, "external", flow_processes=found or [])
    return run(settings, handover, embedded=False)


def import_prefect() -> None:
    """What the first flow run would import: 2 s, shared by all pool workers."""
    from prefect import flow_engine, main, task_engine  # noqa: F401

    from pygeoapi_prefect.process import engine  # noqa: F401


def configure_logging(level: int = logging.INFO) -> None:
    """Log to standard error, facts included."""
    handler = logging.StreamHandler()
    handler.setFormatter(_FactsFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for talkative in ("alembic", "httpx"):
        logging.getLogger(talkative).setLevel(logging.WARNING)


class _FactsFormatter(logging.Formatter):
    """Puts the facts of ``extra`` behind the stable message."""

    _KNOWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}

    def format(self, record: logging.LogRecord) -> str:
        facts = {key: value for key, value in record.__dict__.items() if key not in self._KNOWN}
        text = super().format(record)
        return f"{text} {facts}" if facts else text


def main() -> int:
    """Take the handover from standard input and run as the embedded runner."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    handover = Handover(**yaml.safe_load(sys.stdin.buffer.read()))
    sys.path.extend(path for path in handover.sys_path if path not in sys.path)
    configure_logging()
    return run(ManagerSettings.from_manager_def(handover.manager_def), handover, embedded=True)


if __name__ == "__main__":
    sys.exit(main())
