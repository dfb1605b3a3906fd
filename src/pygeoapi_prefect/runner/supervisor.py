"""In web processes: sees to it that an embedded runner exists, from the first request on."""

import hashlib
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from pygeoapi.plugin import PLUGINS

from pygeoapi_prefect.runner.presence import Presence
from pygeoapi_prefect.settings import ManagerSettings

LOGGER = logging.getLogger(__name__)

_WATCH_SECONDS = 0.5
_START_SECONDS = 30.0
_MAX_RETRY_SECONDS = 30.0
_LOG_LIMIT_BYTES = 5 * 1024 * 1024


@dataclass(frozen=True)
class Handover:
    """
    What a web process gives the runner that it starts.

    Attributes:
        manager_def: ``server.manager`` with ``processes``, as pygeoapi gave it to the manager.
        fingerprint: Tells this configuration and code from others.
        flow_processes: Ids of the processes whose work is a flow, without which the runner does not load Prefect.
        sys_path: Of the web process: processors are importable there.
    """

    manager_def: Mapping[str, Any]
    fingerprint: str
    flow_processes: Collection[str] = ()
    sys_path: list[str] = field(default_factory=list)

    def to_yaml(self) -> bytes:
        return yaml.safe_dump(_plain(asdict(self))).encode()


def _plain(value: Any) -> Any:
    """Dictionaries and lists of any make become YAML's own."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


class Supervisor:
    """
    A thread that holds the lock "a web process lives" and starts a runner whenever none lives.

    Never started by a mere load of the manager. A runner with another fingerprint is asked to drain and replaced, but
    only by a web process that was loaded after it: during a rolling reload the older ones keep still.

    Args:
        settings: Of the manager.
        manager_def: As pygeoapi gave it; goes to the runner.
        flow_processes: Ids of the processes whose work is a flow.
    """

    def __init__(
        self, settings: ManagerSettings, manager_def: Mapping[str, Any], flow_processes: Collection[str]
    ) -> None:
        self._flow_processes = flow_processes
        self._presence = Presence(settings.data_dir)
        self._manager_def = manager_def
        self._loaded = time.time()
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._retry_seconds = 0.0

    def ensure(self) -> None:
        """Start the thread in this process; costs nothing when that is done. Survives a fork of the web process."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            threading.Thread(target=self._run, name="runner-supervisor", daemon=True).start()

    def _run(self) -> None:
        try:
            self._presence.make()
            web_lock = self._presence.web_lock()
            web_lock.acquire(shared=True, wait=True)
        except OSError:
            LOGGER.exception("data folder cannot be used; no runner is started", extra={"action": "supervise"})
            self._pid = None
            return
        fingerprint = fingerprint_of(self._manager_def)
        runner_lock = self._presence.runner_lock()
        while True:
            try:
                if runner_lock.is_free():
                    self._start_runner(fingerprint)
                else:
                    self._retry_seconds = 0.0
                    self._replace_other(fingerprint)
            except OSError:
                LOGGER.exception("runner cannot be started; trying again", extra={"action": "supervise"})
            time.sleep(_WATCH_SECONDS + self._retry_seconds)

    def _replace_other(self, fingerprint: str) -> None:
        status = self._presence.read_status()
        if status is None or status.fingerprint == fingerprint or status.pid_started >= self._loaded:
            return
        LOGGER.info("runner of another configuration drains", extra={"action": "replace_runner", "pid": status.pid})
        with suppress(ProcessLookupError):
            os.kill(status.pid, signal.SIGTERM)

    def _start_runner(self, fingerprint: str) -> None:
        start_lock = self._presence.start_lock()
        if not start_lock.acquire():
            return
        try:
            handover = Handover(
                self._manager_def, fingerprint, list(self._flow_processes), [path for path in sys.path if path]
            )
            log_path = self._presence.runner_log
            with log_path.open("ab") as log:
                if log.tell() > _LOG_LIMIT_BYTES:
                    log.truncate(0)
                runner = subprocess.Popen(
                    [sys.executable, "-m", "pygeoapi_prefect.runner"],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            assert runner.stdin is not None
            runner.stdin.write(handover.to_yaml())
            runner.stdin.close()
            deadline = time.monotonic() + _START_SECONDS
            while time.monotonic() < deadline and runner.poll() is None:
                if not self._presence.runner_lock().is_free():
                    LOGGER.info("runner started", extra={"action": "start_runner", "pid": runner.pid})
                    threading.Thread(target=runner.wait, name="runner-reaper", daemon=True).start()
                    return
                time.sleep(0.02)
            self._retry_seconds = min(self._retry_seconds * 2 or 0.5, _MAX_RETRY_SECONDS)
            LOGGER.error(
                "runner did not start; its log tells why",
                extra={"action": "start_runner", "exit_code": runner.poll(), "log": str(log_path)},
            )
        finally:
            start_lock.release()


def fingerprint_of(manager_def: Mapping[str, Any]) -> str:
    """Tells a configuration, the package's version and the processors' code from others."""
    parts = [json.dumps(manager_def, sort_keys=True, default=str), version("pygeoapi-prefect")]
    for module in sorted(_modules(manager_def.get("processes") or {})):
        with suppress(ImportError, ValueError, OSError):
            spec = importlib.util.find_spec(module)
            if spec is not None and spec.origin:
                # with the modules beside it, which it may import
                modules = sorted(Path(spec.origin).parent.glob("*.py"))
                parts += [f"{path} {path.stat().st_mtime_ns}" for path in modules]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _modules(resources: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Of the processors, and of the flows and handlers that they name."""
    modules = set()
    for resource in resources.values():
        processor = resource["processor"]
        # a deployment that somebody else made needs no name
        name = processor.get("name") or ""
        modules.add(PLUGINS["process"].get(name, name).rpartition(".")[0])
        prefect = processor.get("prefect") or {}
        modules.add(str(prefect.get("flow") or "").partition(":")[0])
        for handler in prefect.get("handlers") or ():
            dotted = handler.get("name") if isinstance(handler, Mapping) else handler
            modules.add(str(dotted).rpartition(".")[0])
    return modules - {""}
