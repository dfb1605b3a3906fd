"""One call and its answer, and who is called when: a real job store and a real receiver, without a server."""

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from factories import accepted, claim_all, ended, running
from pygeoapi_prefect.jobs import JobStore, LogLine, Outcome
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.tables import callbacks
from pygeoapi_prefect.references.guard import AddressPolicy
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.runner.callback_calls import seconds_of, seconds_to_retry
from pygeoapi_prefect.runner.callbacks import Callbacks
from pygeoapi_prefect.schemas import JobStatus
from receiver import Receiver
from serving import eventually


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(Database(f"sqlite:///{tmp_path / 'jobs.db'}", timeout=10))
    yield store
    store.database.dispose()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


Start = Callable[..., Callbacks]


@pytest.fixture
def start(store: JobStore, tmp_path: Path) -> Iterator[Start]:
    """Starts what calls clients back, as a runner does."""
    started: list[Callbacks] = []

    def start_one(log: Callable[[str, LogLine], None] = lambda *_: None, **keys: Any) -> Callbacks:
        policy = AddressPolicy(allowed_hosts=("127.0.0.1",))
        arguments = {"policy": lambda _: policy, "attempts": 8, "timeout": 5, "log": log} | keys
        started.append(Callbacks(store, ResultStore(str(tmp_path / "results")), **arguments))
        started[-1].start()
        return started[-1]

    yield start_one
    for one in started:
        one.stop(0)


def failed(store: JobStore, url: str) -> str:
    """A job that failed, and whose client is to be called at *url*."""
    return ended(store, JobStatus.FAILED, request={"inputs": {}, "subscriber": {"failedUri": url}}).job_id


def rows(store: JobStore) -> list[Any]:
    with store.database.read() as connection:
        return list(connection.execute(select(callbacks)).all())


def lapse(store: JobStore) -> None:
    """Let every wait come to its end."""
    with store.database.write() as connection:
        connection.execute(update(callbacks).values(due=0))


# ---------------------------------------------------------------- when to call again


def test_waits_grow_to_an_hour_in_all() -> None:
    """Seven waits lie between eight attempts: the first is short, each is longer, together they are about an hour."""
    waits = [seconds_to_retry(failures) for failures in range(1, 8)]
    assert waits == sorted(waits)
    assert 1.6 <= waits[0] <= 2.4
    assert 2400 <= sum(waits) <= 4500


@pytest.mark.parametrize("failures", [1, 7, 8, 1000, 10**9])
def test_no_wait_is_longer_than_an_hour(failures: int) -> None:
    """However often it failed, and whatever the receiver asks for."""
    assert seconds_to_retry(failures, retry_after=10**6) == 3600
    assert seconds_to_retry(failures) <= 3600


def test_waits_differ() -> None:
    """Calls that failed together are not made together again."""
    assert len({seconds_to_retry(3) for _ in range(20)}) > 1


