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
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from pygeoapi_prefect.exceptions import ConfigurationError, PrefectUnavailableError
from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.prefect_api import PrefectApi, PrefectConnection, configured_connection
from pygeoapi_prefect.runner.forkserver import Forkserver
from pygeoapi_prefect.runner.os_processes import FileLock, start_time
from pygeoapi_prefect.runner.pool_worker import run_worker
from pygeoapi_prefect.runner.prefect_server import LocalPrefectServer
from pygeoapi_prefect.runner.presence import Presence, RunnerStatus
from pygeoapi_prefect.runner.recorder import Recorder
from pygeoapi_prefect.runner.service import RunnerService, install_signal_handlers
from pygeoapi_prefect.runner.supervisor import Handover
from pygeoapi_prefect.settings import ManagerSettings

LOGGER = logging.getLogger(__name__)

_PREFECT_START_SECONDS = 120
_RECORDER_STOP_SECONDS = 5
_WANTED_CHECK_SECONDS = 0.5
_LOCK_SECONDS = 1.0


class PrefectLink:
    """
    Where a runner records, found in the background.

    With no Prefect API in Prefect's settings an embedded runner starts a local server; an external one records nothing.
    """

    def __init__(self, presence: Presence, status: RunnerStatus, *, may_start_server: bool, tell_status: bool) -> None:
        self._presence = presence
        self._status = status
        self._may_start_server = may_start_server
        self._tell_status = tell_status
        self._connection: PrefectConnection | None = None
        self._server: LocalPrefectServer | None = None
        self.is_recording = True

    def connect(self) -> PrefectApi | None:
        """For the recorder; None where nothing is recorded. Raises PrefectUnavailableError to be called again."""
        try:
            if self._connection is None and self._server is None:
                self._connection = configured_connection()
        except ConfigurationError as error:
            self._tell(f"not recorded: {error}")
            raise PrefectUnavailableError(str(error)) from error
        if self._connection is not None:
            self._tell(f"recorded at {self._connection.api_url}", self._connection)
            return PrefectApi(self._connection)
        if not self._may_start_server:
            self.is_recording = False
            self._tell("not recorded: Prefect's settings name no API. Set PREFECT_API_URL.")
            return None
        if self._server is None:
            self._server = LocalPrefectServer(self._presence.prefect)
        if not self._server.is_alive():
            self._tell("not recorded yet: the local Prefect server is starting")
            self._server.start()
        self._server.wait_until_healthy(_PREFECT_START_SECONDS)
        self._tell(f"recorded at {self._server.connection.api_url} (local)", self._server.connection)
        return PrefectApi(self._server.connection)

    def close(self) -> None:
        """End the local server, if there is one."""
        if self._server is not None:
            self._server.stop()

    def _tell(self, text: str, connection: PrefectConnection | None = None) -> None:
        if text == self._status.prefect:
            return
        self._status = replace(
            self._status,
            prefect=text,
            prefect_api_url=connection.api_url if connection else None,
            prefect_ui_url=connection.ui_url if connection else None,
        )
        LOGGER.info("jobs are %s", text, extra={"action": "connect_prefect"})
        if self._tell_status:
            self._presence.write_status(self._status)


def run(settings: ManagerSettings, handover: Handover, *, embedded: bool) -> int:
    """
    Run a runner in this process until it is told to end.

    Returns:
        The exit code: 0, or 3 when another embedded runner of this data folder lives.
    """
    # for every child: Prefect must never start a server of its own per process
    os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
    # before anything starts a thread or takes a lock, which a forked child would share
    forkserver = Forkserver(run_worker)
    presence = Presence(settings.data_dir)
    presence.make()
    lock = presence.runner_lock()
    if embedded and not _take(lock):
        forkserver.close()
        return 3
    store = JobStore(Database(settings.connection, timeout=settings.database_timeout))
    service: RunnerService | None = None
    link: PrefectLink | None = None
    recorder: Recorder | None = None
    service = RunnerService(
        settings,
        handover.manager_def.get("processes") or {},
        store,
        forkserver,
        is_wanted=_web_process_lives(presence.web_lock()) if embedded else None,
        is_recording=lambda: link is not None and link.is_recording,
        on_jobs_change=lambda: recorder.nudge() if recorder is not None else None,
    )
    status = RunnerStatus(service.runner_id, os.getpid(), start_time(os.getpid()), handover.fingerprint)
    link = PrefectLink(presence, status, may_start_server=embedded, tell_status=embedded)
    if embedded:
        presence.write_status(status)
    recorder = Recorder(
        store,
        service.runner_id,
        link.connect,
        last_activity=lambda: service.last_activity,
        backlog=settings.record_backlog,
    )
    install_signal_handlers(service)
    recorder.start()
    LOGGER.info("runner started", extra={"action": "start", "runner_id": service.runner_id})

    def hand_over() -> None:
        """Before another runner takes over, so that two never have the same local Prefect server."""
        recorder.stop(_RECORDER_STOP_SECONDS)
        link.close()
        lock.release()

    handing_over = threading.Thread(target=hand_over, name="hand-over")
    try:
        service.run(on_drain=handing_over.start)
    except EOFError:
        LOGGER.error("forkserver was killed; the runner ends", extra={"action": "run"})
        return 1
    finally:
        if handing_over.ident is None:
            handing_over.start()
        handing_over.join()
    return 0


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
    return run(ManagerSettings.from_manager_def(manager_def), Handover(manager_def, "external"), embedded=False)


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
