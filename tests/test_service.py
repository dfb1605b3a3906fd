"""Laws of the runner's loop that need a job store which fails at the worst moment."""

import logging
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from factories import SUCCESS, running
from pygeoapi_prefect.exceptions import UnknownJobError
from pygeoapi_prefect.jobs import Job, JobDetails, JobSecrets, JobStore, LogLine, NewJob, Outcome
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.records import utc_now
from pygeoapi_prefect.jobs.sealing import SecretKeys
from pygeoapi_prefect.runner.held_jobs import DeployedJob, HeldJob
from pygeoapi_prefect.runner.observer import JobObserver
from pygeoapi_prefect.runner.os_processes import is_alive
from pygeoapi_prefect.runner.service import RunnerService
from pygeoapi_prefect.schemas import JobStatus
from pygeoapi_prefect.settings import ManagerSettings
from serving import eventually

RUNNER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from pygeoapi_prefect.exceptions import JobStoreUnavailableError
    from pygeoapi_prefect.jobs import JobStore
    from pygeoapi_prefect.jobs.database import Database
    from pygeoapi_prefect.jobs.sealing import SecretKeys
    from pygeoapi_prefect.runner.forkserver import Forkserver
    from pygeoapi_prefect.runner.pool_worker import run_worker
    from pygeoapi_prefect.runner.service import RunnerService, install_signal_handlers
    from pygeoapi_prefect.settings import ManagerSettings

    folder, forgets, dotted = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

    class Forgetful(JobStore):
        # commits, and then the connection is lost before the answer, once
        has_forgotten = False

    def forget(self, *arguments, **options):
        answer = getattr(JobStore, forgets)(self, *arguments, **options)
        if answer and not Forgetful.has_forgotten:
            Forgetful.has_forgotten = True
            raise JobStoreUnavailableError("the answer was lost")
        return answer

    setattr(Forgetful, forgets, forget)
    resources = {"known": {"type": "process", "processor": {"name": dotted}}}
    settings = ManagerSettings.from_manager_def(
        {"connection": str(folder / "jobs.db"), "output_dir": str(folder / "results"), "processes": resources}
    )
    forkserver = Forkserver(run_worker)

    class NoPrefect:
        is_recording = is_reachable = False
        local_api_url = api = None

    store = Forgetful(Database(settings.connection, timeout=5))
    keys = SecretKeys(settings)
    service = RunnerService("runner", settings, resources, store, forkserver, prefect=NoPrefect(), keys=keys)
    install_signal_handlers(service)
    service.run()
""")


class Vanishing(JobStore):
    """Clients dismiss and remove each job in the moment before the runner looks at it."""

    def details(self, job_id: str) -> JobDetails:
        self._vanish(job_id)
        return super().details(job_id)

    def dismiss(self, job_id: str) -> Job | None:
        self._vanish(job_id)
        return super().dismiss(job_id)

    def _vanish(self, job_id: str) -> None:
        super().dismiss(job_id)
        self.remove(job_id, clean_up=False)


class NoPrefect:
    is_recording = is_reachable = False
    local_api_url = api = None


@pytest.fixture
def service_of(tmp_path: Path) -> Iterator[Callable[[type[JobStore]], RunnerService]]:
    """Makes a runner's loop that does not run, with a job store of a class."""
    with ExitStack() as databases:

        def make(kind: type[JobStore]) -> RunnerService:
            resources = {"known": {"type": "process", "processor": {"name": "processors.Bytes"}}}
            settings = ManagerSettings.from_manager_def(
                {"connection": str(tmp_path / "jobs.db"), "output_dir": str(tmp_path), "processes": resources}
            )
            store = kind(Database(settings.connection, timeout=5))
            databases.callback(store.database.dispose)
            return RunnerService(
                "runner", settings, resources, store, object(), prefect=NoPrefect(), keys=SecretKeys(settings)
            )

        yield make


def test_a_claimed_job_that_was_removed_meanwhile(service_of):
    """It is passed over: the runner, and all other jobs with it, goes on."""
    service = service_of(Vanishing)
    running(service._store, process_id="known")
    service._look()
    assert service._pool.jobs == []


def test_a_cancelled_flow_run_whose_job_was_removed_meanwhile(service_of):
    """Likewise: somebody cancels it in Prefect while its client dismisses and removes the job."""
    service = service_of(Vanishing)
    flow_run_id = uuid4()
    claim = running(service._store, process_id="known")
    service._store.keep_flow_run(claim, flow_run_id)
    service._dismiss_flow_run(flow_run_id)
    with pytest.raises(UnknownJobError):
        service._store.job(claim.job_id)
    service._dismiss(claim.job_id)


