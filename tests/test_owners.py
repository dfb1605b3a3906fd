"""Whose jobs they are: what others see of them, on both databases."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from factories import MANY, accepted, claim_all, ended, new_job, running
from pygeoapi_prefect.exceptions import (
    IdempotencyKeyReusedError,
    JobExistsError,
    JobOfAnotherError,
    QueueFullError,
    UnknownJobError,
    UserQueueFullError,
)
from pygeoapi_prefect.identity import User, grantee_of
from pygeoapi_prefect.jobs import IdempotencyKey, JobFilter, JobStore, LogLine
from pygeoapi_prefect.jobs.records import utc_now
from pygeoapi_prefect.schemas import JobStatus

ISSUER = "https://issuer.example.org"


def user(subject: str, **changes: Any) -> User:
    """A user of the tests' issuer."""
    return User(issuer=ISSUER, subject=subject, name=subject, **changes)


ANN, BOB, ADMIN = user("ann"), user("bob"), user("root", is_admin=True)
NAMESAKE = replace(ANN, issuer="https://elsewhere.example.org")
STRANGERS = {"another user": BOB, "a namesake of another issuer": NAMESAKE, "nobody known": None}


def listed(store: JobStore, **changes: Any) -> list[str]:
    """The ids of the jobs that are listed."""
    return [job.job_id for job in store.list_jobs(JobFilter(**changes))[0]]


# ---------------------------------------------------------------- one's own, and others'


@pytest.mark.parametrize("who", STRANGERS)
def test_for_others_there_is_no_such_job(job_store: JobStore, who: str) -> None:
    """Nothing tells a job of somebody else from one that there is not; not even the texts of the errors."""
    job = ended(job_store, user=ANN)
    job_store.append_logs(job.job_id, 1, [LogLine(utc_now(), 20, "a", "text")])
    seen = job_store.seen_by(STRANGERS[who])
    calls: dict[str, Callable[[str], object]] = {
        "job": seen.job,
        "details": seen.details,
        "status": seen.status,
        "dismiss": seen.dismiss,
        "remove": lambda job_id: seen.remove(job_id, clean_up=False),
    }
    for name, call in calls.items():
        told = []
        for job_id in (job.job_id, "0" * len(job.job_id)):
            with pytest.raises(UnknownJobError) as error:
                call(job_id)
            told.append((str(error.value).replace(job_id, "…"), error.value.client_message))
        assert told[0] == told[1], name
    assert seen.logs(job.job_id) == []
    assert seen.list_jobs() == ([], 0)
    assert seen.list_jobs(limit=1, offset=1) == ([], 0)
    assert job_store.job(job.job_id) == job


@pytest.mark.parametrize("who", ["owner", "administrator"])
def test_owners_and_administrators_see_and_change(job_store: JobStore, who: str) -> None:
    """A job is its owner's, and an administrator's: as if nobody else were there."""
    first = ended(job_store, user=ANN)
    job_store.append_logs(first.job_id, 1, [LogLine(utc_now(), 20, "a", "text")])
    second = accepted(job_store, user=ANN)
    seen = job_store.seen_by(ANN if who == "owner" else ADMIN)
    assert seen.job(first.job_id) == first
    assert seen.details(first.job_id) == job_store.details(first.job_id)
    assert seen.status(first.job_id) == JobStatus.SUCCESSFUL
    assert [line.text for line in seen.logs(first.job_id)] == ["text"]
    assert listed(seen) == [second.job_id, first.job_id]
    dismissed = seen.dismiss(second.job_id)
    assert dismissed is not None
    assert dismissed.status == JobStatus.DISMISSED
    assert seen.remove(first.job_id, clean_up=False)
    assert listed(job_store) == [second.job_id]


def test_a_job_of_nobody_is_listed_for_nobody(job_store: JobStore) -> None:
    """Whoever is unknown and has the id may read and dismiss it; known users may not, an administrator lists it."""
    job = accepted(job_store)
    unknown = job_store.seen_by(None)
    assert unknown.job(job.job_id) == job
    assert unknown.details(job.job_id) == job_store.details(job.job_id)
    assert listed(unknown) == []
    with pytest.raises(UnknownJobError):
        job_store.seen_by(ANN).job(job.job_id)
    assert listed(job_store.seen_by(ADMIN)) == [job.job_id]
    assert unknown.dismiss(job.job_id) is not None


