"""Starts real servers for tests and speaks HTTP to them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import yaml

from pygeoapi_prefect.runner.os_processes import is_alive
from pygeoapi_prefect.runner.presence import Presence, RunnerStatus

TESTS = Path(__file__).parent
NOWHERE = "http://127.0.0.1:9/api"
"""A Prefect API that is down."""

PROCESSES = {
    "hello-world": "HelloWorld",
    "echo": "Echo",
    "shapely-functions": "ShapelyFunctions",
    "another-id": "HelloWorld",
    "old-signature": "processors.OldSignature",
    "sleep": "processors.Sleep",
    "sync-only-sleep": "processors.SyncOnlySleep",
    "async-only": "processors.AsyncOnly",
    "family": "processors.Family",
    "stubborn": "processors.Stubborn",
    "polite": "processors.Polite",
    "fail": "processors.Fail",
    "bytes": "processors.Bytes",
    "several": "processors.Several",
    "talkative": "processors.Talkative",
    "secretive": "processors.Secretive",
    "environment": "processors.Environment",
    "resourceful": "processors.Resourceful",
    "broken-import": "processors_that_are_not_there.Processor",
    "broken-init": "processors.Unimportable",
}


PATIENCE = 3
"""How much slower than the machine that the times of tests were chosen on another one, with much to do, may be."""


def eventually(condition: Callable[[], Any], *, within: float, what: str = "condition") -> Any:
    """The first true value of *condition*; fails when there is none *within* so many seconds of a quiet machine."""
    within *= PATIENCE
    deadline = time.monotonic() + within
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {within} s"
        time.sleep(0.02)


def new_database(postgresql: Any) -> str:
    """An empty database of the session's PostgreSQL, as a URL."""
    name = f"served_{uuid4().hex}"
    postgresql.execute(f"CREATE DATABASE {name}")
    return str(postgresql.url(name).render_as_string(hide_password=False))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def flow(name: str, **keys: Any) -> dict[str, Any]:
    """The ``processor`` of the flow *name* in :mod:`flows`; *keys* of ``processor.prefect``."""
    return {"name": "pygeoapi_prefect.FlowProcessor", "prefect": {"flow": f"flows:{name}", **keys}}


def configuration(
    folder: Path,
    port: int,
    manager: dict[str, Any],
    prefect: dict[str, dict[str, Any]],
    processors: dict[str, dict[str, Any]] | None,
) -> dict[str, Any]:
    """A pygeoapi configuration with all test processes; *prefect*: ``processor.prefect`` of some."""
    if processors is None:
        processors = {
            name: {"name": dotted} | ({"prefect": prefect[name]} if name in prefect else {})
            for name, dotted in PROCESSES.items()
        }
    resources = {name: {"type": "process", "processor": processor} for name, processor in processors.items()}
    keys = {
        "name": "pygeoapi_prefect.PrefectManager",
        "connection": str(folder / "jobs.db"),
        "output_dir": str(folder / "results"),
        "data_dir": str(folder / "data"),
        "shutdown_grace": 2,
        **manager,
    }
    return {
        "server": {
            "bind": {"host": "127.0.0.1", "port": port},
            "url": f"http://127.0.0.1:{port}",
            "mimetype": "application/json; charset=UTF-8",
            "encoding": "utf-8",
            "languages": ["en-US"],
            "limits": {"default_items": 100, "max_items": 1000},
            "map": {"url": "https://example.org/{z}/{x}/{y}.png", "attribution": "none"},
            "manager": {key: value for key, value in keys.items() if value is not None},
        },
        "logging": {"level": "WARNING"},
        "metadata": {
            "identification": {
                "title": "Test",
                "description": "Test",
                "keywords": ["test"],
                "keywords_type": "theme",
                "terms_of_service": "https://example.org",
                "url": "https://example.org",
            },
            "license": {"name": "none", "url": "https://example.org"},
            "provider": {"name": "Test", "url": "https://example.org"},
            "contact": {"name": "Test", "email": "test@example.org"},
        },
        "resources": resources,
    }


