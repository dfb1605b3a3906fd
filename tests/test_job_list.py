"""Laws of the list of jobs: what its parameters mean, which jobs fit them, and what it costs to find those."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import delete, event, insert

from conftest import PostgreSQL
from factories import TERMINAL, accepted, ended, label, new_job, running
from pygeoapi_prefect.exceptions import InvalidParameterError
from pygeoapi_prefect.identity import User, grantee_of
from pygeoapi_prefect.jobs import Job, JobFilter, JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.tables import job_shares, jobs
from pygeoapi_prefect.schemas import JobStatus

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MANY = 20_000
PAGE = 10


def parse(**parameters: str | list[str]) -> JobFilter:
    return JobFilter.parse({name: [value] if isinstance(value, str) else value for name, value in parameters.items()})


# ---------------------------------------------------------------- parameters


def test_no_parameter_is_every_job() -> None:
    """Without parameters, or with those of others, nothing is left out."""
    assert parse() == parse(f="json", lang="de", limit="5", type="process") == JobFilter()


@pytest.mark.parametrize(
    "values", [["failed,running"], ["failed", "running"], ["running", "failed,running"]], ids=label
)
def test_lists_are_written_with_commas_or_by_repetition(values: list[str]) -> None:
    """Both ways mean the same, and so does their mixture."""
    assert parse(status=values).statuses == {JobStatus.FAILED, JobStatus.RUNNING}
    assert parse(processID=values).process_ids == {"failed", "running"}


MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1) - MICROSECOND
TIMES = {
    "2026-01-31T12:00:00Z": (NOON, NOON + SECOND),
    "2026-01-31t12:00:00z": (NOON, NOON + SECOND),
    "2026-01-31T13:30:00+01:30": (NOON, NOON + SECOND),
    "2026-01-31T13:30:00 01:30": (NOON, NOON + SECOND),
    "2026-01-31T10:00:00-02:00": (NOON, NOON + SECOND),
    "2026-01-31T12:00:00.000Z": (NOON, NOON + timedelta(milliseconds=1) - MICROSECOND),
    "2026-01-31T12:00:00.000000Z": (NOON, NOON),
    "2026-01-31T12:00:00.000000999Z": (NOON, NOON),
    "2026-01-31T12:00:00Z/2026-01-31T13:00:00Z": (NOON, NOON + timedelta(hours=1) + SECOND),
    "2026-01-31T12:00:00Z/2026-01-31T12:00:00Z": (NOON, NOON + SECOND),
    "../2026-01-31T12:00:00Z": (None, NOON + SECOND),
    "/2026-01-31T12:00:00Z": (None, NOON + SECOND),
    "2026-01-31T12:00:00Z/..": (NOON, None),
    "2026-01-31T12:00:00Z/": (NOON, None),
}


@pytest.mark.parametrize("value", TIMES)
def test_times_are_moments_or_intervals(value: str) -> None:
    """A time stands for as long as its last digit says; intervals include both ends, and may be open at one."""
    found = parse(datetime=value)
    assert (found.created_from, found.created_until) == TIMES[value]


def test_durations_are_seconds() -> None:
    """Both limits may be given, and may be the same."""
    assert parse(minDuration="0", maxDuration="0") == JobFilter(min_seconds=0, max_seconds=0)
    assert parse(minDuration="5", maxDuration="3600") == JobFilter(min_seconds=5, max_seconds=3600)


WRONG = {
    "type": ["", "job", "process,job", "Process", ["process", "other"]],
    "processID": ["", ",", "a,", ["a", ""], "a\x00", "a\ud800"],
    "status": ["", "done", "failed,", "failed,,running", "Failed", "failed running", ["failed", "x"]],
    "datetime": [
        "",
        "/",
        "..",
        "../..",
        "now",
        "2026",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00Z",
        "2026-02-30T12:00:00Z",
        "2026-01-31T25:00:00Z",
        "2026-01-31T12:00:00+99:00",
        "0001-01-01T00:00:00+01:00",
        "2026-01-31T12:00:00.Z",
        "２026-01-31T12:00:00Z",
        "2026-01-31T12:00:00Z/2026-01-31T11:00:00Z",
        "2026-01-31T12:00:00Z/2026-01-31T13:00:00Z/2026-01-31T14:00:00Z",
        ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"],
    ],
    "minDuration": ["", "-1", "+1", "1.5", "1,2", "x", "nan", "inf", "1e3", "9" * 10, "٣", ["1", "2"]],
    "maxDuration": ["", "-1", "1,2", ["1", "2"]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]], ids=label)
def test_wrong_values_are_named(name: str, value: str | list[str]) -> None:
    """Each is refused with 400, and the client reads which parameter it is."""
    with pytest.raises(InvalidParameterError, match=f"^'{name}' must ") as refused:
        parse(**{name: value})
    assert refused.value.http_status_code == 400


def test_limits_that_nothing_fits_are_refused() -> None:
    """The least duration is not above the greatest."""
    with pytest.raises(InvalidParameterError, match="'minDuration' must not be greater than 'maxDuration'"):
        parse(minDuration="2", maxDuration="1")


# ---------------------------------------------------------------- which jobs fit


def fits(job: Job, given: JobFilter, now: datetime) -> bool:
    """What the standard says of one job."""
    seconds = (job.finished or now) - job.started if job.started else None
    return (
        (not given.process_ids or job.process_id in given.process_ids)
        and (not given.statuses or job.status in given.statuses)
        and (given.created_from is None or job.created >= given.created_from)
        and (given.created_until is None or job.created <= given.created_until)
        and (given.min_seconds is None or (seconds is not None and seconds >= timedelta(seconds=given.min_seconds)))
        and (given.max_seconds is None or (seconds is not None and seconds <= timedelta(seconds=given.max_seconds)))
    )


def test_exactly_the_jobs_that_fit_are_listed(job_store: JobStore) -> None:
    """
    Every filter and all of them together leave out what does not fit, and nothing else: from the page and from the
    count. Ended jobs last from start to end, running ones until now; those that have not started have no duration.
    """
    now = datetime.now(UTC)
    for number in range(60):
        created = NOON + timedelta(minutes=number)
        status = list(JobStatus)[number % 5]
        columns: dict[str, Any] = {"status": status, "created": created}
        if status is not JobStatus.ACCEPTED:
            columns["started"] = created if status.is_terminal else now - timedelta(seconds=1000 * number)
        if status.is_terminal:
            columns["finished"] = created + timedelta(seconds=number % 7)
        if number == 4:
            # dismissed before it started
            assert status is JobStatus.DISMISSED
            del columns["started"]
        job_store.add(f"{number}", "abc"[number % 3], columns)
    every, number_matched = job_store.list_jobs()
    assert number_matched == 60
    choices = product(
        [frozenset(), frozenset("a"), frozenset("bc"), frozenset("d")],
        [frozenset(), frozenset({JobStatus.RUNNING}), frozenset(TERMINAL)],
        [None, NOON + timedelta(minutes=10)],
        [None, NOON + timedelta(minutes=50)],
        [None, 0, 3],
        [None, 3, 20_500],
    )
    for given in (JobFilter(*choice) for choice in choices):
        found, number_matched = job_store.list_jobs(given)
        wanted = [job.job_id for job in every if fits(job, given, datetime.now(UTC))]
        assert ([job.job_id for job in found], number_matched) == (wanted, len(wanted)), given


def test_the_list_filters_by_status(job_store: JobStore) -> None:
    """A status keeps the others out of the page and out of the count."""
    made = {status: ended(job_store, status).job_id for status in TERMINAL}
    made[JobStatus.RUNNING] = running(job_store).job_id
    made[JobStatus.ACCEPTED] = accepted(job_store).job_id
    assert set(made) == set(JobStatus)
    for status, job_id in made.items():
        found, number_matched = job_store.list_jobs(JobFilter(statuses=frozenset({status})), limit=10)
        assert ([job.job_id for job in found], number_matched) == ([job_id], 1)


def test_jobs_of_the_same_moment_keep_their_order(job_store: JobStore) -> None:
    """Pages follow each other without gap or repetition, whatever the times of creation."""
    for number in range(9):
        job_store.add(f"{number}", "a", {"status": JobStatus.ACCEPTED, "created": NOON - timedelta(days=number // 3)})
    pages = [job_store.list_jobs(limit=2, offset=offset)[0] for offset in range(0, 9, 2)]
    assert "".join(job.job_id for page in pages for job in page) == "210543876"


# ---------------------------------------------------------------- what it costs


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def large_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgresql: PostgreSQL
) -> Iterator[JobStore]:
    """20,000 jobs, nearly all of them successful; of each thing that is looked for there are a few old ones."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('large')}/jobs.db"
    else:
        postgresql.execute("CREATE DATABASE large_store")
        url = postgresql.url("large_store").render_as_string(hide_password=False)
    store = JobStore(Database(url, timeout=10))
    columns = {"message": "", "progress": 0, "request": {}, "recorded": False, "runner_id": "runner"}
    rows = [
        columns
        | {
            "job_id": f"{number}",
            "process_id": "rare" if number < 5 else "usual",
            "status": JobStatus.FAILED if number < 5 else JobStatus.SUCCESSFUL,
            "created": NOON + timedelta(minutes=number),
            "updated": NOON,
            "started": NOON,
            "finished": NOON + timedelta(seconds=1000 if number < 5 else number % 100),
            # one owner has few jobs, old and new ones
            "owner": RARE.key if number % (MANY // 10) == 0 else USUAL.key,
        }
        for number in range(MANY)
    ]
    with store.database.write() as connection:
        connection.execute(insert(jobs), rows)
        shared = {"job_id": "7", "grantee": grantee_of(RARE.issuer, subject=RARE.subject)}
        connection.execute(insert(job_shares), shared)
    if not store.database.is_sqlite:
        postgresql.execute("VACUUM ANALYZE", database="large_store")
    yield store
    store.database.dispose()
    if request.param == "postgresql":
        postgresql.execute("DROP DATABASE large_store WITH (FORCE)")


RARE = User(issuer="https://issuer.example.org", subject="rare", name="Rare")
USUAL = User(issuer="https://issuer.example.org", subject="usual", name="Usual")

LOOKED_FOR = {
    "everything": (JobFilter(), "ix_ogc_jobs_created"),
    "status": (JobFilter(statuses=frozenset({JobStatus.FAILED})), "ix_ogc_jobs_status_created"),
    "statuses": (
        JobFilter(statuses=frozenset({JobStatus.FAILED, JobStatus.DISMISSED})),
        "ix_ogc_jobs_status_created",
    ),
    "process": (JobFilter(process_ids=frozenset({"rare"})), "ix_ogc_jobs_process_id_created"),
    "processes": (JobFilter(process_ids=frozenset({"rare", "none"})), "ix_ogc_jobs_process_id_created"),
    "until": (JobFilter(created_until=NOON + timedelta(minutes=4)), "ix_ogc_jobs_created"),
    "from": (JobFilter(created_from=NOON + timedelta(minutes=MANY - 5)), "ix_ogc_jobs_created"),
    "at least": (JobFilter(min_seconds=999), "ix_ogc_jobs_duration"),
    "between": (JobFilter(min_seconds=999, max_seconds=1001), "ix_ogc_jobs_duration"),
}


@contextmanager
def remembered(store: JobStore) -> Iterator[list[tuple[str, Any]]]:
    """The statements of the block, with their values."""
    statements: list[tuple[str, Any]] = []

    def remember(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        statements.append((statement, values))

    event.listen(store.database._engine, "before_cursor_execute", remember)
    try:
        yield statements
    finally:
        event.remove(store.database._engine, "before_cursor_execute", remember)


def looked_for(store: JobStore, given: JobFilter) -> tuple[list[Job], str, Any]:
    """The first page of the jobs that fit, and the statement that found them, with its values."""
    with remembered(store) as statements:
        found, _ = store.list_jobs(given, limit=PAGE)
    ((statement, values),) = (one for one in statements if "ogc_jobs" in one[0])
    return found, statement, values


@pytest.mark.parametrize("what", LOOKED_FOR)
def test_an_index_finds_the_jobs(large_store: JobStore, what: str) -> None:
    """
    The database tells that it uses the filter's index, and reads a small part of the jobs: on SQLite counted in steps
    of its virtual machine (more than one for each row that it looks at), on PostgreSQL in rows.
    """
    given, index = LOOKED_FOR[what]
    found, statement, values = looked_for(large_store, given)
    assert len(found) == (PAGE if what == "everything" else 5)
    plan, effort = explained(large_store, statement, values)
    assert index in plan
    assert effort < MANY / 10


USUAL_JOBS = frozenset({JobStatus.SUCCESSFUL})
OF_AN_OWNER = {
    "everything": (JobFilter(), PAGE),
    "what most jobs are": (JobFilter(statuses=USUAL_JOBS, process_ids=frozenset({"usual"})), 10),
    "what few jobs are": (JobFilter(statuses=frozenset({JobStatus.FAILED})), 1),
    "short ones": (JobFilter(max_seconds=10), 10),
    "since": (JobFilter(created_from=NOON + timedelta(minutes=6)), 10),
}


@pytest.mark.parametrize("what", OF_AN_OWNER)
def test_an_index_finds_the_jobs_of_an_owner(large_store: JobStore, what: str) -> None:
    """Of the jobs of others, however many fit the filter, the database reads next to none."""
    given, count = OF_AN_OWNER[what]
    found, statement, values = looked_for(large_store.seen_by(RARE), given)
    assert len(found) == count
    plan, effort = explained(large_store, statement, values)
    assert "ix_ogc_jobs_owner_created" in plan
    assert effort < MANY / 10


def test_an_index_finds_a_job_for_who_may_read_it(large_store: JobStore) -> None:
    """One by its id, whether it is the reader's or shared with them: no list of either is read."""
    seen = large_store.seen_by(RARE)
    with remembered(large_store) as statements:
        assert [seen.job(job_id).job_id for job_id in ("0", "7")] == ["0", "7"]
    for statement, values in (one for one in statements if "ogc_jobs" in one[0]):
        assert explained(large_store, statement, values)[1] < 500


def test_an_index_counts_the_jobs_of_an_owner_that_wait(large_store: JobStore) -> None:
    """However many jobs an owner had before, a new one is held against the few that wait."""
    job = new_job(user=USUAL)
    with remembered(large_store) as statements:
        large_store.submit(job, max_waiting=10, max_waiting_per_user=5)
    ((statement, values),) = (one for one in statements if one[0].startswith("INSERT INTO ogc_jobs"))
    with large_store.database.write() as connection:
        connection.execute(delete(jobs).where(jobs.c.job_id == job.job_id))
    statement = statement[statement.index("SELECT") :]
    plan, effort = explained(large_store, statement, values)
    assert "ix_ogc_jobs_waiting_owner" in plan
    assert effort < MANY / 10


@pytest.mark.parametrize("count", [JobStore.counts, JobStore.load], ids=["counts", "load"])
def test_jobs_that_have_ended_cost_no_count(large_store: JobStore, count: Callable[[JobStore], Any]) -> None:
    """What goes on is counted without reading what has ended: for the doctor, and at each scrape of metrics."""
    with remembered(large_store) as statements:
        count(large_store)
    counts = [one for one in statements if one[0].startswith("SELECT")]
    assert counts
    for statement, values in counts:
        assert explained(large_store, statement, values)[1] < MANY / 10, statement


def explained(store: JobStore, statement: str, values: Any) -> tuple[str, int]:
    """The database's plan for a statement, and what it takes: see :func:`test_an_index_finds_the_jobs`."""
    with store.database.read() as connection:
        if store.database.is_sqlite:
            plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all())
            driver: Any = connection.connection.driver_connection
            steps: list[None] = []
            driver.set_progress_handler(lambda: steps.append(None), 10)
            connection.exec_driver_sql(statement, values).all()
            driver.set_progress_handler(None, 0)
            effort = len(steps) * 10
        else:
            (tree,) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values).scalars()
            plan, effort = json.dumps(tree), rows_read(tree[0]["Plan"])
    return plan, effort


def rows_read(plan: dict[str, Any]) -> int:
    """Rows that the scans of a plan of PostgreSQL looked at."""
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) if "Scan" in plan["Node Type"] else 0
    return int(own * plan["Actual Loops"]) + sum(map(rows_read, plan.get("Plans", [])))
