"""The contract of the job store, the same on SQLite and PostgreSQL."""

import logging
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime, timedelta, timezone
from http import HTTPStatus
from itertools import chain
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from factories import (
    FAILURE,
    MANY,
    SUCCESS,
    TERMINAL,
    accepted,
    claim_all,
    ended,
    new_job,
    runner_record,
    running,
)
from pygeoapi_prefect.exceptions import ExecutionRefusedError, QueueFullError, UnknownJobError
from pygeoapi_prefect.jobs import Claim, Job, JobFilter, JobStore, LogLine, Outcome, Recording, RunnerRecord
from pygeoapi_prefect.jobs.tables import job_logs, jobs, recordings, runners
from pygeoapi_prefect.schemas import JobStatus

OpenJobStore = Callable[[], JobStore]


def ids(found: list[Any]) -> list[str]:
    return [getattr(item, "job", item).job_id for item in found]


# ---------------------------------------------------------------- submit


def test_a_submitted_job_waits(job_store: JobStore) -> None:
    """A submitted job is accepted, at 0 percent, unclaimed, with its request as it came."""
    request = {"inputs": {"ü": [1, 2.5, None, True], "b": {"z": 1, "a": 2}}, "outputs": None, "response": "raw"}
    new = new_job("j1", "ndvi", request=request, recorded=False)
    job_store.submit(new, max_waiting=1)
    details = job_store.details("j1")
    assert details.request == request
    assert details.result is None
    assert details.job == Job(
        number=details.job.number,
        job_id="j1",
        process_id="ndvi",
        status=JobStatus.ACCEPTED,
        message="Job accepted",
        progress=0,
        created=new.created,
        updated=new.created,
        started=None,
        finished=None,
        recorded=False,
        claim_number=0,
        runner_id=None,
        media_type=None,
        problem=None,
        flow_run_id=None,
    )
    assert job_store.job("j1") == details.job
    assert job_store.status("j1") is JobStatus.ACCEPTED


def test_the_queue_is_full_at_its_limit(job_store: JobStore) -> None:
    """One job more than may wait is refused with 503 and told how many wait; running jobs do not count."""
    running(job_store)
    for _ in range(3):
        job_store.submit(new_job(), max_waiting=3)
    with pytest.raises(QueueFullError, match=r"^3 jobs are waiting") as refused:
        job_store.submit(new_job("one more"), max_waiting=3)
    assert refused.value.http_status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert "3 jobs are waiting" in refused.value.client_message
    with pytest.raises(UnknownJobError):
        job_store.job("one more")


def test_a_job_id_is_taken_once(job_store: JobStore) -> None:
    """A second job of the same id is refused with 409, and the first is as it was."""
    before = accepted(job_store, "twice")
    with pytest.raises(ExecutionRefusedError, match="twice") as refused:
        job_store.submit(new_job("twice", "other"), max_waiting=MANY)
    assert refused.value.http_status_code == HTTPStatus.CONFLICT
    assert job_store.job("twice") == before


def test_unknown_jobs_are_unknown(job_store: JobStore) -> None:
    """Whatever is asked of a job that is not there, the answer is UnknownJobError, or that nothing was done."""
    for ask in (job_store.job, job_store.details, job_store.status, job_store.dismiss):
        with pytest.raises(UnknownJobError, match="'nobody'"):
            ask("nobody")
    assert job_store.logs("nobody") == []
    assert not job_store.remove("nobody", clean_up=True)
    assert not job_store.update("nobody", {"message": "x"})
    assert not job_store.finish(Claim("nobody", 1), SUCCESS)
    assert not job_store.report_progress(Claim("nobody", 1), 1, None)
    assert job_store.next_cleanups(limit=9) == []


# ---------------------------------------------------------------- what any JSON and any text may hold

AWKWARD = [
    "nul \x00 inside",
    "lone surrogate \ud800",
    "emoji 🛰",
    "quote ' \" \\ %s :name",
]


@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_requests_and_results_hold_any_json(job_store: JobStore, text: str) -> None:
    """What JSON can hold comes back as it went in, key order and kinds of numbers included."""
    value = {"zz": text, "a": 1e16, "b": 1.0, "m": {text: [text]}, "n": [float("inf"), -0.0]}
    claim = running(job_store, request={"inputs": value})
    assert job_store.finish(claim, replace(SUCCESS, result=value))
    details = job_store.details(claim.job_id)
    assert (details.request, details.result) == ({"inputs": value}, value)
    assert [*(details.result or {})] == ["zz", "a", "b", "m", "n"]
    assert repr(details.result) == repr(value)


@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_no_text_keeps_a_job_from_ending(job_store: JobStore, text: str) -> None:
    """Messages, logs and reasons of any text are stored, at worst with the impossible characters replaced."""
    claim = running(job_store)
    assert job_store.report_progress(claim, 1, text)
    job_store.append_logs(claim.job_id, 1, [LogLine(datetime.now(UTC), logging.INFO, text, text)])
    assert job_store.finish(claim, Outcome.failed(text))
    job, (line,) = job_store.job(claim.job_id), job_store.logs(claim.job_id)
    assert job.problem is not None
    expected = text.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert (job.message, line.logger, line.text) == (expected, expected, expected)
    assert job.problem.detail.replace("\x00", "\ufffd").replace("\ud800", "\ufffd") == expected


