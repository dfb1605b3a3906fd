"""The data folder: who lives, and where the runner is."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pygeoapi_prefect.runner.os_processes import FileLock, is_alive


@dataclass(frozen=True)
class RunnerStatus:
    """
    What a runner tells about itself.

    Attributes:
        runner_id: As in the job store.
        fingerprint: Of what it was started with; a web process with another one replaces it.
        prefect: One line about where jobs are recorded, or why not.
    """

    runner_id: str
    pid: int
    pid_started: float
    fingerprint: str
    prefect: str = "not recorded: starting"
    prefect_api_url: str | None = None
    prefect_ui_url: str | None = None


class Presence:
    """
    Locks and files of one installation in its data folder.

    ``web.lock`` is held shared by each web process, ``runner.lock`` by the embedded runner that takes jobs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch = folder / "scratch"
        self.prefect = folder / "prefect"
        self.runner_log = folder / "runner.log"
        self._status = folder / "runner.json"

    def make(self) -> None:
        """Make the folder, for its user alone; one that is there already keeps its permissions."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.scratch.mkdir(mode=0o700, exist_ok=True)

    def web_lock(self) -> FileLock:
        """Held shared by each web process."""
        return FileLock(self.folder / "web.lock")

    def runner_lock(self) -> FileLock:
        """Held by the embedded runner that takes jobs."""
        return FileLock(self.folder / "runner.lock")

    def start_lock(self) -> FileLock:
        """Held by the web process that is starting a runner."""
        return FileLock(self.folder / "start.lock")

    def write_status(self, status: RunnerStatus) -> None:
        """Replace the runner's status, at once or not at all."""
        draft = self._status.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(asdict(status)))
        draft.replace(self._status)

    def read_status(self) -> RunnerStatus | None:
        """The status of the runner that lives; None when none does."""
        try:
            values: Mapping[str, str] = json.loads(self._status.read_text())
            status = RunnerStatus(**values)  # type: ignore[arg-type]
        except (OSError, ValueError, TypeError):
            return None
        return status if is_alive(status.pid, status.pid_started) else None
