"""Wake-ups: nobody sleeps through a change, whoever made it, on both databases."""

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from conftest import PostgreSQL
from factories import SUCCESS, accepted, claim_all, ended, running
from pygeoapi_prefect.jobs import JobStore, Wakeups
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.queries import ENDED

SOON = 0.5
"""Seconds; generous: both take a few milliseconds on a machine at rest."""


@contextmanager
def watching(store: JobStore, on_change: Callable[[], None] | None = None) -> Iterator[Wakeups]:
    """Wake-ups that watch already."""
    wakeups = Wakeups(store.database.url, on_change=on_change)
    seen = wakeups.seen()
    wakeups.start()
    try:
        assert wakeups.wait(seen, 5) != seen, "the first look is a wake-up"
        settle(wakeups)
        yield wakeups
    finally:
        wakeups.stop()


def settle(wakeups: Wakeups) -> int:
    """Wait until what was committed before has been told."""
    seen = wakeups.seen()
    while (now := wakeups.wait(seen, 0.1)) != seen:
        seen = now
    return seen


@pytest.fixture
def store(job_store: JobStore) -> JobStore:
    """A job store with its tables."""
    job_store.counts()
    return job_store


@pytest.fixture
def wakeups(store: JobStore) -> Iterator[Wakeups]:
    with watching(store) as wakeups:
        yield wakeups


def seconds_until_woken(wakeups: Wakeups, change: Callable[[], object]) -> float:
    """How long after the commit a thread that waits already goes on."""
    seen, woken_at = settle(wakeups), []

    def wait() -> None:
        wakeups.wait(seen, 10)
        woken_at.append(time.monotonic())

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.05)
    assert waiter.is_alive()
    change()
    committed = time.monotonic()
    waiter.join()
    return woken_at[0] - committed


def test_every_change_of_a_job_wakes(store: JobStore, wakeups: Wakeups) -> None:
    """Submission, end, loss, dismissal, removal and import each wake who waits; nobody waits for a claim."""
    changes: dict[str, Callable[[], object]] = {
        "submit": lambda: accepted(store, "a"),
        "claim": lambda: claim_all(store, "gone"),
        "lose": lambda: store.finish_lost("s", host="h", is_alive=lambda *_: True, rerun=lambda _: True),
        "claim again": lambda: claim_all(store),
        "finish": lambda: store.finish(store.job("a").claim, SUCCESS),
        "remove": lambda: store.remove("a", clean_up=True),
        "add": lambda: store.add("b", "ndvi", {"status": "accepted"}),
        "update": lambda: store.update("b", {"message": "x"}),
        "dismiss": lambda: store.dismiss("b"),
    }
    for name, change in changes.items():
        if name.startswith("claim"):
            change()
            continue
        assert seconds_until_woken(wakeups, change) < SOON, name


def test_waiters_can_choose(postgresql_url: str) -> None:
    """On PostgreSQL who waits for the end of jobs is not woken by their submission."""
    store = JobStore(Database(postgresql_url, timeout=10))
    store.database.prepare()
    wakeups = Wakeups(store.database.url, change=ENDED)
    try:
        seen = settle(wakeups)
        accepted(store, "a")
        assert wakeups.wait(seen, 0.5) == seen
        store.dismiss("a")
        assert wakeups.wait(seen, 5) != seen
    finally:
        wakeups.stop()
        store.database.dispose()


CHANGING_PROCESS = textwrap.dedent("""
    import sys
    from factories import accepted
    from pygeoapi_prefect.jobs import JobStore
    from pygeoapi_prefect.jobs.database import Database

    store = JobStore(Database(sys.argv[1], timeout=10))
    store.counts()
    for line in sys.stdin:
        accepted(store, line.strip())
        print("committed", flush=True)
""")