def test_long_messages_are_cut(job_store: JobStore) -> None:
    """A message holds at most 2000 characters."""
    claim = running(job_store)
    job_store.report_progress(claim, 1, "x" * 5000)
    assert job_store.job(claim.job_id).message == "x" * 2000
    job_store.finish(claim, Outcome.failed("y" * 5000))
    assert job_store.job(claim.job_id).message == "y" * 2000


# ---------------------------------------------------------------- claim


def test_jobs_are_claimed_in_the_order_they_came(job_store: JobStore) -> None:
    """First in, first out, at most as many as asked for."""
    for name in "abcde":
        accepted(job_store, name)
    first = job_store.claim("r", limit=2, process_limits={}, record=False)
    second = job_store.claim("r", limit=9, process_limits={}, record=False)
    assert (ids(first), ids(second)) == (["a", "b"], ["c", "d", "e"])
    assert job_store.claim("r", limit=9, process_limits={}, record=False) == []


def test_a_claimed_job_runs(job_store: JobStore) -> None:
    """A claim sets status, runner, start and the claim number; the runner gets the request with it."""
    accepted(job_store, "j", request={"inputs": {"x": [1]}})
    (details,) = claim_all(job_store, "r1")
    job = details.job
    assert details.request == {"inputs": {"x": [1]}}
    assert (job.status, job.runner_id, job.claim_number, job.message) == (JobStatus.RUNNING, "r1", 1, "Job running")
    assert job.claim == Claim("j", 1)
    assert job.started is not None
    assert job.created <= job.started == job.updated
    assert job_store.job("j") == job


@pytest.mark.parametrize("process_limits", [{}, {"ndvi": MANY}], ids=["free", "limited"])
def test_two_runners_never_receive_the_same_job(open_job_store: OpenJobStore, process_limits: dict[str, int]) -> None:
    """Four runners on connections of their own share 200 jobs, each job exactly once."""
    store = open_job_store()
    submitted = [accepted(store, f"{number:03}").job_id for number in range(200)]
    start = threading.Barrier(4)

    def run(runner_id: str) -> list[str]:
        own, mine = open_job_store(), []
        start.wait()
        while claimed := own.claim(runner_id, limit=3, process_limits=process_limits, record=True):
            mine += ids(claimed)
            assert len(claimed) <= 3
        return mine

    with ThreadPoolExecutor(4) as threads:
        received = [*threads.map(run, ["r1", "r2", "r3", "r4"])]
    assert sorted(chain.from_iterable(received)) == submitted
    assert all(job.claim_number == 1 for job in store.list_jobs()[0])


CLAIMING_PROCESS = textwrap.dedent("""
    import sys
    from pygeoapi_prefect.jobs import JobStore
    from pygeoapi_prefect.jobs.database import Database

    store = JobStore(Database(sys.argv[1], timeout=10))
    store.counts()
    print("ready", flush=True)
    sys.stdin.readline()
    while claimed := store.claim(sys.argv[2], limit=1, process_limits={}, record=True):
        print(claimed[0].job.job_id, flush=True)
""")


