"""Migrations, and a database that is not up yet, goes away, comes back, or was made anew."""

import logging
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect, make_url, text

from conftest import PostgreSQL, is_sqlite
from factories import MANY, accepted, claim_all, new_job, running
from pygeoapi_prefect.exceptions import JobStoreUnavailableError
from pygeoapi_prefect.identity import User
from pygeoapi_prefect.jobs import IdempotencyKey, JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.migrations import alembic_config, newest_revision
from pygeoapi_prefect.jobs.tables import REVISION, VERSION_TABLE, metadata

OpenJobStore = Callable[[], JobStore]
SECRET = "s3cr3t"
DURATION_INDEX = "ix_ogc_jobs_duration"


@pytest.fixture
def database(job_store: JobStore) -> Database:
    """A database with the tables in it."""
    job_store.database.prepare()
    return job_store.database


@pytest.fixture
def restarted(postgresql: PostgreSQL) -> Iterator[PostgreSQL]:
    """The PostgreSQL that a test may stop; it runs again afterwards."""
    yield postgresql
    postgresql.start()


def tables_of(connection: Connection) -> set[str]:
    return {name for name in inspect(connection).get_table_names() if name.startswith("ogc_")}


# ---------------------------------------------------------------- migrations


def test_the_tables_stand_for_the_newest_revision() -> None:
    """REVISION names the head of the shipped revisions."""
    assert newest_revision() == REVISION


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_the_migrations_make_the_tables_that_the_code_knows(database: Database) -> None:
    """alembic finds no difference between a migrated database and the table definitions."""

    # alembic cannot compare an expression; the next test does
    other = {("table", VERSION_TABLE), ("index", DURATION_INDEX)}

    def is_ours(name: str | None, kind: str, _: object) -> bool:
        return (kind, name) not in other

    def is_comparable(_: object, name: str | None, kind: str, *_more: object) -> bool:
        return (kind, name) not in other

    with database.write() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": VERSION_TABLE,
                "include_name": is_ours,
                "include_object": is_comparable,
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        assert compare_metadata(context, metadata) == []
        assert tables_of(connection) == {*metadata.tables, VERSION_TABLE}


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
def test_the_migrations_keep_every_constraint(database: Database, tmp_path: Path) -> None:
    """
    alembic does not compare constraints, nor indexes of expressions: a database made by the definitions alone has the
    same ones.
    """

    indexes = (
        "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        if database.is_sqlite
        else f"SELECT indexdef FROM pg_indexes WHERE tablename <> '{VERSION_TABLE}'"
        " AND schemaname NOT IN ('pg_catalog', 'information_schema')"
    )

    def constraints(connection: Connection) -> dict[str, object]:
        look = inspect(connection)
        return {
            name: (
                sorted(
                    check["name"] or ""
                    for check in look.get_check_constraints(name)
                    if not (check["name"] or "").endswith("_not_null")
                ),
                sorted(str(unique["column_names"]) for unique in look.get_unique_constraints(name)),
                [(key["constrained_columns"], key["options"].get("ondelete")) for key in look.get_foreign_keys(name)],
            )
            for name in metadata.tables
        } | {"indexes": sorted(connection.scalars(text(indexes)))}

    with database.read() as connection:
        migrated = constraints(connection)
    with database.write() as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    with database.read() as connection:
        assert constraints(connection) == migrated


def test_down_and_up_again(database: Database) -> None:
    """Downgraded to base nothing of ours is left; upgraded again the job store works."""
    config = alembic_config()
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert tables_of(connection) == {VERSION_TABLE}
        if not database.is_sqlite:
            assert connection.scalar(text("SELECT count(*) FROM pg_type WHERE typname LIKE 'ogc_job_status%'")) == 0
    assert database.revision() is None
    database.migrate()
    assert database.revision() == REVISION
    store = JobStore(database)
    accepted(store, "j")
    assert [details.job.job_id for details in claim_all(store)] == ["j"]


def test_idempotency_keys_survive_the_change_to_owners(database: Database) -> None:
    """A request that was sent before an upgrade finds its job afterwards; downgraded, ambiguous keys are given up."""
    store = JobStore(database)
    ann = User(issuer="https://issuer.example.org", subject="ann", name="Ann")
    submitted = [("of ann", ann, "a"), ("of nobody", None, "b"), ("of both", ann, "c"), ("of both", None, "d")]
    for key, user, job_id in submitted:
        accepted(store, job_id, user=user, idempotency_key=IdempotencyKey(key, "digest"))
    config = alembic_config()
    keys = text("SELECT key, job_id FROM ogc_idempotency_keys")
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0006")
        kept = {tuple(row) for row in connection.execute(keys)}
        command.upgrade(config, REVISION)
    assert kept == {("of ann", "a"), ("of nobody", "b")}
    for key, user, job_id in submitted[:2]:
        again = new_job(user=user, idempotency_key=IdempotencyKey(key, "digest"))
        assert store.submit(again, max_waiting=MANY) == job_id


