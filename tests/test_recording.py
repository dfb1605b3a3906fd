"""Laws of recording: every job appears in Prefect, live while it runs, and Prefect never holds a job up."""

import os
import signal
import time
from pathlib import Path

import pytest

from factories import ended, make_run, runner_record
from prefect_seen import Prefect
from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.prefect_api import BlockNotFoundError, PrefectApi
from pygeoapi_prefect.process.flow_runs import flow_run_tags
from pygeoapi_prefect.process.handed_over import HandedOver
from pygeoapi_prefect.runner.prefect_server import LocalPrefectServer
from pygeoapi_prefect.runner.recorder import Recorder
from pygeoapi_prefect.schemas import JobStatus
from serving import Server, eventually, running


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """A server for which nobody configured Prefect: the runner starts a local one."""
    folder = tmp_path_factory.mktemp("embedded")
    server = Server(folder, prefect={"old-signature": {"record": False}})
    del server.environment["PREFECT_API_URL"]
    with running(server):
        status = eventually(lambda: s if (s := server.runner()).prefect_api_url else None, within=90)
        yield server, Prefect(status.prefect_api_url)


class TestLive:
    def test_successful_job(self, embedded):
        """A job is a flow run named after process and job, tagged, with its parameters, logs and final state."""
        server, prefect = embedded
        job_id = server.submit("talkative", {"seconds": 0})
        run = prefect.ended(job_id)
        assert run["name"] == f"talkative {job_id}"
        assert set(run["tags"]) == {"pygeoapi", "process:talkative", f"job:{job_id}"}
        assert run["parameters"] == {"job_id": job_id, "inputs": {"seconds": 0}}
        assert run["state_type"] == "COMPLETED"
        logs = prefect.logs(run["id"])
        assert {"a record of the logging module", "a printed line", "a line of a tool"} <= set(logs)

    def test_large_inputs_stay_out_of_prefect(self, embedded):
        """An input beyond 1024 characters is shown by its type and size."""
        server, prefect = embedded
        job_id = server.submit("hello-world", {"name": "x" * 5000})
        assert prefect.ended(job_id)["parameters"]["inputs"]["name"] == "(str, 5000 characters)"

    def test_secret_inputs_stay_out_of_prefect(self, embedded):
        """The process gets an input that is declared write-only; Prefect and ``jobs show`` do not."""
        server, prefect = embedded
        job_id = server.submit("secretive", {"token": "open sesame"})
        assert prefect.ended(job_id)["parameters"]["inputs"] == {"token": "(secret)"}
        assert server.results(job_id).json() == {"length": 11}
        assert "open sesame" not in server.cli("plugins", "prefect", "jobs", "show", job_id).stdout

    def test_running_job_is_live(self, embedded):
        """While a job runs Prefect shows it running, with its progress and messages; dismissing it cancels the run."""
        server, prefect = embedded
        job_id = server.submit("sleep", {"seconds": 30})
        run = eventually(lambda: prefect.flow_run(job_id), within=10)
        assert run["state_type"] == "RUNNING"
        eventually(lambda: max(prefect.progress(run["id"]), default=0) >= 10, within=15)
        eventually(lambda: any("step" in line for line in prefect.logs(run["id"])), within=10)
        server.client.delete(f"/jobs/{job_id}")
        assert prefect.ended(job_id)["state_type"] == "CANCELLED"

    def test_failed_job_tells_its_reason(self, embedded):
        """A failed job's run is Failed, with the reason as its message and the traceback in its log."""
        server, prefect = embedded
        job_id = server.submit("fail")
        run = prefect.ended(job_id)
        assert run["state_type"] == "FAILED"
        assert "the disk of node 7 is full" in run["state"]["message"]
        assert any("Traceback" in line for line in prefect.logs(run["id"]))

    def test_waiting_job_that_is_dismissed(self, embedded):
        """A job that never ran appears as well: as cancelled."""
        server, prefect = embedded
        blocking = [server.submit("sleep", {"seconds": 2}) for _ in range(os.cpu_count() or 2)]
        blocking += [server.submit("sleep", {"seconds": 2})] if len(blocking) < 2 else []
        job_id = server.submit("sleep", {"seconds": 1})
        server.client.delete(f"/jobs/{job_id}")
        assert prefect.ended(job_id)["state_type"] == "CANCELLED"
        for other in blocking:
            server.wait_for(other)

    def test_record_false(self, embedded):
        """A process with ``record: false`` leaves no trace in Prefect."""
        server, prefect = embedded
        job_id = server.submit("old-signature")
        later = server.submit("hello-world", {"name": "later"})
        prefect.ended(later)
        assert prefect.flow_run(job_id) is None

    @pytest.mark.soak
    def test_local_server_that_dies_is_started_again(self, embedded):
        """Jobs run while the local Prefect server is dead, and are recorded when the runner has started it again."""
        server, prefect = embedded
        runner_children = Path(f"/proc/{server.runner().pid}/task").glob("*/children")
        pids = {int(pid) for file in runner_children for pid in file.read_text().split()}
        (pid,) = [pid for pid in pids if b"prefect_server_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(pid, signal.SIGKILL)
        response = server.execute("hello-world", {"name": "meanwhile"})
        assert response.status_code == 200
        assert prefect.ended(response.headers["Location"].rpartition("/")[2], within=60)["state_type"] == "COMPLETED"


class TestOutage:
    @pytest.mark.soak
    def test_jobs_are_recorded_later(self, tmp_path):
        """
        With Prefect down jobs run all the same; they can be counted, survive the runner, and are recorded when Prefect
        is back, with our times and a tag that says so.
        """
        local = LocalPrefectServer(tmp_path / "prefect")
        local.start()
        connection = local.connection
        local.stop()
        server = Server(tmp_path / "server", environment={"PREFECT_API_URL": connection.api_url})
        with running(server):
            job_ids = [
                server.execute("hello-world", {"name": str(number)}).headers["Location"].rpartition("/")[2]
                for number in range(3)
            ]
            failed = server.submit("fail")
            server.wait_for(failed)
            assert "4 jobs to record in Prefect" in server.cli("plugins", "prefect", "doctor", check=False).stdout
            os.kill(server.runner().pid, signal.SIGKILL)
            time.sleep(16)
            local.start()
            try:
                local.wait_until_healthy(60)
                prefect = Prefect(connection.api_url)
                for job_id in (*job_ids, failed):
                    run = prefect.ended(job_id, within=60)
                    assert "recorded-late" in run["tags"]
                    assert {"created", "started", "finished"} <= set(run["parameters"])
                    assert prefect.logs(run["id"])[0].startswith("Recorded late. The job was created")
                assert prefect.ended(failed)["state_type"] == "FAILED"
                eventually(
                    lambda: "0 jobs to record" in server.cli("plugins", "prefect", "doctor", check=False).stdout,
                    within=20,
                )
            finally:
                server.stop()
                local.stop()


@pytest.mark.parametrize("left_as", ["RUNNING", "CRASHED"])
@pytest.mark.parametrize(("status", "state"), [(JobStatus.FAILED, "FAILED"), (JobStatus.DISMISSED, "CANCELLED")])
def test_a_flow_run_that_its_worker_could_not_tell_of(api, prefect_server, sqlite_url, left_as, status, state):
    """
    A worker stopped between the creation of its flow run and the answer leaves one run, which ends as the job did.

    So does one that is stopped between two steps of Prefect's engine, which calls that a crash.
    """
    store = JobStore(Database(sqlite_url, timeout=5))
    job = ended(store, status, process_id="squared")
    created = make_run(api, tags=flow_run_tags("squared", job.job_id), flow_name="own name", state_type=left_as)
    recorder = Recorder(
        store,
        "runner",
        lambda: PrefectApi(prefect_server.connection),
        last_activity=lambda: 0.0,
        backlog=10,
        run_by_prefect={"squared"},
    )
    recorder.start()
    try:
        # prefect_seen fails where a job has two
        eventually(lambda: store.recording_backlog() == 0, within=30)
        run = Prefect(prefect_server.connection.api_url).ended(job.job_id)
        assert (run["id"], run["state_type"]) == (str(created), state)
    finally:
        recorder.stop(10)
        store.database.dispose()


@pytest.mark.parametrize("is_removed", [False, True])
def test_secrets_of_a_job_that_no_runner_held_to_its_end(api, prefect_server, sqlite_url, is_removed):
    """
    Prefect forgets them when the job has ended, whoever ended it, and whenever Prefect can be reached again.

    A job is handed over together with its secrets; where that breaks off in the middle the job waits again, and its
    client may dismiss it then, or while no runner lives.
    """
    store = JobStore(Database(sqlite_url, timeout=5))
    request = {"inputs": {"password": "(secret)"}, "secret_inputs": ["password"]}
    store.register_runner(runner_record(), lease=60)
    job = ended(store, JobStatus.DISMISSED, process_id="login", request=request)
    if is_removed:
        store.remove(job.job_id, clean_up=False)
    block = HandedOver.secret_block_of(job.job_id)
    api.save_secret(block, {"inputs": {"password": "hunter22"}, "access_token": ""})
    recorder = Recorder(
        store,
        "runner",
        lambda: PrefectApi(prefect_server.connection),
        last_activity=lambda: 0.0,
        backlog=10,
        run_by_prefect={"login"},
        deployed={"login"},
    )
    recorder.start()
    try:
        eventually(lambda: store.recording_backlog() == 0, within=30)
        with pytest.raises(BlockNotFoundError):
            api.block_document(f"secret/{block}")
    finally:
        recorder.stop(10)
        store.database.dispose()