def test_two_processes_never_receive_the_same_job(job_store: JobStore, job_store_url: str) -> None:
    """Runners in processes of their own share 100 jobs, each job exactly once."""
    submitted = [accepted(job_store, f"{number:03}").job_id for number in range(100)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMING_PROCESS, job_store_url, runner_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for runner_id in ("r1", "r2")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    received = [process.communicate(timeout=30)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(chain.from_iterable(received)) == submitted
    by_runner = Counter(job.runner_id for job in job_store.list_jobs()[0])
    assert by_runner == {f"r{n}": len(mine) for n, mine in enumerate(received, 1) if mine}


def test_a_process_runs_no_more_jobs_than_it_may(job_store: JobStore) -> None:
    """The limit of a process counts over all runners; jobs of other processes overtake the ones held back."""
    for name, process_id in {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "a4": "a", "b2": "b"}.items():
        accepted(job_store, name, process_id)
    limits = {"a": 2, "elsewhere": 1}
    first = job_store.claim("r1", limit=1, process_limits=limits, record=False)
    second = job_store.claim("r2", limit=9, process_limits=limits, record=False)
    assert (ids(first), ids(second)) == (["a1"], ["a2", "b1", "b2"])
    assert job_store.claim("r3", limit=9, process_limits=limits, record=False) == []
    job_store.finish(first[0].job.claim, SUCCESS)
    assert ids(job_store.claim("r3", limit=9, process_limits=limits, record=False)) == ["a3"]


def test_runners_together_keep_the_limit_of_a_process(open_job_store: OpenJobStore) -> None:
    """Runners that claim at the same moment do not both take the last place of a process."""
    store = open_job_store()
    for _ in range(30):
        accepted(store)
    start = threading.Barrier(4)

    def run(runner_id: str) -> int:
        own = open_job_store()
        start.wait()
        return sum(len(own.claim(runner_id, limit=2, process_limits={"ndvi": 5}, record=False)) for _ in range(10))

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(run, ["r1", "r2", "r3", "r4"])) == 5


# ---------------------------------------------------------------- progress and end


def test_progress_never_falls(job_store: JobStore) -> None:
    """A lower progress leaves the higher one, and its message is shown all the same."""
    claim = running(job_store)
    shown = []
    for percent, message in ((30, "a third"), (10, "back"), (31, None), (0, "zero")):
        assert job_store.report_progress(claim, percent, message)
        job = job_store.job(claim.job_id)
        shown.append((job.progress, job.message))
    assert shown == [(30, "a third"), (30, "back"), (31, "back"), (31, "zero")]


@pytest.mark.parametrize(("percent", "expected"), [(-5, 0), (99, 99), (100, 99), (1000, 99)])
def test_hundred_percent_is_reached_by_success_alone(job_store: JobStore, percent: int, expected: int) -> None:
    """Reported progress stays between 0 and 99; success makes it 100."""
    claim = running(job_store)
    job_store.report_progress(claim, percent, None)
    assert job_store.job(claim.job_id).progress == expected
    job_store.finish(claim, SUCCESS)
    assert job_store.job(claim.job_id).progress == 100


def test_progress_falls_for_no_caller(job_store: JobStore) -> None:
    """Nor does progress fall when pygeoapi's own interface changes the job."""
    claim = running(job_store)
    job_store.report_progress(claim, 50, None)
    assert job_store.update(claim.job_id, {"progress": 20, "message": "told"})
    job = job_store.job(claim.job_id)
    assert (job.progress, job.message) == (50, "told")


def test_a_failed_job_keeps_its_progress(job_store: JobStore) -> None:
    """Failure leaves the progress where it was, and keeps the problem for the client."""
    claim = running(job_store)
    job_store.report_progress(claim, 40, None)
    assert job_store.finish(claim, FAILURE)
    job = job_store.job(claim.job_id)
    assert (job.status, job.progress, job.message, job.problem) == (
        JobStatus.FAILED,
        40,
        FAILURE.message,
        FAILURE.problem,
    )


def test_a_successful_job_has_its_result(job_store: JobStore) -> None:
    """The outcome's result and media type are the job's, with the time of its end."""
    claim = running(job_store)
    before = datetime.now(UTC)
    assert job_store.finish(claim, SUCCESS)
    details = job_store.details(claim.job_id)
    job = details.job
    assert (job.status, job.message, job.media_type, job.problem) == (
        JobStatus.SUCCESSFUL,
        SUCCESS.message,
        SUCCESS.media_type,
        None,
    )
    assert details.result == SUCCESS.result
    assert job.finished is not None
    assert before <= job.finished == job.updated <= datetime.now(UTC)


def test_an_old_claim_is_worth_nothing(job_store: JobStore) -> None:
    """After a job was claimed anew, the old claim's progress and outcome are refused; the new one's are taken."""
    old = running(job_store, runner_id="gone")
    job_store.finish_lost("s", host="here", is_alive=lambda *_: True, rerun=lambda _: True)
    (details,) = claim_all(job_store, "new")
    new = details.job.claim
    assert new == Claim(old.job_id, 2)
    before = job_store.job(old.job_id)
    assert not job_store.report_progress(old, 50, "late")
    assert not job_store.finish(old, FAILURE)
    assert job_store.job(old.job_id) == before
    assert job_store.report_progress(new, 20, None)
    assert job_store.finish(new, SUCCESS)
    assert job_store.job(old.job_id).status is JobStatus.SUCCESSFUL


def test_a_job_that_waits_again_has_no_claim(job_store: JobStore) -> None:
    """Between two claims the old one is worth nothing either."""
    old = running(job_store, runner_id="gone")
    job_store.finish_lost("s", host="here", is_alive=lambda *_: True, rerun=lambda _: True)
    assert not job_store.report_progress(old, 50, "late")
    assert not job_store.finish(old, SUCCESS)
    assert job_store.status(old.job_id) is JobStatus.ACCEPTED


def _claim_of(job: Job) -> Claim:
    return Claim(job.job_id, job.claim_number)


OPERATIONS: dict[str, Callable[[JobStore, Job], Any]] = {
    "succeed": lambda store, job: store.finish(_claim_of(job), SUCCESS),
    "fail": lambda store, job: store.finish(_claim_of(job), FAILURE),
    "report progress": lambda store, job: store.report_progress(_claim_of(job), 99, "late"),
    "dismiss": lambda store, job: store.dismiss(job.job_id),
    "update status": lambda store, job: store.update(job.job_id, {"status": JobStatus.ACCEPTED, "finished": None}),
    "update message": lambda store, job: store.update(job.job_id, {"message": "late", "progress": 1}),
    "claim": lambda store, _: store.claim("late", limit=9, process_limits={}, record=True),
    "claim with limits": lambda store, _: store.claim("late", limit=9, process_limits={"ndvi": 9}, record=True),
    "lose": lambda store, _: store.finish_lost(
        "sweeper", host="here", is_alive=lambda *_: False, rerun=lambda _: False
    ),
    "lose and rerun": lambda store, _: store.finish_lost(
        "sweeper", host="here", is_alive=lambda *_: False, rerun=lambda _: True
    ),
}


@pytest.mark.parametrize("status", TERMINAL)
def test_a_terminal_status_never_changes(job_store: JobStore, status: JobStatus) -> None:
    """Whatever comes late says that nothing was done, and changes nothing at all."""
    job = ended(job_store, status)
    before = job_store.details(job.job_id)
    for name, operate in OPERATIONS.items():
        assert not operate(job_store, job), name
        assert job_store.details(job.job_id) == before, name


def test_a_job_ends_once(open_job_store: OpenJobStore) -> None:
    """Of many ends that come at the same moment exactly one is taken, and it is the one that stays."""
    store = open_job_store()
    for _ in range(5):
        claim = running(store)
        start = threading.Barrier(4)

        def end(how: str, claim: Claim = claim, start: threading.Barrier = start) -> str | None:
            own = open_job_store()
            own.counts()
            start.wait()
            if how == "dismissed":
                return how if own.dismiss(claim.job_id) else None
            return how if own.finish(claim, SUCCESS if how == "successful" else FAILURE) else None

        with ThreadPoolExecutor(4) as threads:
            taken = [how for how in threads.map(end, ["successful", "failed", "dismissed", "failed"]) if how]
        assert taken == [store.status(claim.job_id).value]


# ---------------------------------------------------------------- list


def test_the_list_is_newest_first_in_pages(job_store: JobStore) -> None:
    """Pages follow each other, newest first, without a gap."""
    names = [accepted(job_store, f"{n}").job_id for n in range(7)]
    listed, _ = job_store.list_jobs()
    pages = [ids(job_store.list_jobs(limit=3, offset=offset)[0]) for offset in (0, 3, 6, 9)]
    assert ids(listed) == names[::-1]
    assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"], []]
    assert ids(job_store.list_jobs(offset=5)[0]) == ["1", "0"]


def test_number_matched_counts_one_beyond_the_page(job_store: JobStore) -> None:
    """As many as match, counted to one beyond the page: a page beyond the end still tells how many there are."""
    for _ in range(5):
        accepted(job_store)
    ended(job_store)
    for statuses, matching in (
        (set(), 6),
        ({JobStatus.RUNNING}, 5),
        ({JobStatus.SUCCESSFUL}, 1),
        ({JobStatus.FAILED}, 0),
    ):
        job_filter = JobFilter(statuses=frozenset(statuses))
        for offset in (0, 1, 4, 5, 6, 50):
            for limit in (1, 3, 5, 6):
                _, number_matched = job_store.list_jobs(job_filter, limit=limit, offset=offset)
                assert number_matched == min(matching, offset + limit + 1), (statuses, limit, offset)
            assert job_store.list_jobs(job_filter, offset=offset)[1] == matching


def test_counts_tell_who_waits_and_who_runs(job_store: JobStore) -> None:
    """Both are always told, and ended jobs are not."""
    assert job_store.counts() == {JobStatus.ACCEPTED: 0, JobStatus.RUNNING: 0}
    ended(job_store)
    running(job_store)
    accepted(job_store)
    accepted(job_store)
    assert job_store.counts() == {JobStatus.ACCEPTED: 2, JobStatus.RUNNING: 1}


# ---------------------------------------------------------------- dismiss and remove


@pytest.mark.parametrize("make", [accepted, running])
def test_a_job_that_has_not_ended_is_dismissed(job_store: JobStore, make: Callable[[JobStore], Any]) -> None:
    """Dismissal ends the job at once, whether it waits or runs, and returns it as it is then."""
    job_id = make(job_store).job_id
    dismissed = job_store.dismiss(job_id)
    assert dismissed is not None
    assert dismissed == job_store.job(job_id)
    assert (dismissed.status, dismissed.message) == (JobStatus.DISMISSED, "Job dismissed")
    assert dismissed.finished == dismissed.updated is not None
    assert claim_all(job_store) == []


def test_a_dismissed_job_leaves_its_runner(job_store: JobStore) -> None:
    """A runner learns of a dismissal by the claim's absence from its outlook."""
    claim = running(job_store, runner_id="r")
    assert job_store.outlook("r").claims == {claim}
    job_store.dismiss(claim.job_id)
    assert job_store.outlook("r").claims == frozenset()


@pytest.mark.parametrize("status", TERMINAL)
@pytest.mark.parametrize("clean_up", [True, False])
def test_an_ended_job_is_removed_with_its_log(job_store: JobStore, status: JobStatus, clean_up: bool) -> None:
    """Nothing of it stays but, where asked for, the order to clean up."""
    job = ended(job_store, status)
    kept = ended(job_store)
    for each in (job, kept):
        job_store.append_logs(each.job_id, 1, [LogLine(datetime.now(UTC), 20, "log", "text")])
    assert job_store.remove(job.job_id, clean_up=clean_up)
    with pytest.raises(UnknownJobError):
        job_store.job(job.job_id)
    with job_store.database.read() as connection:
        assert connection.scalars(select(job_logs.c.job_id)).all() == [kept.job_id]
    assert [row[1:] for row in job_store.next_cleanups(limit=9)] == [(job.job_id, "ndvi")] * clean_up
    assert not job_store.remove(job.job_id, clean_up=True)


@pytest.mark.parametrize("make", [accepted, running])
def test_a_job_that_has_not_ended_is_not_removed(job_store: JobStore, make: Callable[[JobStore], Any]) -> None:
    """Removal is for ended jobs; the others stay, and nothing is cleaned up."""
    job_id = make(job_store).job_id
    before = job_store.details(job_id)
    assert not job_store.remove(job_id, clean_up=True)
    assert job_store.details(job_id) == before
    assert job_store.next_cleanups(limit=9) == []


def test_a_cleanup_is_taken_once(open_job_store: OpenJobStore) -> None:
    """Clean-ups come oldest first, and of many runners one takes each."""
    store = open_job_store()
    removed = [ended(store).job_id for _ in range(12)]
    for job_id in removed:
        store.remove(job_id, clean_up=True)
    assert [job_id for _, job_id, _ in store.next_cleanups(limit=2)] == removed[:2]
    assert store.outlook("r").cleanups_wait

    def take(_: int) -> list[str]:
        own = open_job_store()
        return [job_id for number, job_id, _ in own.next_cleanups(limit=99) if own.take_cleanup(number)]

    with ThreadPoolExecutor(4) as threads:
        assert sorted(chain.from_iterable(threads.map(take, range(4)))) == sorted(removed)
    assert not store.outlook("r").cleanups_wait


# ---------------------------------------------------------------- runners


def test_a_lease_holds_until_it_is_not_renewed(job_store: JobStore) -> None:
    """A lease lapses after its seconds; a renewal counts from its own moment."""
    job_store.register_runner(runner_record("r", host="elsewhere"), lease=1)
    claim = running(job_store, runner_id="r")
    for _ in range(3):
        time.sleep(0.4)
        assert job_store.renew_lease("r", lease=1)
    assert job_store.finish_lost("s", host="here", is_alive=lambda *_: False, rerun=lambda _: False) == []
    assert job_store.renew_lease("r", lease=0.1)
    time.sleep(0.15)
    assert ids(job_store.finish_lost("s", host="here", is_alive=lambda *_: True, rerun=lambda _: False)) == [
        claim.job_id
    ]
    assert not job_store.renew_lease("r", lease=1)


def test_a_lapsed_lease_can_be_renewed_until_it_is_taken(job_store: JobStore) -> None:
    """A runner that was only slow goes on when nobody has taken its jobs yet."""
    job_store.register_runner(runner_record("r", host="elsewhere"), lease=-1)
    running(job_store, runner_id="r")
    assert job_store.renew_lease("r", lease=60)
    assert job_store.finish_lost("s", host="here", is_alive=lambda *_: False, rerun=lambda _: False) == []


def test_a_runner_may_register_again(job_store: JobStore) -> None:
    """Known again, with what it tells then; released, it is unknown."""
    job_store.register_runner(runner_record("r", pid=1), lease=-1)
    job_store.register_runner(runner_record("r", pid=2, host="elsewhere"), lease=60)
    with job_store.database.read() as connection:
        known = connection.execute(select(runners.c.runner_id, runners.c.host, runners.c.pid)).all()
    assert [tuple(row) for row in known] == [("r", "elsewhere", 2)]
    job_store.release_runner("r")
    assert not job_store.renew_lease("r", lease=1)


GONE: dict[str, Callable[[JobStore], None]] = {
    "lapsed elsewhere": lambda store: store.register_runner(runner_record("r", host="elsewhere"), lease=-1),
    "lapsed here": lambda store: store.register_runner(runner_record("r"), lease=-1),
    "dead here": lambda store: store.register_runner(runner_record("r", pid=999), lease=60),
    "unknown": lambda store: None,
}


def _only_999_is_dead(pid: int, started: float) -> bool:
    assert started == 1.0
    return pid != 999


@pytest.mark.parametrize("gone", GONE)
def test_jobs_of_a_gone_runner_end(job_store: JobStore, gone: str) -> None:
    """They fail with the reason and a problem, and the runner is known no more."""
    GONE[gone](job_store)
    claim = running(job_store, runner_id="r")
    waiting = accepted(job_store)
    (lost,) = job_store.finish_lost("s", host="here", is_alive=_only_999_is_dead, rerun=lambda _: False)
    assert lost == job_store.job(claim.job_id)
    assert lost.problem is not None
    assert (lost.status, lost.problem.status, lost.problem.detail) == (JobStatus.FAILED, 500, lost.message)
    assert "lost" in lost.message
    assert lost.finished == lost.updated is not None
    assert not job_store.renew_lease("r", lease=1)
    assert not job_store.finish(claim, SUCCESS)
    assert job_store.job(waiting.job_id) == waiting
    assert job_store.finish_lost("s", host="here", is_alive=_only_999_is_dead, rerun=lambda _: False) == []


LIVING: dict[str, RunnerRecord] = {
    "here": runner_record("r"),
    "elsewhere": runner_record("r", host="elsewhere"),
    "elsewhere, same pid as a dead one here": runner_record("r", host="elsewhere", pid=999),
}


@pytest.mark.parametrize("living", LIVING)
def test_a_living_runner_is_left_alone(job_store: JobStore, living: str) -> None:
    """A live lease is enough on another host, whatever its process id means here; on this one its process lives."""
    job_store.register_runner(LIVING[living], lease=60)
    claim = running(job_store, runner_id="r")
    before = job_store.job(claim.job_id)
    assert job_store.finish_lost("s", host="here", is_alive=_only_999_is_dead, rerun=lambda _: True) == []
    assert job_store.job(claim.job_id) == before
    assert job_store.renew_lease("r", lease=60)
    assert job_store.finish(claim, SUCCESS)


def test_a_runner_that_renews_in_time_keeps_its_jobs(open_job_store: OpenJobStore) -> None:
    """A lease renewed while another runner sweeps saves the jobs, even when the sweep saw it lapsed."""
    store, late = open_job_store(), open_job_store()
    store.register_runner(runner_record("slow", host="elsewhere"), lease=-1)
    store.register_runner(runner_record("dead", pid=999), lease=60)
    saved = running(store, runner_id="slow")
    lost = running(store, runner_id="dead")

    def is_alive(pid: int, started: float) -> bool:
        assert late.renew_lease("slow", lease=60)
        return _only_999_is_dead(pid, started)

    assert ids(store.finish_lost("s", host="here", is_alive=is_alive, rerun=lambda _: False)) == [lost.job_id]
    assert store.finish(saved, SUCCESS)


def test_a_lost_job_runs_again_where_its_process_says_so(job_store: JobStore) -> None:
    """It waits again with its request and progress, before the ones that came later, and its next claim is higher."""
    claim = running(job_store, "again", "may", runner_id="gone", request={"inputs": {"x": 7}})
    never = running(job_store, "never", "may not", runner_id="gone")
    later = accepted(job_store, "later", "may")
    job_store.report_progress(claim, 60, "far")
    lost = job_store.finish_lost(
        "sweeper", host="here", is_alive=lambda *_: True, rerun=lambda process_id: process_id == "may"
    )
    assert {job.job_id: job.status for job in lost} == {
        "again": JobStatus.ACCEPTED,
        never.job_id: JobStatus.FAILED,
    }
    waiting = job_store.job("again")
    assert (waiting.runner_id, waiting.finished, waiting.progress) == (None, None, 60)
    assert "lost" in waiting.message
    claimed = claim_all(job_store, "new")
    assert ids(claimed) == ["again", later.job_id]
    assert (claimed[0].job.claim_number, claimed[0].request) == (2, {"inputs": {"x": 7}})


def test_many_sweeps_lose_a_job_once(open_job_store: OpenJobStore) -> None:
    """Runners that sweep at the same moment report each lost job once among them."""
    store = open_job_store()
    expected = sorted(running(store, runner_id="gone").job_id for _ in range(20))
    start = threading.Barrier(4)

    def sweep(_: int) -> list[str]:
        own = open_job_store()
        own.counts()
        start.wait()
        return ids(own.finish_lost("s", host="here", is_alive=lambda *_: True, rerun=lambda _: False))

    with ThreadPoolExecutor(4) as threads:
        assert sorted(chain.from_iterable(threads.map(sweep, range(4)))) == expected


def test_the_outlook_is_one_runners_own(job_store: JobStore) -> None:
    """Claims of others are not in it; waiting jobs and clean-ups are everybody's."""
    outlook = job_store.outlook("r1")
    assert (outlook.claims, outlook.jobs_wait, outlook.cleanups_wait) == (frozenset(), False, False)
    mine, other = running(job_store, runner_id="r1"), running(job_store, runner_id="r2")
    accepted(job_store)
    assert (job_store.outlook("r1").claims, job_store.outlook("r2").claims) == ({mine}, {other})
    assert job_store.outlook("r3").jobs_wait
    assert not job_store.outlook("r3").cleanups_wait


# ---------------------------------------------------------------- logs


def line(text: str, **changes: Any) -> LogLine:
    return LogLine(**{"time": datetime.now(UTC), "level": logging.INFO, "logger": "log", "text": text} | changes)


def test_log_lines_keep_their_order(job_store: JobStore) -> None:
    """They come back as they were written, in the order of their numbers, from any line on."""
    claim = running(job_store)
    other = running(job_store)
    lines = [line(f"line {n}", level=n * 10, logger=f"l{n}") for n in range(1, 6)]
    job_store.append_logs(claim.job_id, 4, lines[3:])
    job_store.append_logs(claim.job_id, 1, lines[:3])
    job_store.append_logs(other.job_id, 1, [line("other")])
    job_store.append_logs(claim.job_id, 6, [])
    assert job_store.logs(claim.job_id) == lines
    assert job_store.logs(claim.job_id, after=2, limit=2) == lines[2:4]


def test_a_log_line_is_written_once(job_store: JobStore) -> None:
    """Lines that are sent again, after an outage, change nothing."""
    claim = running(job_store)
    first = [line("a"), line("b")]
    job_store.append_logs(claim.job_id, 1, first)
    job_store.append_logs(claim.job_id, 1, [line("x"), line("y"), line("c")])
    assert [each.text for each in job_store.logs(claim.job_id)] == ["a", "b", "c"]


def test_log_lines_are_cut(job_store: JobStore) -> None:
    """A text holds at most 8192 characters, a logger's name 255."""
    claim = running(job_store)
    job_store.append_logs(claim.job_id, 1, [line("x" * 9000, logger="y" * 300)])
    (stored,) = job_store.logs(claim.job_id)
    assert (len(stored.text), len(stored.logger)) == (8192, 255)


def test_logs_of_a_deleted_job_are_dropped(job_store: JobStore) -> None:
    """What a worker still says about a job that is gone disturbs nobody."""
    job = ended(job_store)
    job_store.remove(job.job_id, clean_up=False)
    job_store.append_logs(job.job_id, 1, [line("late")])
    assert job_store.logs(job.job_id) == []


# ---------------------------------------------------------------- recordings


def recorded(store: JobStore) -> dict[str, Recording]:
    found = [*store.recordings(ended=False, limit=MANY), *store.recordings(ended=True, limit=MANY)]
    return {recording.job_id: recording for recording in found}


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("record", [True, False])
def test_a_claimed_job_is_recorded_if_both_want_it(job_store: JobStore, wanted: bool, record: bool) -> None:
    """The job's process and the runner must both want it."""
    accepted(job_store, "j", recorded=wanted)
    (details,) = claim_all(job_store, record=record)
    expected = {"j": Recording("j", "ndvi", None, 0, details, False)} if wanted and record else {}
    assert recorded(job_store) == expected
    assert job_store.recording_backlog() == len(expected)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_job_dismissed_while_it_waited_is_recorded(job_store: JobStore, wanted: bool) -> None:
    """It never was claimed, and Prefect shows it all the same, where its process wants that."""
    job = accepted(job_store, recorded=wanted)
    job_store.dismiss(job.job_id)
    assert ids(job_store.recordings(ended=True, limit=9)) == [job.job_id] * wanted


def test_a_dismissed_job_is_recorded_once(job_store: JobStore) -> None:
    """A job that was wanted at its claim is not wanted a second time at its dismissal."""
    claim = running(job_store)
    job_store.update_recording(claim.job_id, logs_sent=3)
    job_store.dismiss(claim.job_id)
    (recording,) = job_store.recordings(ended=True, limit=9)
    assert recording.logs_sent == 3


def test_recordings_tell_ended_jobs_from_running_ones(job_store: JobStore) -> None:
    """Each job is in exactly one of the two lists, oldest first."""
    over = [ended(job_store, status).job_id for status in TERMINAL]
    under_way = [running(job_store).job_id for _ in range(2)]
    assert [r.job_id for r in job_store.recordings(ended=True, limit=9)] == over
    assert [r.job_id for r in job_store.recordings(ended=False, limit=9)] == under_way
    assert [r.job_id for r in job_store.recordings(ended=True, limit=2)] == over[:2]


def test_a_recording_goes_on_where_it_stopped(job_store: JobStore) -> None:
    """Flow run and sent lines are kept for the next recorder, the flow run also in the job; the end removes it."""
    claim = running(job_store)
    flow_run_id = uuid4()
    job_store.update_recording(claim.job_id, flow_run_id=flow_run_id)
    job_store.update_recording(claim.job_id, logs_sent=12)
    recording = recorded(job_store)[claim.job_id]
    assert (recording.flow_run_id, recording.logs_sent) == (flow_run_id, 12)
    assert job_store.job(claim.job_id).flow_run_id == flow_run_id
    job_store.end_recording(claim.job_id)
    assert recorded(job_store) == {}
    assert job_store.recording_backlog() == 0


@pytest.mark.parametrize("status", TERMINAL)
def test_a_recording_survives_its_job(job_store: JobStore, status: JobStatus) -> None:
    """A job deleted before Prefect had it is recorded as it was, without its result and its log."""
    job = ended(job_store, status, request={"inputs": {"x": "ü"}, "outputs": None})
    job_store.update_recording(job.job_id, flow_run_id=uuid4(), logs_sent=2)
    before = recorded(job_store)[job.job_id]
    job_store.remove(job.job_id, clean_up=False)
    after = recorded(job_store)[job.job_id]
    assert after == replace(before, is_deleted=True, details=replace(before.details, result=None))
    job_store.end_recording(job.job_id)
    assert recorded(job_store) == {}


def test_a_rerun_job_is_recorded_once(job_store: JobStore) -> None:
    """A second claim goes on with the recording of the first."""
    claim = running(job_store, runner_id="gone")
    flow_run_id = uuid4()
    job_store.update_recording(claim.job_id, flow_run_id=flow_run_id)
    job_store.finish_lost("s", host="here", is_alive=lambda *_: True, rerun=lambda _: True)
    claim_all(job_store, "new")
    assert job_store.recording_backlog() == 1
    assert recorded(job_store)[claim.job_id].flow_run_id == flow_run_id


@pytest.mark.parametrize(("keep", "given_up"), [(0, 5), (2, 3), (5, 0), (9, 0)])
def test_trimming_keeps_the_newest_recordings(job_store: JobStore, keep: int, given_up: int) -> None:
    """The oldest beyond those to keep are given up; the jobs themselves stay."""
    made = [ended(job_store).job_id for _ in range(5)]
    assert job_store.trim_recordings(keep) == given_up
    assert [*recorded(job_store)] == made[given_up:]
    assert job_store.list_jobs()[1] == 5


# ---------------------------------------------------------------- times, records, constraints


def test_times_are_aware_utc(job_store: JobStore) -> None:
    """Whatever zone a time was given in, it comes back as the same moment, in UTC, to the microsecond."""
    created = datetime(2026, 7, 1, 1, 2, 3, 456789, tzinfo=timezone(timedelta(hours=9)))
    job = ended(job_store, created=created)
    job_store.append_logs(job.job_id, 1, [line("x", time=created)])
    times = [job.created, job.updated, job.started, job.finished, job_store.logs(job.job_id)[0].time]
    assert all(at is not None and at.tzinfo is UTC for at in times)
    assert times[0] == times[-1] == created


def test_records_are_frozen(job_store: JobStore) -> None:
    """What comes out of the store is a statement about it, not a handle to it."""
    details = job_store.details(accepted(job_store).job_id)
    for record in (details, details.job, details.job.claim, SUCCESS, FAILURE.problem, line("x")):
        with pytest.raises(FrozenInstanceError):
            setattr(record, fields(record)[0].name, None)  # type: ignore[arg-type]


def test_an_imported_job_is_as_it_is_told(job_store: JobStore) -> None:
    """A job from elsewhere keeps its status and times, and is executed by nobody when it has ended."""
    at = datetime(2020, 1, 1, tzinfo=UTC)
    job_store.add(
        "old", "ndvi", {"status": JobStatus.SUCCESSFUL, "created": at, "started": at, "finished": at, "progress": 100}
    )
    job = job_store.job("old")
    assert (job.status, job.created, job.finished, job.progress, job.recorded) == (
        JobStatus.SUCCESSFUL,
        at,
        at,
        100,
        False,
    )
    assert claim_all(job_store) == []


VALID = {"process_id": "p", "message": "", "progress": 0, "request": {}, "recorded": False}
REFUSED: dict[str, dict[str, Any]] = {
    "running without a runner": {"status": JobStatus.RUNNING, "started": datetime.now(UTC)},
    "running without a start": {"status": JobStatus.RUNNING, "runner_id": "r"},
    "running and finished": {
        "status": JobStatus.RUNNING,
        "runner_id": "r",
        "started": datetime.now(UTC),
        "finished": datetime.now(UTC),
    },
    "accepted and finished": {"status": JobStatus.ACCEPTED, "finished": datetime.now(UTC)},
    **{f"{status} without an end": {"status": status} for status in TERMINAL},
    "negative progress": {"status": JobStatus.ACCEPTED, "progress": -1},
    "too much progress": {"status": JobStatus.ACCEPTED, "progress": 101},
    "no status": {"status": None},
    "no request": {"status": JobStatus.ACCEPTED, "request": None},
}


def test_the_database_refuses_impossible_jobs(job_store: JobStore) -> None:
    """The constraints hold without our code: for inserts and for updates of a possible job."""
    now = datetime.now(UTC)
    accepted(job_store, "possible")
    for why, changes in REFUSED.items():
        values = VALID | {"created": now, "updated": now} | changes
        for statement in (
            insert(jobs).values(job_id="impossible", **values),
            update(jobs).where(jobs.c.job_id == "possible").values(**values),
        ):
            with pytest.raises(IntegrityError), job_store.database.write() as connection:
                connection.execute(statement)
                pytest.fail(f"{why} was accepted")
    assert ids(job_store.list_jobs()[0]) == ["possible"]


@pytest.mark.parametrize("table", [jobs, recordings], ids=lambda table: table.name)
def test_numbers_are_never_used_twice(job_store: JobStore, table: Any) -> None:
    """Order of arrival rises over deletions too."""
    seen = []
    for _ in range(3):
        job = ended(job_store)
        with job_store.database.read() as connection:
            seen.append(connection.scalar(select(table.c.number).where(table.c.job_id == job.job_id)))
        job_store.remove(job.job_id, clean_up=False)
        job_store.end_recording(job.job_id)
    assert seen == sorted(set(seen))


def test_a_failure_has_the_status_that_its_process_chose(job_store: JobStore) -> None:
    """Also one that HTTP has no name for: who asks for the result gets it, and not an error of ours."""
    claim = running(job_store)
    assert job_store.finish(claim, Outcome.failed("The moon is full", status=450))
    error = job_store.job(claim.job_id).why_no_result()
    assert error is not None
    assert (int(error.http_status_code), error.client_message) == (450, "The moon is full")