def test_the_receiver_may_ask_for_more_time() -> None:
    """Retry-After makes a wait longer, never shorter."""
    assert seconds_to_retry(1, retry_after=100) == 100
    assert seconds_to_retry(6, retry_after=100) > 100


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, 0),
        ("0", 0),
        ("120", 120),
        ("9" * 400, 3600),
        ("-5", 0),
        ("soon", 0),
        ("²", 0),
        ("", 0),
        ("Wed, 01 Jan 2020 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("Fri, 31 Dec 9999 23:59:59 -0000", 3600),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, expected: float) -> None:
    """Nonsense counts as none (RFC 9110, 10.2.3)."""
    assert seconds_of(header) == expected


def test_retry_after_counts_from_now() -> None:
    """A date in ten minutes is some ten minutes."""
    header = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    assert 500 < seconds_of(header) <= 600


# ---------------------------------------------------------------- what an answer means


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_some_answers_mean_later(store: JobStore, receiver: Receiver, start: Start, status: int) -> None:
    """The call stays, for as long as the receiver asks."""
    receiver.headers = {"Retry-After": "900"}
    failed(store, receiver.url + receiver.path(str(status)))
    start()
    row = eventually(lambda: [row for row in rows(store) if row.failures], within=10)[0]
    assert (row.claims, row.failures, row.told) == (1, 1, 0)
    assert 800 < (store.seconds_to_callback() or 0) <= 900


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 410, 413, 422, 451])
def test_other_answers_mean_never(store: JobStore, receiver: Receiver, start: Start, status: int) -> None:
    """Redirections and refusals: the call is given up, and the job's log tells of it."""
    receiver.headers = {"Location": f"{receiver.url}/200/elsewhere", "Retry-After": "1"}
    job_id = failed(store, receiver.url + receiver.path(str(status)))
    start()
    eventually(lambda: not rows(store), within=10)
    [line] = store.logs(job_id)
    assert line.text.endswith(f"answered {status}; given up")
    assert len(receiver.calls) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success_is_any_2xx(store: JobStore, receiver: Receiver, start: Start, status: int) -> None:
    """Delivered: no second call, no line in the log."""
    job_id = failed(store, receiver.url + receiver.path(str(status)))
    start()
    eventually(lambda: not rows(store), within=10)
    assert (len(receiver.calls), store.logs(job_id)) == (1, [])


def test_the_last_attempt_is_the_last(store: JobStore, receiver: Receiver, start: Start) -> None:
    """After ``callback_attempts`` calls the job's log says so, and nobody calls any more."""
    job_id = failed(store, receiver.url + receiver.path("503"))
    made = start(attempts=3)
    for attempt in (1, 2, 3):
        eventually(lambda attempt=attempt: len(store.logs(job_id)) == attempt, within=10)
        lapse(store)
        made.nudge()
    eventually(lambda: not rows(store), within=10)
    ends = [line.text.partition("answered 503; ")[2] for line in store.logs(job_id)]
    assert ends == ["attempt 1 of 3", "attempt 2 of 3", "given up"]
    assert len({call.headers["Idempotency-Key"] for call in receiver.calls}) == 1


def test_progress_is_not_told_again(store: JobStore, receiver: Receiver, start: Start) -> None:
    """A state that did not arrive is replaced by the next one; the first failure alone is told to the job's runner."""
    lines: list[str] = []
    url = receiver.url + receiver.path("500")
    claim = running(store, request={"inputs": {}, "subscriber": {"inProgressUri": url}})
    made = start(log=lambda _, line: lines.append(line.text))
    eventually(lambda: rows(store)[0].told == 1, within=10)
    lapse(store)
    made.nudge()
    assert store.seconds_to_callback() is None
    store.report_progress(claim, 40, None)
    made.nudge()
    eventually(lambda: rows(store)[0].told == 2, within=10)
    assert [call.json["progress"] for call in receiver.calls] == [0, 40]
    assert [text.rpartition(": ")[2] for text in lines] == ["answered 500"]


@pytest.mark.parametrize("host", ["[v1.x]", "xn--", "xn--a-ecp.example", "xn--zzzzzz--"])
def test_names_that_no_host_can_have_are_given_up(store: JobStore, start: Start, host: str) -> None:
    """What only the library finds wrong with a URL ends the call, not the thread, and is not tried for ever."""
    job_id = failed(store, f"http://{host}/")
    start()
    eventually(lambda: not rows(store), within=10)
    assert [line.text.rpartition(": ")[2] for line in store.logs(job_id)] == ["the URL cannot be called; given up"]