class Server:
    """
    A pygeoapi server with our manager, and what belongs to it.

    Args:
        folder: For everything that it writes.
        front: ``flask``, ``starlette``, ``django`` (stock ``pygeoapi serve``), ``gunicorn`` or ``preload``.
        manager: Further keys of ``server.manager``; None leaves one out.
        prefect: ``processor.prefect`` of some processes.
        processors: The ``processor`` of each process; None: all of :data:`PROCESSES`.
        environment: Of the server; Prefect is down unless it says otherwise.
        cwd: Working directory of the web process; None: that of the tests.
        cors: Whether pages of other sites may send requests.
        describes: Whether it has the OpenAPI document that pygeoapi generates, which takes seconds, or an empty one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        front: str = "gunicorn",
        manager: dict[str, Any] | None = None,
        prefect: dict[str, dict[str, Any]] | None = None,
        processors: dict[str, dict[str, Any]] | None = None,
        environment: dict[str, str] | None = None,
        cwd: Path | None = None,
        cors: bool = False,
        describes: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.front = front
        self.cwd = cwd
        self.cors = cors
        self.describes = describes
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config_path = folder / "config.yml"
        self.openapi_path = folder / "openapi.yml"
        self.processors = processors
        self.write_configuration(manager or {}, prefect or {})
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PYGEOAPI"))},
            "PYGEOAPI_CONFIG": str(self.config_path),
            "PYGEOAPI_OPENAPI": str(self.openapi_path),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])),
            "PREFECT_API_URL": NOWHERE,
            "PREFECT_HOME": str(folder / "prefect-home"),
            "TEST_REMOVED": str(folder / "removed"),
            **(environment or {}),
        }
        self.presence = Presence(folder / "data")
        self.client = httpx.Client(base_url=self.url, timeout=40, trust_env=False)
        self.web: subprocess.Popen[bytes] | None = None

    def write_configuration(self, manager: dict[str, Any], prefect: dict[str, dict[str, Any]]) -> None:
        config = configuration(self.folder, self.port, manager, prefect, self.processors)
        config["server"]["cors"] = self.cors
        self.config_path.write_text(yaml.safe_dump(config))

    # ------------------------------------------------------------ life

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``pygeoapi`` with the server's environment."""
        return subprocess.run(
            [sys.executable, "-c", "from pygeoapi import cli; cli()", *arguments],
            env=self.environment,
            cwd=self.cwd,
            capture_output=True,
            text=True,
            check=check,
            timeout=120,
        )

    def start(self, *, wait: bool = True) -> "Server":
        if not self.describes:
            self.openapi_path.write_text("{openapi: 3.0.3, info: {title: Test, version: '1'}, paths: {}}")
        elif not self.openapi_path.exists():
            self.cli("openapi", "generate", str(self.config_path), "--output-file", str(self.openapi_path))
        bind = ["--bind", f"127.0.0.1:{self.port}", "--workers", "2", "--threads", "8"]
        pygeoapi = ["-c", "from pygeoapi import cli; cli()", "serve"]
        command = {
            "flask": [*pygeoapi, "--flask"],
            "starlette": [*pygeoapi, "--starlette"],
            "django": [*pygeoapi, "--django"],
            "gunicorn": ["-m", "gunicorn", *bind, "pygeoapi.flask_app:APP"],
            "preload": ["-m", "gunicorn", "--preload", *bind, "pygeoapi.flask_app:APP"],
        }[self.front]
        with (self.folder / "web.log").open("ab") as log:
            self.web = subprocess.Popen(
                [sys.executable, *command],
                env=self.environment,
                cwd=self.cwd,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            eventually(self._answers, within=30, what="an answer of the server")
        return self

    def _answers(self) -> bool:
        assert self.web is not None
        assert self.web.poll() is None, (self.folder / "web.log").read_text()[-3000:]
        try:
            return self.client.get("/", params={"f": "json"}).status_code == 200
        except httpx.TransportError:
            return False

    def stop_web(self, sig: int = signal.SIGTERM) -> None:
        if self.web is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.web.pid, sig)
            try:
                self.web.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.web.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.web.pid, signal.SIGKILL)
            self.web = None

    def stop(self) -> None:
        """End everything by its process id."""
        self.stop_web()
        self.client.close()
        status = self.presence.read_status()
        if status is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(status.pid, signal.SIGTERM)
                time.sleep(0.3)
                os.kill(status.pid, signal.SIGINT)
            try:
                eventually(lambda: not is_alive(status.pid, status.pid_started), within=15)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(status.pid, signal.SIGKILL)

    def runner(self) -> RunnerStatus:
        """The living runner."""
        return eventually(self.presence.read_status, within=30, what="a living runner")

    def runner_log(self) -> str:
        return self.presence.runner_log.read_text()

    # ------------------------------------------------------------ HTTP

    def execute(self, process_id: str, inputs: dict[str, Any] | None = None, **request: Any) -> httpx.Response:
        return self.client.post(f"/processes/{process_id}/execution", json={"inputs": inputs or {}, **request})

    def submit(self, process_id: str, inputs: dict[str, Any] | None = None, **request: Any) -> str:
        """Execute asynchronously; the job's id."""
        response = self.client.post(
            f"/processes/{process_id}/execution",
            json={"inputs": inputs or {}, **request},
            headers={"Prefer": "respond-async"},
        )
        assert response.status_code == 201, response.text
        return str(response.json()["jobID"])

    def job(self, job_id: str) -> dict[str, Any]:
        response = self.client.get(f"/jobs/{job_id}", params={"f": "json"})
        assert response.status_code == 200, response.text
        return dict(response.json())

    def wait_for(self, job_id: str, *statuses: str, within: float = 20) -> dict[str, Any]:
        wanted = statuses or ("successful", "failed", "dismissed")

        def reached() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["status"] in wanted else None

        return dict(eventually(reached, within=within, what=f"status {wanted} of {job_id}"))

    def results(self, job_id: str) -> httpx.Response:
        return self.client.get(f"/jobs/{job_id}/results")


@contextmanager
def running(server: Server) -> Iterator[Server]:
    try:
        yield server.start()
    finally:
        server.stop()


def pids_in(path: Path, *, within: float = 20) -> list[int]:
    """The process ids that a job wrote."""

    def read() -> list[int]:
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    return list(eventually(read, within=within, what=f"process ids in {path.name}"))


def sleepers(server: Server) -> set[int]:
    """Processes that :class:`processors.Family` left in the world, of a server's jobs."""
    found = set()
    for process in psutil.process_iter(["pid", "cmdline"]):
        if any("time.sleep(600)" in part for part in process.info["cmdline"] or []):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get("TEST_REMOVED") == server.environment["TEST_REMOVED"]:
                    found.add(process.info["pid"])
    return found


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The response is a problem document (RFC 9457) of that status; returns it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = json.loads(response.text)
    assert document["status"] == status
    assert {"type", "title", "detail"} <= set(document)
    assert "Traceback" not in response.text
    return dict(document)
