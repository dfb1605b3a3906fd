"""What the job store keeps of those who want to be called back, the same on SQLite and PostgreSQL."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pygeoapi.util import RequestedProcessExecutionMode, Subscriber
from sqlalchemy import select, update

from factories import SUCCESS, accepted, claim_all, ended, new_job, running
from pygeoapi_prefect.exceptions import InvalidInputsError
from pygeoapi_prefect.jobs import Callback, JobStore, LogLine
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.queries import host_of
from pygeoapi_prefect.jobs.records import utc_now
from pygeoapi_prefect.jobs.tables import callbacks
from pygeoapi_prefect.manager import PrefectManager
from pygeoapi_prefect.schemas import JobStatus
from pygeoapi_prefect.validation import subscriber_urls

HOST = "client.example.org:8443"
URLS = {kind: f"https://{HOST}/{kind}?token=s3cr3t" for kind in ("successUri", "inProgressUri", "failedUri")}
LEASE = 60


def subscribed(**urls: str) -> dict[str, Any]:
    """An execute request with a subscriber: all three URLs, or *urls*."""
    return {"inputs": {"x": 1}, "subscriber": urls or URLS}


def claimed(store: JobStore) -> list[Callback]:
    """Every call that is due."""
    found = []
    while callback := store.claim_callback(lease=LEASE):
        found.append(callback)
    return found


def kinds(found: list[Callback]) -> list[str]:
    return [callback.kind.value for callback in found]


def waiting(store: JobStore) -> set[str]:
    """The kinds that may still be called."""
    with store.database.read() as connection:
        return set(connection.scalars(select(callbacks.c.kind)))


def lapse(store: JobStore) -> None:
    """Let every wait and every lease come to its end."""
    with store.database.write() as connection:
        connection.execute(update(callbacks).values(due=0))


# ---------------------------------------------------------------- what is to be told


def test_nobody_is_called_while_a_job_waits(job_store: JobStore) -> None:
    """The client has the answer of its execute request: acceptance is no news."""
    accepted(job_store, request=subscribed())
    assert job_store.seconds_to_callback() is None
    assert claimed(job_store) == []
    assert not job_store.outlook("runner").callbacks_wait


def test_urls_stand_apart_from_the_request(job_store: JobStore) -> None:
    """Whoever reads a job, code, operators and Prefect among them, does not read where its client is called."""
    job = accepted(job_store, request=subscribed())
    assert job.subscribed
    assert job_store.details(job.job_id).request == {"inputs": {"x": 1}}
    [details] = claim_all(job_store)
    assert "s3cr3t" not in repr(details)
    [callback] = claimed(job_store)
    assert callback.url == URLS["inProgressUri"]
    assert (callback.host, "s3cr3t" in repr(callback)) == (HOST, False)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (JobStatus.SUCCESSFUL, "successUri"),
        (JobStatus.FAILED, "failedUri"),
        (JobStatus.DISMISSED, "failedUri"),
    ],
)
def test_an_end_is_told_at_its_url(job_store: JobStore, status: JobStatus, kind: str) -> None:
    """Success calls successUri, every other end failedUri; what was not told of the way there is not told any more."""
    job = ended(job_store, status, request=subscribed())
    assert job_store.outlook("runner").callbacks_wait
    [callback] = claimed(job_store)
    assert (callback.kind, callback.url, callback.news, callback.job) == (kind, URLS[kind], 1, job)
    assert waiting(job_store) == {kind}


def test_an_end_without_url_is_not_told(job_store: JobStore) -> None:
    """A job that failed calls nobody who asked for success alone, and keeps nothing."""
    ended(job_store, JobStatus.FAILED, request=subscribed(successUri=URLS["successUri"]))
    assert claimed(job_store) == []
    assert waiting(job_store) == set()


def test_a_waiting_job_that_is_dismissed_is_told(job_store: JobStore) -> None:
    """No runner ever held it, and its client is called all the same."""
    job = accepted(job_store, request=subscribed())
    job_store.dismiss(job.job_id)
    assert kinds(claimed(job_store)) == ["failedUri"]


def test_a_lost_job_is_told(job_store: JobStore) -> None:
    """The runner that finds a job lost has its client called."""
    running(job_store, request=subscribed())
    job_store.finish_lost("other", host="here", is_alive=lambda *_: True, rerun=lambda _: False)
    assert kinds(claimed(job_store)) == ["failedUri"]


def test_a_job_that_waited_too_long_is_told(job_store: JobStore) -> None:
    """Also where many jobs fail at once for want of Prefect."""
    accepted(job_store, request=subscribed())
    job_store.explain_waiting(["ndvi"], "waits", give_up=-1, reason="waited too long")
    assert kinds(claimed(job_store)) == ["failedUri"]


def test_why_a_job_waits_is_progress(job_store: JobStore) -> None:
    """A new message of a job that waits is told at inProgressUri."""
    accepted(job_store, request=subscribed())
    job_store.explain_waiting(["ndvi"], "Prefect cannot be reached", give_up=60, reason="late")
    [callback] = claimed(job_store)
    assert (callback.kind, callback.job.message) == ("inProgressUri", "Prefect cannot be reached")


def test_jobs_of_others_are_not_told(job_store: JobStore) -> None:
    """A job without subscriber leaves nothing in the table, whatever happens to it."""
    claim = running(job_store)
    job_store.report_progress(claim, 10, "ten")
    job_store.finish(claim, SUCCESS)
    assert waiting(job_store) == set()
    assert not job_store.job(claim.job_id).subscribed


def test_an_outcome_that_is_refused_is_not_told(job_store: JobStore) -> None:
    """What changes nothing is no news: an outcome after the dismissal calls nobody."""
    claim = running(job_store, request=subscribed())
    job_store.dismiss(claim.job_id)
    assert not job_store.finish(claim, SUCCESS)
    assert kinds(claimed(job_store)) == ["failedUri"]


def test_what_is_rolled_back_is_not_told(job_store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end and the call for it are stored together or not at all."""
    claim = running(job_store, request=subscribed())

    def break_down(*_: Any) -> None:
        raise RuntimeError("the last step of the transaction failed")

    monkeypatch.setattr(job_store, "_forget_secrets", break_down)
    with pytest.raises(RuntimeError):
        job_store.finish(claim, SUCCESS)
    assert job_store.job(claim.job_id).status is JobStatus.RUNNING
    assert waiting(job_store) == set(URLS)
    assert kinds(claimed(job_store)) == ["inProgressUri"]