def test_other_tables_are_left_alone(job_store_url: str, open_job_store: OpenJobStore) -> None:
    """The database may be shared: with pygeoapi's own jobs table, and another application's alembic."""
    url = make_url(job_store_url)
    if is_sqlite(job_store_url):
        Path(str(url.database)).parent.mkdir(parents=True)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE jobs (a INTEGER)"))
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))
    accepted(open_job_store())
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "theirs"
        assert connection.scalar(text("SELECT count(*) FROM jobs")) == 0
    engine.dispose()


def test_an_up_to_date_database_is_not_migrated(database: Database, open_job_store: OpenJobStore) -> None:
    """A process that finds the tables as they should be does without alembic: it takes no write lock."""
    other = open_job_store()
    with database.write():
        assert other.counts()


FIRST_USE = textwrap.dedent("""
    import logging, sys
    from factories import new_job
    from pygeoapi_prefect.jobs import JobStore
    from pygeoapi_prefect.jobs.database import Database

    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s %(message)s")
    store = JobStore(Database(sys.argv[1], timeout=20))
    print("ready", flush=True)
    sys.stdin.readline()
    store.submit(new_job(sys.argv[2]), max_waiting=9)
""")


def test_processes_migrate_once(job_store: JobStore, job_store_url: str) -> None:
    """Of several processes that use an empty database at the same moment one migrates, and all go on."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_USE, job_store_url, job_id],
            cwd=Path(__file__).parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for job_id in ("a", "b", "c")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    output = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], output
    assert "".join(output).count("Running upgrade  -> 0001") == 1
    assert {job.job_id for job in job_store.list_jobs()[0]} == {"a", "b", "c"}


def test_threads_migrate_once(job_store: JobStore, caplog: pytest.LogCaptureFixture) -> None:
    """The same holds for the threads of one process."""
    caplog.set_level(logging.INFO, "alembic")
    start = threading.Barrier(8)

    def use(number: int) -> None:
        start.wait()
        accepted(job_store, str(number))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert len(job_store.list_jobs()[0]) == 8
    upgrades = [record.message.split(",")[0] for record in caplog.records if "Running upgrade" in record.message]
    revisions = ["", *(f"{number:04}" for number in range(1, 10))]
    assert upgrades == [f"Running upgrade {before} -> {after}" for before, after in pairwise(revisions)]


def test_sqlite_is_in_wal_mode(sqlite_url: str) -> None:
    """Readers do not wait for the writer; foreign keys hold."""
    database = Database(sqlite_url, timeout=5)
    for use in (database.read, database.write):
        with use() as connection:
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
        assert pragmas == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1}
    database.dispose()


def test_readers_do_not_wait_for_a_writer(job_store: JobStore, open_job_store: OpenJobStore) -> None:
    """While a transaction is open, others read what was committed before it."""
    job = accepted(job_store)
    other = open_job_store()
    with job_store.database.write() as connection:
        connection.execute(text("UPDATE ogc_jobs SET message = 'uncommitted'"))
        assert other.job(job.job_id).message == job.message


def test_a_failed_transaction_leaves_nothing(job_store: JobStore) -> None:
    """What is raised in the block takes back all of it."""
    job = accepted(job_store)
    with pytest.raises(ZeroDivisionError), job_store.database.write() as connection:
        connection.execute(text("DELETE FROM ogc_jobs"))
        raise ZeroDivisionError
    assert job_store.job(job.job_id) == job


# ---------------------------------------------------------------- outages


def test_a_database_that_is_not_up_yet_is_waited_for(postgresql_url: str, restarted: PostgreSQL) -> None:
    """The first use goes on as soon as PostgreSQL comes up."""
    restarted.stop()
    store = JobStore(Database(postgresql_url, timeout=30))
    with ThreadPoolExecutor(1) as thread:
        first_use = thread.submit(accepted, store, "j")
        time.sleep(0.5)
        assert not first_use.done()
        restarted.start()
        assert first_use.result(timeout=10).job_id == "j"
    store.database.dispose()


def test_a_folder_that_is_not_there_yet_is_made(sqlite_url: str) -> None:
    """SQLite's file is made with its folders at the first use, not before."""
    path = Path(str(make_url(sqlite_url).database))
    store = JobStore(Database(sqlite_url, timeout=5))
    assert not path.parent.exists()
    accepted(store)
    assert path.is_file()
    store.database.dispose()


def test_a_folder_that_cannot_be_made_is_waited_for(tmp_path: Path) -> None:
    """A mount that comes late is used when it comes."""
    in_the_way = tmp_path / "mount"
    in_the_way.write_text("not mounted yet")
    store = JobStore(Database(f"sqlite:///{in_the_way}/jobs.db", timeout=30))
    with ThreadPoolExecutor(1) as thread:
        first_use = thread.submit(accepted, store, "j")
        time.sleep(0.3)
        assert not first_use.done()
        in_the_way.unlink()
        assert first_use.result(timeout=10).job_id == "j"
    store.database.dispose()


