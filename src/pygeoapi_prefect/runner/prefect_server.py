"""
The Prefect server that an embedded runner starts as its child, where no Prefect API is configured.

It listens on the loopback interface only, keeps its data in one folder and has one configuration: nothing of the
user's environment, profile or ``prefect.toml`` reaches it.
"""

import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Self

from pygeoapi_prefect.exceptions import PrefectUnavailableError
from pygeoapi_prefect.prefect_api import PrefectApi, PrefectConnection

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"

LOG_LIMIT_BYTES = 5 * 1024 * 1024
"""A larger log is emptied when the server starts."""

LAUNCHER = Path(__file__).with_name("prefect_server_main.py")
"""Run by its path: as a module it would import the packages above it, and with them pygeoapi (50 MiB)."""

DATABASE_URL = "sqlite+aiosqlite:///file:prefect.db?uri=true&shared-connection=:memory:"
"""
The file ``prefect.db`` in the server's working directory, opened with one connection for all requests.

Prefect gives each request a connection of its own, and they starve each other for seconds as soon as two clients
write (PrefectHQ/prefect#23051), or it answers 503, here to most calls of four writers. It shares one only where the
URL contains ``:memory:``. So this one does, in a query parameter that SQLite does not know and therefore ignores
(https://sqlite.org/uri.html); the file is an ordinary one.
"""

STOP_SECONDS = 5.0
"""For an orderly end, before the server is killed. Measured: 0.2-0.5 s."""

ORPHAN_SECONDS = 2.0
"""How long the server of a killed predecessor may still hold the port."""

SETTINGS = {
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    # Nothing is sent to Prefect's makers.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # -19 MiB private after the first start, -3 after later ones, and no log of every loop of every service.
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}
"""
The server's environment, beside what depends on its folder.

All background services stay on: without them the server needs 3 MiB less of its 170, because it imports their code in
any case, and deployments and workers need the scheduler, late runs, the foreman and the triggers. Limiting or trimming
malloc's arenas made no difference. ``PYTHONOPTIMIZE=2`` saves 14 MiB and must not be set: Prefect's check of
credentials has an ``assert`` in it.
"""


class LocalPrefectServer:
    """
    One Prefect server, the child of this process.

    It ends within two seconds of this process, however this process ends. It may be started again after it ended;
    its data and its port stay. One folder serves one server at a time, which the caller sees to. Not safe to share
    between threads.

    Attributes:
        folder: Holds ``prefect.db``, ``port``, ``server.log`` and what Prefect itself keeps in its home.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: Created with its parents when the server starts, for its owner alone.
        """
        self.folder = folder.resolve()
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def connection(self) -> PrefectConnection:
        """
        How to reach the server, which need not be healthy yet.

        May change with each :meth:`start`: when somebody else has taken the port meanwhile.

        Raises:
            PrefectUnavailableError: It was never started.
        """
        if self._port is None:
            raise PrefectUnavailableError("The local Prefect server has not been started.")
        ui_url = f"http://{HOST}:{self._port}"
        return PrefectConnection(api_url=f"{ui_url}/api", ui_url=ui_url, timeout_seconds=30.0)

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it does not run."""
        return self._process.pid if self._process is not None and self.is_alive() else None

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it); None while it runs or was never started."""
        return self._process.poll() if self._process is not None else None

    def is_alive(self) -> bool:
        """Whether the process runs. It may not answer yet: see :meth:`wait_until_healthy`."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """
        Start the process and return at once; does nothing while it runs.

        Raises:
            OSError: The folder cannot be written.
        """
        if self.is_alive():
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._port = self._choose_port()
        with self._open_log() as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own module, no shell
                [sys.executable, "-P", str(LAUNCHER), str(self._port), str(os.getpid())],
                cwd=self.folder,  # prefect.toml, pyproject.toml and .env of the runner's directory are not for it
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the runner, which still records while it stops
            )
        _log.info(
            "Local Prefect server started",
            extra={"server_pid": self._process.pid, "port": self._port, "folder": str(self.folder)},
        )

    def wait_until_healthy(self, timeout_seconds: float) -> None:
        """
        Wait until the server answers.

        Args:
            timeout_seconds: Measured on two cores: 4 s, and 14 s for the first start, which makes the database.

        Raises:
            PrefectUnavailableError: It ended, or did not answer in time; names its log.
        """
        deadline = time.monotonic() + timeout_seconds
        with PrefectApi(self.connection) as api:
            while True:
                healthy = api.is_healthy(timeout_seconds=2.0)
                if not self.is_alive():  # asked second: it may be somebody else who answers at this port
                    raise PrefectUnavailableError(
                        f"The local Prefect server ended with code {self.poll()}. Read {self.folder / 'server.log'}."
                    )
                if healthy:
                    return
                if time.monotonic() >= deadline:
                    raise PrefectUnavailableError(
                        f"The local Prefect server did not answer within {timeout_seconds:g} s. Read "
                        f"{self.folder / 'server.log'}."
                    )
                time.sleep(0.1)

    def stop(self) -> None:
        """End the server, within :data:`STOP_SECONDS` by force; does nothing when it does not run."""
        if self._process is None or not self.is_alive():
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _log.warning("Local Prefect server killed", extra={"server_pid": self._process.pid})
            self._process.kill()
            self._process.wait()
        _log.info("Local Prefect server stopped", extra={"server_pid": self._process.pid})

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        return (
            inherited
            | SETTINGS
            | {
                "PREFECT_HOME": str(self.folder),
                "PREFECT_PROFILES_PATH": str(self.folder / "profiles.toml"),
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": DATABASE_URL,
                # Where the UI, in somebody's browser, finds the API: the host that the page came from.
                "PREFECT_UI_API_URL": "/api",
                # Prefect copies the UI's files before it serves them, by default into site-packages.
                "PREFECT_UI_STATIC_DIRECTORY": str(self.folder / "ui"),
            }
        )

    def _choose_port(self) -> int:
        """The port of last time, so that bookmarks and links stay good, unless somebody else has it now."""
        file = self.folder / "port"
        try:
            port = int(file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            port = 0
        deadline = time.monotonic() + ORPHAN_SECONDS
        while (chosen := _free_port(port)) is None:
            if time.monotonic() >= deadline:
                port = 0
            time.sleep(0.1)
        file.write_text(f"{chosen}\n", encoding="ascii")
        return chosen

    def _open_log(self) -> IO[bytes]:
        log = (self.folder / "server.log").open("ab")
        if log.tell() > LOG_LIMIT_BYTES:
            log.truncate(0)
        return log


def _free_port(port: int) -> int | None:
    """The *port* if it is free now, any for 0, else None."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn does: past TIME_WAIT
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return None
        return int(probe.getsockname()[1])