def test_a_removed_job_takes_its_calls_along(job_store: JobStore) -> None:
    """A client that removes a job knows of its end."""
    job = ended(job_store, request=subscribed())
    assert job_store.remove(job.job_id, clean_up=False)
    assert claimed(job_store) == []
    assert waiting(job_store) == set()


# ---------------------------------------------------------------- progress


def test_progress_is_told_as_it_is_now(job_store: JobStore) -> None:
    """However often it changed, one call is due, with the newest state; the news is counted."""
    claim = running(job_store, request=subscribed())
    for percent in (10, 20, 30):
        job_store.report_progress(claim, percent, f"{percent} percent")
    [callback] = claimed(job_store)
    assert (callback.job.progress, callback.job.message, callback.news) == (30, "30 percent", 4)


def test_progress_that_was_told_is_not_told_again(job_store: JobStore) -> None:
    """After a call that arrived the next one waits for news and for its time."""
    claim = running(job_store, request=subscribed())
    [callback] = claimed(job_store)
    job_store.await_news(callback, 0, arrived=True)
    assert claimed(job_store) == []
    assert job_store.seconds_to_callback() is None
    job_store.report_progress(claim, 50, None)
    assert [call.news for call in claimed(job_store)] == [2]


def test_news_waits_for_its_time(job_store: JobStore) -> None:
    """A job that changes all the time calls no more often than it may."""
    claim = running(job_store, request=subscribed())
    [callback] = claimed(job_store)
    job_store.await_news(callback, 600, arrived=True)
    job_store.report_progress(claim, 50, None)
    assert claimed(job_store) == []
    assert 500 < (job_store.seconds_to_callback() or 0) <= 600