def test_a_call_that_breaks_down_counts(store: JobStore, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong inside is an attempt like any other, and tells nothing of the URL."""
    url = "http://client.example.org/?token=s3cr3t"
    claim = running(store, request={"inputs": {}, "subscriber": {"successUri": url}})
    store.finish(claim, Outcome(JobStatus.SUCCESSFUL, "done", result={"no": "manifest"}))
    start()
    [line] = eventually(lambda: store.logs(claim.job_id), within=10)
    assert line.text.endswith("the call could not be made; attempt 1 of 8")
    assert "s3cr3t" not in caplog.text


def test_lost_results_are_given_up(store: JobStore, receiver: Receiver, start: Start) -> None:
    """A result that is gone cannot be told; the receiver hears nothing wrong instead."""
    url = receiver.url + receiver.path("200")
    claim = running(store, request={"inputs": {}, "subscriber": {"successUri": url}})
    gone = {"media_type": "text/plain", "form": "binary", "size": 1, "location": "gone"}
    manifest = {"return": gone, "meaning": "whole", "outputs": []}
    store.finish(claim, Outcome(JobStatus.SUCCESSFUL, "done", media_type="text/plain", result=manifest))
    start()
    eventually(lambda: not rows(store), within=10)
    assert [line.text.rpartition(": ")[2] for line in store.logs(claim.job_id)] == ["the results are gone; given up"]
    assert receiver.calls == []


# ---------------------------------------------------------------- how many at once


def test_one_host_is_called_twice_at_once_at_most(store: JobStore, receiver: Receiver, start: Start) -> None:
    """However many calls wait for a host that does not answer, those of another host are made meanwhile."""
    for _ in range(20):
        failed(store, receiver.url + receiver.path("never"))
    other = Receiver()
    try:
        job_id = failed(store, other.url + other.path("200"))
        start()
        call = eventually(lambda: other.calls, within=10)[0]
        assert call.headers["Idempotency-Key"] == f"{job_id}/failedUri/1"
        eventually(lambda: len(receiver.calls) == 2, within=10)
        assert (receiver.most_at_once, other.most_at_once) == (2, 1)
    finally:
        other.close()


def test_calls_of_a_job_come_one_after_another(store: JobStore, receiver: Receiver, start: Start) -> None:
    """The end of a job is not told while its progress still is: it would arrive before it."""
    urls = {"inProgressUri": receiver.url + receiver.path("never"), "failedUri": receiver.url + receiver.path("200")}
    job_id = accepted(store, request={"inputs": {}, "subscriber": urls}).job_id
    claim_all(store)
    made = start()
    eventually(lambda: receiver.calls, within=10)
    store.dismiss(job_id)
    # it is due later, and made earlier
    other_id = failed(store, receiver.url + receiver.path("200"))
    made.nudge()
    eventually(lambda: len(receiver.calls) == 2, within=10)
    receiver.closing.set()
    eventually(lambda: len(receiver.calls) == 3, within=10)
    keys = [call.headers["Idempotency-Key"] for call in receiver.calls]
    assert keys == [f"{job_id}/inProgressUri/1", f"{other_id}/failedUri/1", f"{job_id}/failedUri/1"]


def test_a_drip_does_not_stretch_the_time(store: JobStore, start: Start) -> None:
    """The time of a call is that of the whole call, also for a receiver that sends a header byte by byte."""
    with socket.socket() as dripping:
        dripping.bind(("127.0.0.1", 0))
        dripping.listen()

        def drip() -> None:
            connection, _ = dripping.accept()
            with connection:
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
                    while not done.wait(0.1):
                        connection.sendall(b"x")
                except OSError:
                    return

        done = threading.Event()
        threading.Thread(target=drip, daemon=True).start()
        job_id = failed(store, f"http://127.0.0.1:{dripping.getsockname()[1]}/")
        start(timeout=0.5)
        lines = eventually(lambda: store.logs(job_id), within=10)
        done.set()
    assert lines[0].text.endswith("no answer in time; attempt 1 of 8")


def test_what_is_due_is_called_before_the_end(store: JobStore, receiver: Receiver, start: Start) -> None:
    """A runner that ends makes the calls that are due; what cannot be made in time stays in the job store."""
    made = start()
    job_id = failed(store, receiver.url + receiver.path("200"))
    made.stop(10)
    assert [call.headers["Idempotency-Key"] for call in receiver.calls] == [f"{job_id}/failedUri/1"]
    failed(store, receiver.url + receiver.path("200"))
    assert len(rows(store)) == 1