UNREACHABLE = {
    "a closed port": f"postgresql+psycopg2://me:{SECRET}@127.0.0.1:1/ogc",
    "no socket": f"postgresql+psycopg2://me:{SECRET}@/ogc?host=/nowhere",
    "no folder": "sqlite:////dev/null/jobs.db",
}


@pytest.mark.parametrize("what", UNREACHABLE)
@pytest.mark.parametrize("timeout", [0, 0.5])
@pytest.mark.filterwarnings("error")
def test_the_wait_ends_in_time(what: str, timeout: float, caplog: pytest.LogCaptureFixture) -> None:
    """After its limit the wait ends with what to check; neither message nor log holds the password."""
    database = Database(UNREACHABLE[what], timeout=timeout)
    began = time.monotonic()
    with pytest.raises(JobStoreUnavailableError, match=r"server\.manager\.connection") as unavailable:
        database.prepare()
    assert time.monotonic() - began < timeout + 2
    assert SECRET not in str(unavailable.value) + caplog.text
    assert not any(SECRET in str(vars(record)) for record in caplog.records)
    assert unavailable.value.client_message == "The job store cannot be reached. Try again later."
    assert unavailable.value.__cause__ is not None


def test_requests_do_not_pile_up_behind_a_dead_database(tmp_path: Path) -> None:
    """After one wait in vain the next uses fail at once."""
    (tmp_path / "in the way").write_text("")
    database = Database(f"sqlite:///{tmp_path}/in the way/jobs.db", timeout=0.5)
    with pytest.raises(JobStoreUnavailableError):
        database.prepare()
    began = time.monotonic()
    for _ in range(5):
        with pytest.raises(JobStoreUnavailableError), database.read():
            pass
    assert time.monotonic() - began < 0.4


def test_a_job_store_outlives_an_outage(postgresql_url: str, restarted: PostgreSQL) -> None:
    """While PostgreSQL is away every method raises JobStoreUnavailableError; afterwards the same object works."""
    store = JobStore(Database(postgresql_url, timeout=0.1))
    claim = running(store)
    before = store.job(claim.job_id)
    restarted.stop()
    for use in (
        lambda: store.job(claim.job_id),
        lambda: store.report_progress(claim, 1, None),
        lambda: store.outlook("runner"),
        lambda: store.dismiss(claim.job_id),
        lambda: claim_all(store),
    ):
        with pytest.raises(JobStoreUnavailableError):
            use()
    restarted.start()
    assert store.job(claim.job_id) == before
    assert store.report_progress(claim, 1, None)
    store.database.dispose()


def test_a_connection_lost_in_a_transaction_is_an_outage(job_store: JobStore, restarted: PostgreSQL) -> None:
    """A transaction that is cut off says so, and the next one works."""
    if job_store.database.is_sqlite:
        return
    job = accepted(job_store)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pygeoapi-prefect'"
    with pytest.raises(JobStoreUnavailableError), job_store.database.write() as connection:
        connection.execute(text("UPDATE ogc_jobs SET message = 'lost'"))
        restarted.execute(kill)
        connection.execute(text("UPDATE ogc_jobs SET message = 'lost too'"))
    assert job_store.job(job.job_id) == job


def test_a_database_made_anew_gets_its_tables(job_store: JobStore, job_store_url: str, postgresql: PostgreSQL) -> None:
    """Reset under a living process, the job store reports an outage at most once, then works on the empty database."""
    accepted(job_store, "before")
    url = make_url(job_store_url)
    if is_sqlite(job_store_url):
        shutil.rmtree(Path(str(url.database)).parent)
    else:
        postgresql.execute("DROP SCHEMA public CASCADE", database=str(url.database))
        postgresql.execute("CREATE SCHEMA public", database=str(url.database))
    try:
        accepted(job_store, "after")
    except JobStoreUnavailableError:
        accepted(job_store, "after")
    other = JobStore(Database(job_store_url, timeout=1))
    assert [job.job_id for job in other.list_jobs()[0]] == ["after"]
    other.database.dispose()


def test_a_lasting_lock_is_an_outage(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that never ends makes the others fail with JobStoreUnavailableError, not wait for ever."""
    monkeypatch.setattr("pygeoapi_prefect.jobs.database._BUSY_SECONDS", 0.2)
    first, second = (JobStore(Database(sqlite_url, timeout=1)) for _ in range(2))
    accepted(first)
    second.counts()
    with first.database.write(), pytest.raises(JobStoreUnavailableError, match="locked"):
        accepted(second)
    accepted(second)
    for store in (first, second):
        store.database.dispose()