def test_news_during_a_call_is_told_afterwards(job_store: JobStore) -> None:
    """What changes while a call is under way is neither lost nor told beside it."""
    claim = running(job_store, request=subscribed())
    [callback] = claimed(job_store)
    job_store.report_progress(claim, 50, None)
    assert claimed(job_store) == []
    job_store.await_news(callback, 0, arrived=True)
    assert [(call.news, call.job.progress) for call in claimed(job_store)] == [(2, 50)]


def test_failures_are_counted_until_a_call_arrives(job_store: JobStore) -> None:
    """Each failed call counts, each that arrives starts anew."""
    claim = running(job_store, request=subscribed())
    seen = []
    for percent, arrived in ((10, False), (20, False), (30, True), (40, True)):
        [callback] = claimed(job_store)
        seen.append(callback.failures)
        job_store.await_news(callback, 0, arrived=arrived)
        job_store.report_progress(claim, percent, None)
    assert seen == [0, 1, 2, 0]


# ---------------------------------------------------------------- claims


def test_a_call_is_handed_out_once(open_job_store: Any) -> None:
    """Of several runners that ask at the same time each call goes to one."""
    stores = [open_job_store() for _ in range(4)]
    expected = {ended(stores[0], request=subscribed()).job_id for _ in range(20)}
    with ThreadPoolExecutor(len(stores)) as threads:
        found = [callback.job.job_id for part in threads.map(claimed, stores) for callback in part]
    assert sorted(found) == sorted(expected)


def test_a_lapsed_claim_is_handed_out_again(job_store: JobStore) -> None:
    """The call of a runner that is gone is made by another one: the same news, another claim."""
    ended(job_store, request=subscribed())
    [first] = claimed(job_store)
    lapse(job_store)
    [second] = claimed(job_store)
    assert (second.news, second.claim_number) == (first.news, first.claim_number + 1)
    # the first one was slow, not gone
    job_store.end_callback(first)
    job_store.retry_callback(first, 0)
    assert waiting(job_store) == {"successUri"}
    assert claimed(job_store) == []
    job_store.end_callback(second)
    assert waiting(job_store) == set()


def test_a_call_is_made_again_when_it_is_time(job_store: JobStore) -> None:
    """The next attempt stands in the database, so that it survives the runner."""
    ended(job_store, request=subscribed())
    [callback] = claimed(job_store)
    job_store.retry_callback(callback, 600)
    assert claimed(job_store) == []
    assert 500 < (job_store.seconds_to_callback() or 0) <= 600
    lapse(job_store)
    [again] = claimed(job_store)
    assert (again.news, again.failures, again.claim_number) == (1, 1, 2)


def test_busy_hosts_and_jobs_are_left_out(job_store: JobStore) -> None:
    """Calls of a host that has enough of them, and of a job that is being told, wait; others do not."""
    first = ended(job_store, request=subscribed())
    other = ended(job_store, request=subscribed(successUri="http://[2001:db8::1]/done"))
    assert job_store.claim_callback(lease=LEASE, but_jobs={first.job_id, other.job_id}) is None
    assert job_store.seconds_to_callback(but_hosts={HOST, "[2001:db8::1]"}) is None
    callback = job_store.claim_callback(lease=LEASE, but_hosts={HOST})
    assert callback is not None
    assert (callback.job.job_id, callback.host) == (other.job_id, "[2001:db8::1]")
    callback = job_store.claim_callback(lease=LEASE, but_jobs={other.job_id})
    assert callback is not None
    assert callback.job.job_id == first.job_id


def test_the_call_that_is_due_longest_comes_first(job_store: JobStore) -> None:
    """Nobody is overtaken for ever by news of others."""
    expected = [ended(job_store, request=subscribed()).job_id for _ in range(3)]
    assert [callback.job.job_id for callback in claimed(job_store)] == expected


# ---------------------------------------------------------------- notes in the job's log


def test_a_note_follows_the_log_of_an_ended_job(job_store: JobStore) -> None:
    """What became of a call stands behind the lines of the job itself."""
    job = ended(job_store)
    line = LogLine(utc_now(), logging.WARNING, "callbacks", "answered 500")
    job_store.append_logs(job.job_id, 1, [LogLine(utc_now(), logging.INFO, "job", "first")])
    assert job_store.note(job.job_id, line)
    assert job_store.note(job.job_id, line)
    assert [kept.text for kept in job_store.logs(job.job_id)] == ["first", "answered 500", "answered 500"]