def test_the_log_of_a_job_that_runs_again_goes_on(service_of):
    """The lines of the lost attempt stay, and those of the next one come after them."""
    service = service_of(JobStore)
    store = service._store
    claim = running(store, process_id="known", runner_id="gone")
    store.append_logs(claim.job_id, 1, [LogLine(utc_now(), logging.INFO, "first", "one")])
    assert store.finish_lost("runner", host="", is_alive=is_alive, rerun=lambda _: True)
    service._pool.start = lambda details, secrets, prefect_api_url: HeldJob(details, secrets)
    (details,) = store.claim("runner", limit=1, process_limits={}, record=False)
    held = service._begin_in_pool(details, JobSecrets())
    held.lines.append(LogLine(utc_now(), logging.INFO, "second", "two"))
    service._write_logs(held)
    assert [line.text for line in store.logs(claim.job_id)] == ["one", "two"]


class Watcher(JobObserver):
    def __init__(self) -> None:
        self.seen: list[JobStatus] = []

    def ended(self, job: HeldJob, status: JobStatus, outcome: Outcome | None = None) -> None:
        self.seen.append(status)


@pytest.mark.parametrize("ends_by", ["dismissal", "dismissal and removal", "adoption"])
def test_only_dismissed_jobs_are_told_as_dismissed(service_of, ends_by):
    """A job that another runner took, for the lease had lapsed, has not ended: that runner tells how it does."""
    service = service_of(JobStore)
    store, service.observer = service._store, Watcher()
    claim = running(store, process_id="known")
    service._deployments._jobs[claim.job_id] = DeployedJob(store.details(claim.job_id))
    if ends_by == "adoption":
        assert store.finish_lost("other", host="", is_alive=is_alive, rerun=bool, adopt=lambda _: True)
    else:
        store.dismiss(claim.job_id)
    if ends_by == "dismissal and removal":
        store.remove(claim.job_id, clean_up=False)
    service._look()
    service._look()
    service._deployments.close()
    assert service.observer.seen == ([] if ends_by == "adoption" else [JobStatus.DISMISSED])


def test_a_job_that_is_dismissed_while_its_outcome_is_on_the_way(service_of):
    """It was dismissed, and is told so."""
    service = service_of(JobStore)
    service.observer = Watcher()
    claim = running(service._store, process_id="known")
    held = HeldJob(service._store.details(claim.job_id))
    service._store.dismiss(claim.job_id)
    service._write_outcome(held, SUCCESS)
    service._chores.shutdown()
    assert service.observer.seen == [JobStatus.DISMISSED]


@contextmanager
def forgetful_runner(folder: Path, forgets: str) -> Iterator[JobStore]:
    """A runner whose job store loses the answer of one call that was committed; yields the job store."""
    store = JobStore(Database(f"sqlite:///{folder / 'jobs.db'}", timeout=5))
    store.database.prepare()
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(folder), forgets, "processors.Bytes"],
        env={"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parent.parent / 'src'}"},
    )
    try:
        yield store
    finally:
        runner.terminate()
        assert runner.wait(20) == 0
        store.database.dispose()


def submit(store: JobStore, job_id: str, process_id: str = "known") -> None:
    store.submit(NewJob(job_id, process_id, {"inputs": {"size": 100_000}}), max_waiting=10)


def wait(store: JobStore, job_id: str) -> JobStatus:
    return eventually(lambda: s if (s := store.status(job_id)).is_terminal else None, within=20)


def test_a_claim_whose_answer_was_lost_is_worked_on(tmp_path):
    """A job that was claimed while the connection was lost does not stay running for ever: it runs."""
    with forgetful_runner(tmp_path, "claim") as store:
        submit(store, "a")
        assert wait(store, "a") is JobStatus.SUCCESSFUL
        assert store.job("a").claim_number == 1


def test_an_outcome_whose_answer_was_lost_keeps_its_outputs(tmp_path):
    """An outcome that was committed while the connection was lost is taken for written: its outputs stay."""
    with forgetful_runner(tmp_path, "finish") as store:
        submit(store, "a")
        assert wait(store, "a") is JobStatus.SUCCESSFUL
        submit(store, "b")
        assert wait(store, "b") is JobStatus.SUCCESSFUL
    for job_id in ("a", "b"):
        assert (tmp_path / "results" / job_id / "1" / "return").stat().st_size == 100_000


def test_jobs_of_unknown_processes_are_left_to_others(tmp_path):
    """A runner leaves jobs of processes that it does not know to one that does; after a minute they fail."""
    with forgetful_runner(tmp_path, "claim") as store:
        submit(store, "strange", "unknown")
        submit(store, "a")
        assert wait(store, "a") is JobStatus.SUCCESSFUL
        assert store.status("strange") is JobStatus.ACCEPTED
        with store.database.write() as connection:
            connection.exec_driver_sql("UPDATE ogc_jobs SET created = '2026-01-01 00:00:00' WHERE job_id = 'strange'")
        assert wait(store, "strange") is JobStatus.FAILED
        assert store.job("strange").message == "Process 'unknown' is no longer configured"
