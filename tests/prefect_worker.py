"""Real Prefect workers, as tests start them."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TESTS = Path(__file__).parent


class PrefectWorker:
    """
    ``prefect worker start --type process``, in a session of its own.

    Args:
        api_url: Of the Prefect server.
        pool: Work pool, which exists.
        folder: For its log and its home.
        environment: Further variables.
    """

    def __init__(self, api_url: str, pool: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "worker.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        self._environment = {
            **clean,
            "PREFECT_API_URL": api_url,
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_HEARTBEAT_SECONDS": "3",
            "DO_NOT_TRACK": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])),
            **(environment or {}),
        }
        self._command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", pool]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "PrefectWorker":
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def stop(self, sig: int = signal.SIGTERM) -> None:
        """End it; SIGKILL takes the flow runs along."""
        if self._process is None:
            return
        if sig == signal.SIGKILL:
            os.killpg(self._process.pid, sig)
        else:
            self._process.send_signal(sig)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(5)
        self._process = None