def test_a_job_that_runs_takes_no_note(job_store: JobStore) -> None:
    """Its runner numbers the lines: a note would take the place of one of them. Nor does a job that is not there."""
    line = LogLine(utc_now(), logging.WARNING, "callbacks", "answered 500")
    assert not job_store.note(running(job_store).job_id, line)
    assert not job_store.note("nobody", line)


# ---------------------------------------------------------------- subscribers as clients give them


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ({"successUri": "https://a.example/x"}, {"successUri": "https://a.example/x"}),
        ({"failedUri": "http://a.example:81/?q=1#f", "successUri": None}, {"failedUri": "http://a.example:81/?q=1#f"}),
        ({"inProgressUri": "http://[2001:db8::1]/", "more": 1}, {"inProgressUri": "http://[2001:db8::1]/"}),
        (
            Subscriber("https://a.example/s", None, "https://a.example/f"),
            {"successUri": "https://a.example/s", "failedUri": "https://a.example/f"},
        ),
    ],
)
def test_a_subscriber_is_one_url_or_more(given: Any, expected: Any) -> None:
    """The standard's object or pygeoapi's; successUri is not mandatory."""
    assert subscriber_urls(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"successUri": None},
        {"successUri": ""},
        {"successUri": 1},
        {"successUri": ["https://a.example"]},
        {"successUri": "ftp://a.example"},
        {"successUri": "file:///etc/passwd"},
        {"successUri": "/relative"},
        {"successUri": "https://"},
        {"successUri": "https://a.example:99999"},
        {"successUri": "https://[::1"},
        {"successUri": "https://user:password@a.example"},
        {"successUri": "https://a.example/\r\nX-Header: 1"},
        {"successUri": "https://a.example/\x00"},
        {"successUri": "https://a.example/ü"},
        {"successUri": "https://a.example/" + "x" * 2048},
        {"successUri": "https://a.example", "failedUri": "mailto:a@a.example"},
        "https://a.example",
        ["https://a.example"],
        1,
    ],
)
def test_a_subscriber_that_cannot_be_called_is_refused(given: Any) -> None:
    """No job is made for somebody who can never be called; the answer repeats nothing of the URL."""
    with pytest.raises(InvalidInputsError) as raised:
        subscriber_urls(given)
    assert raised.value.client_message.startswith("'subscriber")
    assert "a.example" not in raised.value.client_message


def test_a_host_has_its_port_and_no_case() -> None:
    """Calls of one host are counted together however it is spelled."""
    assert host_of("HTTPS://A.Example:8443/x?token=1") == "a.example:8443"


def test_jobs_need_no_subscriber(job_store: JobStore) -> None:
    """None stands for none; a job that is imported has none."""
    job_store.submit(new_job("submitted", request={"inputs": {}, "subscriber": None}), max_waiting=10)
    job_store.add("imported", "ndvi", {"status": JobStatus.ACCEPTED})
    assert [job_store.job(job_id).subscribed for job_id in ("submitted", "imported")] == [False, False]


# ---------------------------------------------------------------- pygeoapi's own way


def test_the_manager_takes_pygeoapis_subscriber(tmp_path: Path) -> None:
    """Where pygeoapi's own functions answer, its Subscriber reaches the job store; here without a successUri."""
    manager = PrefectManager(
        {
            "name": "pygeoapi_prefect.PrefectManager",
            "connection": str(tmp_path / "jobs.db"),
            "output_dir": str(tmp_path / "results"),
            "runner": "external",
            "ogc_compliance": False,
            "processes": {"hello-world": {"type": "process", "processor": {"name": "HelloWorld"}}},
        }
    )
    assert manager.supports_subscribing
    subscriber = Subscriber(None, None, URLS["failedUri"])
    job_id, *_ = manager.execute_process(
        "hello-world", {"name": "a"}, RequestedProcessExecutionMode.respond_async, subscriber=subscriber
    )
    store = JobStore(Database(manager.settings.connection, timeout=10))
    try:
        store.dismiss(job_id)
        assert [callback.url for callback in claimed(store)] == [URLS["failedUri"]]
    finally:
        store.database.dispose()
