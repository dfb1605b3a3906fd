"""Laws of jobs that run as Prefect deployments, with a real Prefect server and a real worker."""

import contextlib
import json
import os
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from handlers_under_test import SECRET
from prefect_seen import Prefect
from prefect_worker import PrefectWorker
from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.sealing import KEY_VARIABLE, new_key
from pygeoapi_prefect.prefect_api import PrefectApi
from pygeoapi_prefect.runner.prefect_server import LocalPrefectServer
from pygeoapi_prefect.settings import ManagerSettings
from serving import Server, assert_problem, eventually, flow, new_database, pids_in, running
from web_server import answering, response

POOL = "test-pool"
FLOWS = ["greet", "several", "second_time", "sleep", "fail", "refuse", "login", "bar", "die", "sizes"]
START = 60
"""Seconds for a worker to take a run and to import Prefect, on a busy machine."""


def deployed(processor: dict, **deployment) -> dict:
    prefect = processor.get("prefect", {})
    return {**processor, "prefect": {**prefect, "deployment": {"work_pool": POOL, **deployment}}}


def handlers(folder: Path) -> list:
    """One that asks for a variable, one that tells what it sees, and one that has a secret."""
    variables = {"pod_env_vars": {"POD_VARIABLE": "of this job"}}
    told = {"file": str(folder / "told.jsonl"), "suffix": " Bye!"}
    return [
        {"name": "pygeoapi_prefect.handlers.CommonExecutionHandler", "options": variables},
        {"name": "handlers_under_test.Recorder", "options": told},
        "handlers_under_test.Secretive",
    ]


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory):
    with LocalPrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        server.wait_until_healthy(90)
        yield server


@pytest.fixture(scope="module")
def prefect(prefect_server):
    return Prefect(prefect_server.connection.api_url)


