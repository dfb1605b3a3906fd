"""Engine, transactions, and the one door where driver errors become :class:`JobStoreUnavailableError`."""

import fcntl
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import stamina
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from pygeoapi_prefect.exceptions import JobStoreUnavailableError
from pygeoapi_prefect.jobs.tables import REVISION, VERSION_TABLE

LOGGER = logging.getLogger(__name__)

_BUSY_SECONDS = 10
_CONNECT_SECONDS = 5
_MIGRATION_LOCK = 0x6F67635F6A6F62  # any number that no other application takes
_SECONDS_BETWEEN_FAILED_WAITS = 2.0
_PING_AFTER_SECONDS = 1.0


class Database:
    """
    Connections to the job store's database.

    Thread-safe. Made without touching the database; must be made anew after a fork. The first transaction applies the
    migrations, under a lock that all processes share.

    Args:
        url: SQLAlchemy URL of SQLite or PostgreSQL.
        timeout: Seconds that the first transaction waits for a database that is not up yet.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._timeout = timeout
        self._engine = self._create_engine()
        if self.is_sqlite:
            # every statement outside BEGIN IMMEDIATE commits by itself, see _begin
            self._reader: Engine = self._engine
            self._writer: Engine = self._engine.execution_options(immediate=True)
        else:
            self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
            self._writer = self._engine
        self._prepared = False
        self._prepare_lock = threading.Lock()
        self._last_failure = -_SECONDS_BETWEEN_FAILED_WAITS

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for single statements that each see the latest commit. Raises JobStoreUnavailableError."""
        self.prepare()
        with self._wrap_errors(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction, committed at the end of the block. Raises JobStoreUnavailableError."""
        self.prepare()
        with self._wrap_errors(), self._writer.begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def prepare(self) -> None:
        """
        Wait for the database, then apply the migrations, once.

        A wait that ended in vain is not repeated for two seconds, so that requests do not pile up behind it.

        Raises:
            JobStoreUnavailableError: The database did not come up in time.
        """
        if self._prepared:
            return
        with self._prepare_lock:
            if self._prepared:
                return
            waited_lately = time.monotonic() - self._last_failure < _SECONDS_BETWEEN_FAILED_WAITS
            try:
                for attempt in stamina.retry_context(
                    on=JobStoreUnavailableError,
                    attempts=1 if waited_lately or not self._timeout else None,
                    timeout=self._timeout or None,
                    wait_initial=0.1,
                    wait_max=2.0,
                ):
                    with attempt, self._wrap_errors():
                        self._migrate_if_needed()
            except JobStoreUnavailableError:
                self._last_failure = time.monotonic()
                raise
            self._prepared = True

    def migrate(self) -> None:
        """Apply the migrations now. Raises JobStoreUnavailableError."""
        with self._wrap_errors():
            self._migrate()
        self._prepared = True

    def revision(self) -> str | None:
        """The alembic revision of the database; None for one without our tables. Raises JobStoreUnavailableError."""
        with self._wrap_errors(), self._reader.connect() as connection:
            if not self._engine.dialect.has_table(connection, VERSION_TABLE):
                return None
            revision: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 our own constant
            return revision

    def _migrate_if_needed(self) -> None:
        # alembic takes a second to import: a process that finds the schema as it should be does without
        if self.revision() != REVISION:
            self._migrate()

    def _migrate(self) -> None:
        from pygeoapi_prefect.jobs import migrations

        with self._migration_lock(), self._writer.connect() as connection:
            migrations.upgrade(connection)
        LOGGER.info("job store migrated", extra={"action": "migrate", "revision": REVISION})

    @contextmanager
    def _migration_lock(self) -> Iterator[None]:
        if self.is_sqlite:
            assert self.url.database is not None
            with Path(f"{self.url.database}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        else:
            with self._reader.connect() as connection:
                connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
                try:
                    yield
                finally:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})

    @contextmanager
    def _wrap_errors(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, PoolTimeoutError) as error:
            raise self._unavailable(error) from error
        except ProgrammingError as error:
            # a table that was there is gone: the database was made anew, so migrate at the next use
            if getattr(error.orig, "pgcode", None) == "42P01":
                raise self._unavailable(error) from error
            raise
        except DBAPIError as error:
            if error.connection_invalidated:
                raise self._unavailable(error) from error
            raise
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> JobStoreUnavailableError:
        self._prepared = False
        reason = getattr(error, "orig", None) or error
        return JobStoreUnavailableError(
            f"The job store {self.url.render_as_string(hide_password=True)} cannot be used: {reason}. "
            "Check server.manager.connection and the database; the next request tries again."
        )

    def _create_engine(self) -> Engine:
        if not self.is_sqlite:
            engine = create_engine(
                self.url,
                hide_parameters=True,  # inputs are nobody's but their job's
                pool_size=5,
                max_overflow=25,
                pool_timeout=_CONNECT_SECONDS,
                connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": "pygeoapi-prefect"},
            )
            event.listen(engine, "checkin", _remember_use)
            event.listen(engine, "checkout", self._ping_if_unused)
            return engine
        engine = create_engine(
            self.url,
            pool_size=5,
            max_overflow=25,
            pool_timeout=_BUSY_SECONDS,
            hide_parameters=True,
            connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        )
        event.listen(engine, "do_connect", _make_folder)
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "checkout", self._check_file)
        event.listen(engine, "begin", _begin)
        return engine

    def _ping_if_unused(self, connection: Any, record: Any, _proxy: Any) -> None:
        # SQLAlchemy's own pre-ping asks before every use: a round trip more for each query of a busy server
        if time.monotonic() - record.info.get("last_use", 0.0) < _PING_AFTER_SECONDS:
            return
        try:
            self._engine.dialect.do_ping(connection)
        except psycopg2.Error as error:
            raise InvalidatePoolError() from error

    def _check_file(self, _connection: Any, record: Any, _proxy: Any) -> None:
        # SQLite goes on writing to a file that was removed or replaced, where nobody else sees it
        file = _file_id(self.url)
        if record.info.setdefault("file", file) != file:
            raise InvalidatePoolError()


def _remember_use(_connection: Any, record: Any) -> None:
    record.info["last_use"] = time.monotonic()


def _file_id(url: URL) -> tuple[int, int] | None:
    assert url.database is not None
    try:
        status = Path(url.database).stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _make_folder(_dialect: Any, _record: Any, cargs: list[Any], _cparams: dict[str, Any]) -> None:
    Path(cargs[0]).parent.mkdir(parents=True, exist_ok=True)


def _configure_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # sqlite3 would begin transactions by itself, too late and never for SELECT
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    # a transaction that reads first and writes later fails at once when another one wrote in between; so lock first
    if connection.get_execution_options().get("immediate"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