def test_issuer_and_subject_are_told_apart() -> None:
    """No subject or group of one issuer reads as a subject or group of another."""
    texts = [
        grantee_of("https://a", subject="x y"),
        grantee_of("https://a", group="x y"),
        grantee_of("https://b", subject="x y"),
        grantee_of("https://b", group="x y"),
    ]
    assert len(set(texts)) == 4
    assert user("ann", groups=frozenset({"g"})).grantees == {f"user {ISSUER} ann", f"group {ISSUER} g"}


# ---------------------------------------------------------------- shares


@pytest.mark.parametrize(
    ("grantee", "reader"),
    [
        (grantee_of(ISSUER, subject="bob"), BOB),
        (grantee_of(ISSUER, group="hydrology"), user("eve", groups=frozenset({"hydrology", "other"}))),
    ],
    ids=["subject", "group"],
)
def test_a_shared_job_is_read_and_not_changed(job_store: JobStore, grantee: str, reader: User) -> None:
    """Until it is shared no more; others see nothing of it meanwhile."""
    job = ended(job_store, user=ANN)
    job_store.append_logs(job.job_id, 1, [LogLine(utc_now(), 20, "a", "text")])
    job_store.share(job.job_id, grantee)
    job_store.share(job.job_id, grantee)
    assert job_store.grantees(job.job_id) == [grantee]
    seen = job_store.seen_by(reader)
    assert seen.job(job.job_id) == job
    assert seen.details(job.job_id) == job_store.details(job.job_id)
    assert [line.text for line in seen.logs(job.job_id)] == ["text"]
    assert listed(seen) == [job.job_id]
    with pytest.raises(JobOfAnotherError):
        seen.dismiss(job.job_id)
    with pytest.raises(JobOfAnotherError):
        seen.remove(job.job_id, clean_up=False)
    for other in (user("mallory", groups=frozenset({"bob"})), replace(reader, issuer="https://b"), None):
        with pytest.raises(UnknownJobError):
            job_store.seen_by(other).job(job.job_id)
    assert job_store.unshare(job.job_id, grantee)
    assert not job_store.unshare(job.job_id, grantee)
    assert listed(seen) == []


def test_shares_go_with_their_job(job_store: JobStore) -> None:
    """A job that comes later under the same id is shared with nobody."""
    job = ended(job_store, user=ANN, job_id="one")
    job_store.share("one", grantee_of(ISSUER, subject="bob"))
    assert job_store.remove(job.job_id, clean_up=False)
    accepted(job_store, "one", user=ANN)
    assert job_store.grantees("one") == []
    with pytest.raises(UnknownJobError):
        job_store.share("none", grantee_of(ISSUER, subject="bob"))


# ---------------------------------------------------------------- the list


def test_own_and_shared_jobs_are_one_list(job_store: JobStore) -> None:
    """Newest first, each once, page by page, filtered; jobs of others are neither listed nor counted."""
    group = user("ann", groups=frozenset({"g"}))
    mine = []
    for number in range(12):
        owner = (ANN, BOB, None)[number % 3]
        job = accepted(job_store, f"{number}", f"p{number % 2}", user=owner)
        if number in (4, 6, 10):
            # twice, and with an owner
            job_store.share(job.job_id, grantee_of(ISSUER, subject="ann"))
            job_store.share(job.job_id, grantee_of(ISSUER, group="g"))
            job_store.share(job.job_id, grantee_of(ISSUER, subject="bob"))
        if owner is ANN or number % 6 == 4:
            mine.append(job.job_id)
    mine.reverse()
    seen = job_store.seen_by(group)
    assert listed(seen) == mine == ["10", "9", "6", "4", "3", "0"]
    for limit in (1, 2, 4, 6, 7):
        pages = []
        for offset in range(0, len(mine), limit):
            found, matched = seen.list_jobs(limit=limit, offset=offset)
            assert matched == min(offset + limit + 1, len(mine))
            pages += [job.job_id for job in found]
        assert pages == mine
    assert seen.list_jobs(limit=3, offset=6) == ([], 6)
    assert listed(seen, process_ids=frozenset({"p0"})) == ["10", "6", "4", "0"]
    claim_all(job_store)
    job_store.dismiss("4")
    job_store.dismiss("3")
    job_store.dismiss("5")
    assert listed(seen, statuses=frozenset({JobStatus.DISMISSED})) == ["4", "3"]
    assert listed(seen, statuses=frozenset({JobStatus.RUNNING}), process_ids=frozenset({"p1"})) == ["9"]
    assert set(listed(seen, min_seconds=0)) == set(mine)
    assert listed(seen, min_seconds=1000) == []
    assert listed(seen, created_until=job_store.job("4").created) == ["4", "3", "0"]