def test_changes_of_another_process_wake(store: JobStore, wakeups: Wakeups) -> None:
    """A runner sees what a web process submits, and the other way round."""
    url = store.database.url.render_as_string(hide_password=False)
    with subprocess.Popen(
        [sys.executable, "-c", CHANGING_PROCESS, url],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def submit(job_id: str) -> None:
            stdin.write(f"{job_id}\n")
            stdin.flush()
            assert stdout.readline() == "committed\n"

        submit("first")
        for job_id in ("a", "b", "c"):
            assert seconds_until_woken(wakeups, lambda job_id=job_id: submit(job_id)) < SOON
        stdin.close()


def test_all_waiters_are_woken(store: JobStore, wakeups: Wakeups) -> None:
    """One watcher thread serves them all."""
    seen, woken = settle(wakeups), []
    waiters = [threading.Thread(target=lambda: woken.append(wakeups.wait(seen, 10))) for _ in range(10)]
    for waiter in waiters:
        waiter.start()
    accepted(store)
    for waiter in waiters:
        waiter.join(timeout=5)
    assert len(woken) == 10
    assert seen not in woken
    assert [thread.name for thread in threading.enumerate()].count("job-wakeups") == 1


def test_no_change_is_missed_before_the_wait(store: JobStore, wakeups: Wakeups) -> None:
    """A change after the mark was taken, and told before the wait begins, ends the wait at once."""
    seen = settle(wakeups)
    accepted(store)
    time.sleep(0.3)
    began = time.monotonic()
    assert wakeups.wait(seen, 10) != seen
    assert time.monotonic() - began < 0.1


def test_nobody_sleeps_through_the_end_of_a_job(store: JobStore, wakeups: Wakeups) -> None:
    """Mark, read, wait: whenever the job ends in between, its waiter sees it soon."""
    for _ in range(15):
        claim = running(store)
        ender = threading.Thread(target=store.finish, args=(claim, SUCCESS))
        seen = wakeups.seen()
        ender.start()
        began = time.monotonic()
        while not store.status(claim.job_id).is_terminal:
            seen = wakeups.wait(seen, 3)
        assert time.monotonic() - began < 2
        ender.join()


def test_a_wait_ends_with_its_timeout(wakeups: Wakeups) -> None:
    """Without a change the mark stays, and the wait takes as long as it was told."""
    seen = settle(wakeups)
    for timeout in (0, 0.2):
        began = time.monotonic()
        assert wakeups.wait(seen, timeout) == seen
        assert timeout <= time.monotonic() - began < timeout + SOON


def test_what_was_rolled_back_wakes_nobody(store: JobStore, wakeups: Wakeups) -> None:
    """Only a commit is a change."""
    accepted(store, "j")
    seen = settle(wakeups)
    with pytest.raises(ZeroDivisionError), store.database.write() as connection:
        connection.execute(text("UPDATE ogc_jobs SET message = 'x'"))
        raise ZeroDivisionError
    assert wakeups.wait(seen, 0.3) == seen


def test_changes_call_back(store: JobStore) -> None:
    """Who has no thread to wait with is called from the watcher's."""
    called = threading.Event()
    with watching(store, on_change=called.set) as wakeups:
        settle(wakeups)
        called.clear()
        accepted(store)
        assert called.wait(SOON)


def test_expected_changes_are_looked_for_often(store: JobStore, wakeups: Wakeups) -> None:
    """While work is expected, changes are told too, with or without a waiter."""
    wakeups.expect_changes()
    seen = settle(wakeups)
    accepted(store)
    time.sleep(0.2)
    assert wakeups.seen() != seen


def test_watching_starts_with_the_first_wait(store: JobStore) -> None:
    """A forked process has no watcher until somebody waits; starting twice starts one."""
    wakeups = Wakeups(store.database.url)
    assert "job-wakeups" not in [thread.name for thread in threading.enumerate()]
    wakeups.wait(wakeups.seen(), 0.01)
    wakeups.start()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "job-wakeups"]
    assert thread.daemon
    wakeups.stop()


def test_stop_ends_the_thread_and_the_waits(store: JobStore) -> None:
    """Nothing of the watcher is left, and nobody waits for it any longer."""
    with watching(store) as wakeups:
        seen = settle(wakeups)
        waiter = threading.Thread(target=wakeups.wait, args=(seen, 30))
        waiter.start()
        began = time.monotonic()
        wakeups.stop()
        waiter.join(timeout=5)
        assert not waiter.is_alive()
        assert time.monotonic() - began < 1
    assert "job-wakeups" not in [thread.name for thread in threading.enumerate()]


def test_unused_wakeups_can_be_stopped(job_store_url: str) -> None:
    """Without a watcher there is nothing to end."""
    Wakeups(make_url(job_store_url)).stop()


def test_a_database_that_comes_late_is_watched(job_store_url: str) -> None:
    """A watcher that was there before the tables sees the first job."""
    database = Database(job_store_url, timeout=5)
    wakeups = Wakeups(database.url)
    wakeups.start()
    time.sleep(0.2)
    store = JobStore(database)
    store.counts()
    time.sleep(1.5)
    assert seconds_until_woken(wakeups, lambda: ended(store)) < SOON
    wakeups.stop()
    database.dispose()


def test_a_lost_connection_is_made_again(postgresql_url: str, postgresql: PostgreSQL) -> None:
    """After PostgreSQL ended the watcher's connection, waiters are told to look, and the next changes wake again."""
    store = JobStore(Database(postgresql_url, timeout=5))
    store.counts()
    with watching(store) as wakeups:
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%%wake-ups'"
        assert seconds_until_woken(wakeups, lambda: postgresql.execute(kill)) < SOON
        # what is committed while nobody listens is told after the reconnect
        seen = wakeups.seen()
        accepted(store)
        assert wakeups.wait(seen, 3) != seen
        time.sleep(1.2)
        assert seconds_until_woken(wakeups, lambda: accepted(store)) < SOON
    store.database.dispose()


def test_a_restarted_server_is_watched_again(postgresql_url: str, postgresql: PostgreSQL) -> None:
    """An outage of PostgreSQL ends no watcher."""
    store = JobStore(Database(postgresql_url, timeout=5))
    store.counts()
    with watching(store) as wakeups:
        postgresql.stop()
        time.sleep(0.2)
        postgresql.start()
        time.sleep(1.5)
        assert seconds_until_woken(wakeups, lambda: accepted(store)) < SOON
    store.database.dispose()