@pytest.fixture(scope="module")
def worker(prefect_server, tmp_path_factory):
    worker = PrefectWorker(prefect_server.connection.api_url, POOL, tmp_path_factory.mktemp("worker"))
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def served(prefect_server, worker, postgresql, tmp_path_factory):
    """A server with deployed processes on PostgreSQL, and a worker."""
    folder = tmp_path_factory.mktemp("deployments")
    processors = {name.replace("_", "-"): deployed(flow(name)) for name in FLOWS}
    processors |= {
        "hello-world": deployed({"name": "HelloWorld"}),
        "plain-sleep": deployed({"name": "processors.Sleep"}),
        "simple-flow": deployed({"name": "flows.SimpleFlowProcessor"}),
        "in-a-folder": deployed(
            {"name": "flows.RenamedFlowProcessor", "prefect": {"result_storage": str(folder / "kept")}}
        ),
        "limited": deployed(flow("sleep", time_limit=2), name="limited"),
        "not-deployed": deployed(flow("nothing"), name="forgotten"),
        "without-worker": deployed(flow("nothing"), name="alone", work_pool="empty-pool"),
        "in-the-pool": {"name": "HelloWorld"},
        "pool-sleep": {"name": "processors.Sleep"},
        "unready": deployed(
            {
                "name": "handlers_under_test.Greet",
                "prefect": {"handlers": ["handlers_under_test.Unready"]},
            }
        ),
        "handled": deployed({"name": "handlers_under_test.Greet", "prefect": {"handlers": handlers(folder)}}),
    }
    server = Server(
        folder,
        processors=processors,
        manager={"shutdown_grace": 1, "connection": new_database(postgresql), "allowed_hosts": ["127.0.0.1"]},
        environment={"PREFECT_API_URL": prefect_server.connection.api_url, KEY_VARIABLE: new_key()},
    )
    not_deployed = {"not-deployed", "unready", "in-the-pool", "pool-sleep"}
    wanted = [process_id for process_id in processors if process_id not in not_deployed]
    told = server.cli("plugins", "prefect", "deploy", *wanted, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    worker.start()
    with running(server):
        yield server


@contextlib.contextmanager
def job_store_of(server: Server):
    """The server's job store."""
    settings = ManagerSettings.from_manager_def(yaml.safe_load(server.config_path.read_text())["server"]["manager"])
    store = JobStore(Database(settings.connection, timeout=5))
    yield store
    store.database.dispose()


def ends(server: Server, job_id: str, *statuses: str) -> dict:
    """The job, once it has one of *statuses*; fails at once when it has ended otherwise."""
    wanted = statuses or ("successful",)
    job = server.wait_for(job_id, *wanted, "successful", "failed", "dismissed", within=START)
    assert job["status"] in wanted, job
    return job


class TestOutcomes:
    def test_references(self, served):
        """The flow run fetches what its inputs refer to, and fails with the reason where it may not."""
        with answering(response(bytes(256))) as raster:
            inputs = {"raster": {"href": raster.url}, "texts": ["text"]}
            fetched = served.submit("sizes", inputs)
            refused = served.submit("sizes", inputs | {"raster": {"href": "http://169.254.169.254/latest/meta-data"}})
            ends(served, fetched)
        assert served.results(fetched).json() == {"raster": [256], "texts": [4]}
        job = ends(served, refused, "failed")
        assert job["message"] == "Input 'raster': This server may not ask that address."

    def test_typed_flow(self, served, prefect):
        """A deployed flow is one flow run of its own name, and its result is the job's."""
        job_id = served.submit("greet", {"name": "Ada", "times": 2})
        job = ends(served, job_id)
        assert served.results(job_id).text == "Hello Ada! Hello Ada!"
        run = prefect.ended(job_id)
        assert run["name"] == f"greet {job_id}"
        assert run["parameters"]["inputs"] == {"name": "Ada", "times": 2, "tone": "kind"}
        assert prefect.client.get(f"/flows/{run['flow_id']}").json()["name"] == "greeting"
        lag = datetime.fromisoformat(job["finished"]) - datetime.fromisoformat(run["end_time"])
        assert lag.total_seconds() < 1
        with job_store_of(served) as store:
            eventually(lambda: "greeting Ada" in [line.text for line in store.logs(job_id)], within=15)

    def test_unmodified_processor(self, served, prefect):
        """One generic flow runs any pygeoapi processor."""
        job_id = served.submit("hello-world", {"name": "Ada"})
        ends(served, job_id)
        assert served.results(job_id).json() == "Hello Ada!"
        assert prefect.ended(job_id)["state_type"] == "COMPLETED"

    def test_handlers(self, served, prefect):
        """They run in the flow run, which has the variables that they asked for before; nobody reads their secrets."""
        job_id = served.submit("handled", {"name": "Ada"})
        failed = served.submit("handled", {"name": "Ada", "fail": "process"})
        ends(served, job_id)
        assert served.results(job_id).text == "Hello Ada! Bye!"
        calls = [json.loads(line) for line in (served.folder / "told.jsonl").read_text().splitlines()]
        own = [call for call in calls if call["job"] == job_id]
        assert [call["hook"] for call in own] == ["pre", "setOutput", "post", "handle_outputs"]
        assert own[0]["pod"] == "of this job"
        assert prefect.ended(job_id)["job_variables"] == {"env": {"POD_VARIABLE": "of this job"}}
        assert ends(served, failed, "failed")["message"] == "RuntimeError: the process knows ***"
        calls = [json.loads(line) for line in (served.folder / "told.jsonl").read_text().splitlines()]
        assert [call["hook"] for call in calls if call["job"] == failed] == ["pre", "on_failure"]
        assert SECRET not in json.dumps(prefect.ended(failed))

    def test_handlers_that_cannot_answer(self, served):
        """A job whose handlers cannot say what it needs fails with the reason, and is not handed over."""
        raised = served.submit("unready", {"name": "Ada"})
        gone = served.submit("unready", {"name": "Ada", "fail": "exit"})
        assert ends(served, raised, "failed")["message"] == "RuntimeError: no credentials with ***"
        message = ends(served, gone, "failed")["message"]
        assert message.startswith("The process that asked the job's handlers")

    def test_contract(self, served):
        """The contract's flow stores through its block, here and in a storage of its own."""
        stored, elsewhere = (
            served.submit(process_id, {"name": "everybody"}) for process_id in ("simple-flow", "in-a-folder")
        )
        for job_id in (stored, elsewhere):
            ends(served, job_id)
            assert served.results(job_id).text == "Hello everybody!" * 1000
        assert (served.folder / "kept" / elsewhere / "output-result.txt").exists()

    def test_several_outputs_and_nothing_left(self, served):
        """Each output comes out as it went in; what was for the flow run alone is removed."""
        job_id = served.submit("several", {"numbers": [1, 2, 6]}, outputs={"raster": {}})
        ends(served, job_id)
        assert served.results(job_id).content == bytes(range(256)) * 100
        folder = served.folder / "results" / job_id
        eventually(lambda: not list(folder.rglob("order.json")), within=5)
        assert not list(folder.rglob("outcome.json"))

    @pytest.mark.parametrize(("process_id", "status"), [("fail", 500), ("refuse", 400)])
    def test_failure(self, served, prefect, process_id, status):
        """What the flow raises is the job's reason, with the status that it means."""
        job_id = served.submit(process_id)
        job = ends(served, job_id, "failed")
        reasons = {"fail": "ValueError: it cannot be", "refuse": "Cannot process without a scene"}
        assert job["message"] == reasons[process_id]
        assert_problem(served.results(job_id), status)
        assert prefect.ended(job_id)["state_type"] == "FAILED"

    def test_bad_inputs(self, served):
        """They are refused with 400 before a worker is bothered."""
        problem = assert_problem(served.execute("greet", {"name": 1}), 400)
        assert [error["pointer"] for error in problem["errors"]] == ["#/inputs/name"]

    def test_retries(self, served, prefect, tmp_path):
        """Between two attempts the job runs, and the last attempt's result counts."""
        job_id = served.submit("second-time", {"folder": str(tmp_path)})
        seen = set()

        def has_ended():
            job = served.job(job_id)
            seen.add(job["status"])
            return job["status"] in ("successful", "failed")

        eventually(has_ended, within=START)
        assert served.results(job_id).json() == 2
        assert prefect.ended(job_id)["run_count"] == 2
        assert seen <= {"accepted", "running", "successful"}

    def test_secret(self, served, prefect):
        """A secret input is in no parameter, no file and no block once the job has ended."""
        job_id = served.submit("login", {"user": "ada", "password": "hunter22"})
        ends(served, job_id)
        assert served.results(job_id).json() == {"user": "ada", "length": 8}
        assert "hunter22" not in json.dumps(prefect.ended(job_id))
        with PrefectApi(prefect_connection(prefect)) as api:
            blocks = f"/block_types/slug/secret/block_documents/name/pygeoapi-job-{job_id}"
            eventually(lambda: prefect.client.get(blocks).status_code == 404, within=5)
            assert api.is_healthy()
        with job_store_of(served) as store:
            assert store.details(job_id).request["inputs"]["password"] == "(secret)"

    def test_large_request(self, served, prefect):
        """A request of any size reaches the flow, and Prefect sees only how large it is."""
        numbers = [float(number) for number in range(40_000)]
        job_id = served.submit("several", {"numbers": numbers}, outputs={"mean": {}})
        ends(served, job_id)
        assert served.results(job_id).json() == sum(numbers) / len(numbers)
        assert len(json.dumps(prefect.ended(job_id)["parameters"])) < 2000


def prefect_connection(prefect: Prefect):
    from pygeoapi_prefect.prefect_api import PrefectConnection

    return PrefectConnection(str(prefect.client.base_url).rstrip("/"))


class TestUnderWay:
    def test_progress_and_status(self, served):
        """A job is accepted until its run begins, then runs, with the progress that the flow shows."""
        job_id = served.submit("bar", {"seconds": 4})
        assert served.job(job_id)["status"] == "accepted"
        ends(served, job_id, "running")
        job = eventually(lambda: j if (j := served.job(job_id))["progress"] == 5 else None, within=15)
        assert job["message"] == "reading"
        eventually(lambda: served.job(job_id)["progress"] == 60, within=15)
        ends(served, job_id)

    def test_reported_progress(self, served, tmp_path):
        """``report_progress`` in a deployment is the job's progress and message; DELETE cancels the flow run."""
        job_id = served.submit("sleep", {"pid_file": str(tmp_path / "pid"), "seconds": 60})
        (pid,) = pids_in(tmp_path / "pid", within=START)
        job = eventually(lambda: j if (j := served.job(job_id))["progress"] > 1 else None, within=15)
        assert job["message"].startswith("step ")
        assert served.client.delete(f"/jobs/{job_id}").status_code == 200
        assert served.job(job_id)["status"] == "dismissed"
        eventually(lambda: not Path(f"/proc/{pid}").exists(), within=30, what="the end of the work")

    def test_dismissed_flow_run_is_cancelled(self, served, prefect, tmp_path):
        """A dismissed job's flow run is asked to cancel, and ends as Cancelled, however it is dismissed."""
        job_id = served.submit("plain-sleep", {"pid_file": str(tmp_path / "pid"), "seconds": 60})
        (pid,) = pids_in(tmp_path / "pid", within=START)
        run = prefect.flow_run(job_id)
        prefect.cancel(run["id"])
        served.wait_for(job_id, "dismissed", within=5)
        eventually(lambda: not Path(f"/proc/{pid}").exists(), within=30, what="the end of the work")
        eventually(lambda: prefect.flow_run(job_id)["state_type"] == "CANCELLED", within=30)
        states = prefect.state_types(run["id"])
        assert states.index("CANCELLING") < states.index("CANCELLED")

    def test_dismissed_at_once(self, served, prefect, tmp_path):
        """A job that is dismissed while it is handed over never runs, whatever Prefect has of it by then."""
        job_ids = [served.submit("sleep", {"pid_file": str(tmp_path / f"pid{number}")}) for number in range(5)]
        for job_id in job_ids:
            assert served.client.delete(f"/jobs/{job_id}").status_code == 200
        time.sleep(3)
        for job_id in job_ids:
            run = prefect.flow_run(job_id)
            if run is not None:
                eventually(
                    lambda job_id=job_id: prefect.flow_run(job_id)["state_type"] in ("CANCELLING", "CANCELLED"),
                    within=10,
                )
        assert not list(tmp_path.glob("pid*"))

    def test_time_limit(self, served, prefect, tmp_path):
        """The limit counts from the beginning of the run; then the run is cancelled, and the job fails."""
        job_id = served.submit("limited", {"pid_file": str(tmp_path / "pid"), "seconds": 60})
        assert "longer than its process may" in ends(served, job_id, "failed")["message"]
        eventually(lambda: prefect.flow_run(job_id)["state_type"] in ("CANCELLING", "CANCELLED"), within=10)


class TestTrouble:
    def test_a_flow_run_that_dies(self, served):
        """The job fails with what Prefect knows."""
        job_id = served.submit("die")
        assert "crashed" in ends(served, job_id, "failed")["message"]

    def test_a_deleted_flow_run(self, served, prefect, tmp_path):
        """The job fails, with that reason."""
        job_id = served.submit("sleep", {"pid_file": str(tmp_path / "pid"), "seconds": 20})
        pids_in(tmp_path / "pid", within=START)
        prefect.client.delete(f"/flow_runs/{prefect.flow_run(job_id)['id']}").raise_for_status()
        job = served.wait_for(job_id, "failed", within=20)
        assert job["message"] == "The flow run of the job was deleted in Prefect"

    @pytest.mark.soak
    def test_a_worker_that_is_lost(self, served, worker, tmp_path):
        """When the whole machine of a run is gone, its job says so; it can be dismissed, and others run again."""
        job_id = served.submit("sleep", {"pid_file": str(tmp_path / "pid"), "seconds": 600})
        (pid,) = pids_in(tmp_path / "pid", within=START)
        worker.stop(signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: "may have been lost" in served.job(job_id)["message"], within=60, what="the message")
        assert served.job(job_id)["status"] == "running"
        worker.start()
        assert served.client.delete(f"/jobs/{job_id}").status_code == 200
        assert ends(served, served.submit("hello-world", {"name": "Ada"}))

    def test_no_deployment(self, served):
        """The client is told that the process is not deployed; the log names the command."""
        job_id = served.submit("not-deployed")
        job = served.wait_for(job_id, "failed", within=10)
        assert job["message"] == "This process is not deployed at the moment."
        assert "plugins prefect deploy not-deployed" in served.runner_log()

    def test_no_worker(self, served):
        """A job that nobody takes says so, and can be dismissed."""
        job_id = served.submit("without-worker")
        job = eventually(
            lambda: j if "no worker" in (j := served.job(job_id))["message"] else None, within=40, what="the message"
        )
        assert job["status"] == "accepted"
        assert job["message"] == "The job waits: no worker of the work pool 'empty-pool' is online"
        assert served.client.delete(f"/jobs/{job_id}").status_code == 200

    def test_adoption(self, served, tmp_path):
        """A job outlives its runner, and even the server: the next runner goes on to follow it."""
        job_id = served.submit("sleep", {"pid_file": str(tmp_path / "pid"), "seconds": 12})
        pids_in(tmp_path / "pid", within=START)
        served.wait_for(job_id, "running")
        first = served.runner()
        os.kill(first.pid, signal.SIGKILL)
        served.stop_web()
        time.sleep(1)
        served.start()
        job = ends(served, job_id)
        assert job["progress"] == 100
        assert served.results(job_id).text == "slept"
        assert served.runner().pid != first.pid

    @pytest.mark.soak
    def test_a_runner_that_drains(self, served, tmp_path):
        """The next runner adopts deployed jobs at once, while the old one still waits for a job of its pool."""
        deployed_id = served.submit("sleep", {"pid_file": str(tmp_path / "deployed"), "seconds": 12})
        pool_id = served.submit("pool-sleep", {"pid_file": str(tmp_path / "pool"), "seconds": 25})
        pids_in(tmp_path / "deployed", within=START)
        pids_in(tmp_path / "pool")
        old = served.runner()
        os.kill(old.pid, signal.SIGTERM)
        with job_store_of(served) as store:
            eventually(lambda: store.job(deployed_id).runner_id not in (old.runner_id, "let go"), within=20)
            assert store.job(pool_id).runner_id == old.runner_id
        assert ends(served, deployed_id)["progress"] == 100
        assert ends(served, pool_id)

    def test_the_pool_goes_on(self, served):
        """Processes without a deployment run beside."""
        assert served.execute("in-the-pool", {"name": "x"}).status_code == 200


def test_deploying_again_changes_nothing(served):
    """The command is idempotent."""
    told = served.cli("plugins", "prefect", "deploy", "greet", "hello-world").stdout
    assert told.count("unchanged") >= 2, told


def test_the_doctor_looks_at_deployments(served):
    """What is deployed and worked on is well; what is not deployed, or has no worker, is named with the remedy."""
    told = served.cli("plugins", "prefect", "--config", str(served.config_path), "doctor", check=False)
    assert told.returncode == 1
    assert "ok   deployment of greet: greeting/greet, work pool 'test-pool', 1 workers online" in told.stdout
    assert "FAIL deployment of not-deployed" in told.stdout
    assert "plugins prefect deploy not-deployed" in told.stdout
    assert "FAIL deployment of without-worker: nothing/alone: no worker of the work pool 'empty-pool'" in told.stdout
    assert "deployment of in-the-pool" not in told.stdout