# ---------------------------------------------------------------- what makes jobs


def test_idempotency_keys_are_their_owners(job_store: JobStore) -> None:
    """The key of somebody else is free, and tells nothing of their request."""
    made = {}
    for who in (ANN, BOB, NAMESAKE, None):
        digest = f"request of {who and who.key}"
        job = new_job(user=who, idempotency_key=IdempotencyKey("1", digest))
        made[who and who.key] = job_store.seen_by(who).submit(job, max_waiting=MANY)
        again = new_job(user=who, idempotency_key=IdempotencyKey("1", digest))
        assert job_store.seen_by(who).submit(again, max_waiting=MANY) == job.job_id
        with pytest.raises(IdempotencyKeyReusedError):
            job_store.submit(new_job(user=who, idempotency_key=IdempotencyKey("1", "x")), max_waiting=MANY)
    assert len(set(made.values())) == 4


def test_a_taken_id_tells_nothing_of_its_job(job_store: JobStore) -> None:
    """An id is unique among all owners, so it is refused; only who may read the job hears that it is one."""
    accepted(job_store, "one", user=ANN)
    told = {}
    for who in (ANN, BOB, None, ADMIN):
        with pytest.raises(JobExistsError) as error:
            job_store.seen_by(who).submit(new_job("one", user=who), max_waiting=MANY)
        told[who and who.subject] = str(error.value)
    cannot = "The job id 'one' cannot be had. Propose another one."
    there_is = "There is a job 'one' already."
    assert told == {"ann": there_is, "bob": cannot, None: cannot, "root": there_is}


def test_each_user_may_have_so_many_jobs_waiting(job_store: JobStore) -> None:
    """One more is refused; jobs of others, and one's own that run, do not count. Those of nobody are one user's."""
    for who in (ANN, None):
        for _ in range(2):
            job_store.submit(new_job(user=who), max_waiting=MANY, max_waiting_per_user=2)
        with pytest.raises(UserQueueFullError) as error:
            job_store.submit(new_job(user=who), max_waiting=MANY, max_waiting_per_user=2)
        assert error.value.http_status_code == 429
    job_store.submit(new_job(user=BOB), max_waiting=MANY, max_waiting_per_user=2)
    with pytest.raises(QueueFullError) as full:
        job_store.submit(new_job(user=BOB), max_waiting=5, max_waiting_per_user=2)
    assert full.value.http_status_code == 503
    claim_all(job_store)
    job_store.submit(new_job(user=ANN), max_waiting=MANY, max_waiting_per_user=2)
    assert len(listed(job_store)) == 6


def test_without_a_view_nothing_is_asked_of_owners(job_store: JobStore) -> None:
    """A server without authentication pays nothing: its statements know neither owners nor shares in a condition."""
    running(job_store)
    statements: list[str] = []

    def remember(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement.partition("WHERE")[2])

    event.listen(job_store.database._engine, "before_cursor_execute", remember)
    job_store.list_jobs(limit=5)
    (job,) = job_store.list_jobs()[0]
    job_store.job(job.job_id)
    job_store.logs(job.job_id)
    job_store.dismiss(job.job_id)
    assert len(statements) > 4
    assert [one for one in statements if "owner =" in one or "shares" in one] == []
