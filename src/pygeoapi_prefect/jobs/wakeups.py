"""Tells a process at once that jobs have changed, without slow polls."""

import logging
import os
import select
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2
from sqlalchemy import URL

from pygeoapi_prefect.jobs.queries import CHANNEL

LOGGER = logging.getLogger(__name__)

# SQLite: PRAGMA data_version costs 2 µs, a look with its thread switch 20 µs: 2 % of a core every 1 ms, 0.2 % at rest
_LIVELY_SECONDS = 0.001
_RESTING_SECONDS = 0.01
_LIVELY_FOR = 1.0
# PostgreSQL: the safety net under LISTEN
_SAFETY_SECONDS = 5.0
_RECONNECT_SECONDS = 1.0


class Wakeups:
    """
    One watcher thread for all waiters of a process.

    A wake-up says that *some* jobs may have changed; waiters read the state again and may find nothing new. No change
    is missed: *seen* is taken before the state is read, and :meth:`wait` returns at once when anything changed since.

    Started by the first use, in the process that uses it (never across a fork). The thread is a daemon.

    Args:
        url: The job store.
        change: On PostgreSQL only notifications of this word wake; None: all. SQLite does not tell what changed.
        on_change: Called from the watcher thread at every change.
    """

    def __init__(self, url: URL, *, change: str | None = None, on_change: Callable[[], None] | None = None) -> None:
        self._url = url
        self._change = change
        self._on_change = on_change
        self._condition = threading.Condition()
        self._generation = 0
        self._waiters = 0
        self._lively_until = 0.0
        self._stopped = False
        self._stirred = threading.Event()
        self._thread: threading.Thread | None = None
        self._interrupt_read, self._interrupt_write = os.pipe()

    def start(self) -> None:
        """Start watching; nothing happens when that is done already."""
        with self._condition:
            if self._thread is None:
                watch = self._watch_sqlite if self._url.get_backend_name() == "sqlite" else self._watch_postgresql
                self._thread = threading.Thread(target=self._watch, args=(watch,), name="job-wakeups", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the watcher thread; waiters are woken."""
        self._stopped = True
        os.write(self._interrupt_write, b"x")
        self._wake()
        if self._thread is not None:
            self._thread.join(timeout=_RECONNECT_SECONDS + 1)

    def expect_changes(self) -> None:
        """Look often for the next second: work is under way."""
        self._lively_until = time.monotonic() + _LIVELY_FOR
        self._stirred.set()

    def seen(self) -> int:
        """A mark to take before the state is read."""
        return self._generation

    def wait(self, seen: int, timeout: float) -> int:
        """Wait until something changed since *seen*, or *timeout* seconds have passed; returns a new mark."""
        self.start()
        with self._condition:
            self._waiters += 1
            self._stirred.set()
            try:
                self._condition.wait_for(lambda: self._generation != seen or self._stopped, timeout)
            finally:
                self._waiters -= 1
            return self._generation

    def _wake(self) -> None:
        with self._condition:
            self._generation += 1
            self._condition.notify_all()
        if self._on_change is not None:
            self._on_change()

    def _watch(self, watch: Callable[[], None]) -> None:
        while not self._stopped:
            try:
                watch()
            except (sqlite3.Error, psycopg2.Error, OSError) as error:
                LOGGER.warning(
                    "job store cannot be watched; trying again", extra={"action": "watch", "reason": str(error)}
                )
                self._wake()
                self._pause(_RECONNECT_SECONDS)

    def _pause(self, seconds: float) -> None:
        select.select([self._interrupt_read], [], [], seconds)

    def _watch_sqlite(self) -> None:
        assert self._url.database is not None
        uri = f"{Path(self._url.database).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            last = None
            while not self._stopped:
                version = connection.execute("PRAGMA data_version").fetchone()[0]
                if version != last:
                    last = version
                    self._wake()
                if self._waiters or time.monotonic() < self._lively_until:
                    time.sleep(_LIVELY_SECONDS)
                else:
                    self._stirred.wait(_RESTING_SECONDS)
                    self._stirred.clear()

    def _watch_postgresql(self) -> None:
        arguments, options = self._url.get_dialect()().create_connect_args(self._url)
        connection = psycopg2.connect(
            *arguments, **{**options, "connect_timeout": 5, "application_name": "pygeoapi-prefect wake-ups"}
        )
        with closing(connection):
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")
            # what changed while nobody listened
            self._wake()
            while not self._stopped:
                ready, _, _ = select.select([connection, self._interrupt_read], [], [], _SAFETY_SECONDS)
                if connection in ready:
                    connection.poll()
                    changes = {notification.payload for notification in connection.notifies}
                    connection.notifies.clear()
                    if self._change is not None and self._change not in changes:
                        continue
                else:
                    # the poll of the safety net also finds a connection that died without a word
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT 1")
                self._wake()
