"""Laws of flows that run in the pool, through Prefect's own engine."""

import base64
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows import SimpleFlowProcessor
from prefect_seen import Prefect
from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.runner.prefect_server import LocalPrefectServer
from serving import Server, assert_problem, eventually, flow, pids_in, running
from web_server import answering, response

FLOWS = [
    "greet",
    "nothing",
    "later",
    "several",
    "second_time",
    "squares",
    "sleep",
    "fail",
    "refuse",
    "login",
    "bar",
    "die",
    "sizes",
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with flows, for which nobody configured Prefect: the runner starts a local one."""
    folder = tmp_path_factory.mktemp("flows")
    processors = {name.replace("_", "-"): flow(name) for name in FLOWS}
    processors |= {
        "hello-world": {"name": "HelloWorld"},
        "simple-flow": {"name": "flows.SimpleFlowProcessor"},
        "limited": flow("sleep", time_limit=1),
        "in-a-folder": {"name": "flows.RenamedFlowProcessor", "prefect": {"result_storage": str(folder / "kept")}},
        "plain-sleep": {"name": "processors.Sleep"},
        "no-such-flow": {"name": "pygeoapi_prefect.FlowProcessor", "prefect": {"flow": "flows:no_such_flow"}},
    }
    server = Server(folder, processors=processors, manager={"allowed_hosts": ["127.0.0.1"]})
    del server.environment["PREFECT_API_URL"]
    with running(server):
        status = eventually(lambda: s if (s := server.runner()).prefect_api_url else None, within=90)
        yield server, Prefect(status.prefect_api_url)


class TestTyped:
    def test_a_flow_is_a_process(self, served):
        """Its description says what its signature does, and a request gets what it returns."""
        server, _ = served
        description = server.client.get("/processes/greet", params={"f": "json"}).json()
        assert description["title"] == "Greet somebody"
        assert description["inputs"]["name"]["description"] == "Who is greeted."
        assert description["inputs"]["times"]["schema"]["maximum"] == 3
        assert description["inputs"]["times"]["minOccurs"] == 0
        assert description["inputs"]["tone"]["schema"]["enum"] == ["kind", "loud"]
        response = server.execute("greet", {"name": "Ada", "times": 2, "tone": "loud"})
        assert (response.status_code, response.text) == (200, "HELLO ADA! HELLO ADA!")
        assert response.headers["content-type"].startswith("text/plain")

    def test_bad_inputs(self, served):
        """Every violation is named at once, with 400."""
        problem = assert_problem(served[0].execute("greet", {"name": 5, "times": 9, "colour": "red"}), 400)
        assert all(f"'{name}'" in problem["detail"] for name in ("name", "times", "colour"))

    def test_references(self, served):
        """What stands at links becomes arguments as if it had been sent, beside what was."""
        server, prefect = served
        with answering(response(bytes(range(256)))) as raster, answering(response(b"four")) as text:
            inputs = {"raster": {"href": raster.url}, "texts": ["in-line", {"href": text.url, "type": "text/plain"}]}
            job_id = server.submit("sizes", inputs)
            job = server.wait_for(job_id)
            assert (job["status"], job["message"]) == ("successful", "Job successful")
        assert server.results(job_id).json() == {"raster": [256], "texts": [7, 4]}
        assert prefect.ended(job_id)["state_type"] == "COMPLETED"

    def test_a_reference_that_leads_nowhere(self, served):
        """The flow run fails as the job does, with the reason, and the flow is not called."""
        with answering(response(b"", "404 Not Found")) as server:
            inputs = {"raster": {"href": server.url}, "texts": []}
            problem = assert_problem(served[0].execute("sizes", inputs), 400)
        assert problem["detail"] == f"Input 'raster': {server.url} answered 404."

    def test_an_asynchronous_flow(self, served):
        """``async def`` runs as well."""
        assert served[0].execute("later").json() == {"slept": 0.01}

    def test_several_outputs(self, served):
        """Each output is stored by itself, and binary ones come out as they went in."""
        server, _ = served
        numbers = {"numbers": [1, 2, 6]}
        document = server.execute("several", numbers, response="document").json()
        assert (document["mean"], document["text"]) == (3.0, "3 numbers")
        assert base64.b64decode(document["raster"]["value"]) == bytes(range(256)) * 100
        raster = server.execute("several", numbers, outputs={"raster": {}})
        assert raster.content == bytes(range(256)) * 100
        assert raster.headers["content-type"].startswith("application/octet-stream")

    def test_tasks(self, served):
        """Tasks of the flow are task runs of the job's one flow run."""
        server, prefect = served
        job_id = server.submit("squares", {"numbers": [1, 2, 3]})
        server.wait_for(job_id, "successful")
        assert server.results(job_id).json() == [1, 4, 9]
        run = prefect.ended(job_id)
        eventually(lambda: len(prefect.task_runs(run["id"])) == 3, within=10, what="three task runs")

    def test_missing_flow(self, served):
        """A flow that is not there makes its process unavailable, not the server."""
        assert_problem(served[0].execute("no-such-flow"), 503)


class TestContract:
    def test_the_document_s_example(self, served):
        """Its flow stores through the block, and its location is where the result is read from."""
        server, _ = served
        response = server.execute("simple-flow", {"name": "Ada", "message": "Good morning."})
        assert (response.status_code, response.text) == (200, "Hello Ada! Good morning.")
        assert response.headers["content-type"].startswith("text/plain")
        assert server.execute("simple-flow", {"name": "everybody"}).text == "Hello everybody!" * 1000

    def test_missing_input(self, served):
        """MissingJobParameterError is the client's mistake."""
        problem = assert_problem(served[0].execute("simple-flow"), 400)
        assert problem["type"].endswith("MissingParameterValue") or problem["code"] == "MissingParameterValue"

    @pytest.mark.parametrize(
        ("name", "reason"),
        [("nobody", "is not where the process said"), ("forgetful", "did not produce the declared outputs: result")],
    )
    def test_breach(self, served, name, reason):
        """An output that is missing, or is not where it is said to be, fails the job with that reason."""
        assert reason in assert_problem(served[0].execute("simple-flow", {"name": name}), 500)["detail"]

    def test_deletion(self, served):
        """A deleted job takes what its flow stored along."""
        server, _ = served
        job_id = server.submit("simple-flow", {"name": "everybody"})
        server.wait_for(job_id, "successful")
        stored = server.folder / "results" / job_id
        assert stored.exists()
        server.client.delete(f"/jobs/{job_id}")
        assert not stored.exists()

    def test_result_storage(self, served):
        """A folder of the process's own is where its flow stores, and the result is copied from there."""
        server, _ = served
        job_id = server.submit("in-a-folder", {"name": "everybody"})
        server.wait_for(job_id, "successful")
        assert (server.folder / "kept" / job_id / "output-result.txt").exists()
        assert server.results(job_id).text == "Hello everybody!" * 1000


class TestInPrefect:
    def test_one_flow_run(self, served):
        """One flow run, of the flow's own name, named and tagged after the job, with inputs as parameters and logs."""
        server, prefect = served
        job_id = server.submit("greet", {"name": "Ada"})
        server.wait_for(job_id, "successful")
        run = prefect.ended(job_id)
        assert run["state_type"] == "COMPLETED"
        assert run["name"] == f"greet {job_id}"
        assert run["parameters"] == {"job_id": job_id, "inputs": {"name": "Ada", "times": 1, "tone": "kind"}}
        flow_name = prefect.client.get(f"/flows/{run['flow_id']}").json()["name"]
        assert flow_name == "greeting"
        eventually(lambda: "greeting Ada" in prefect.logs(run["id"]), within=10, what="the log line")
        assert "RUNNING" in prefect.state_types(run["id"])

    def test_log_of_the_job(self, served):
        """What the flow logs through Prefect is in the job's own log."""
        server, _ = served
        job_id = server.submit("greet", {"name": "Grace"})
        server.wait_for(job_id, "successful")
        assert "greeting Grace" in server.cli("plugins", "prefect", "jobs", "logs", job_id).stdout

    def test_secret(self, served):
        """A secret input reaches the flow and nobody else, and is not stored once the job has ended."""
        server, prefect = served
        job_id = server.submit("login", {"user": "ada", "password": "hunter22"})
        server.wait_for(job_id, "successful")
        assert server.results(job_id).json() == {"user": "ada", "length": 8}
        assert prefect.ended(job_id)["parameters"]["inputs"] == {"user": "ada", "password": "(secret)"}
        assert "hunter22" not in server.runner_log()
        store = JobStore(Database(f"sqlite:///{server.folder / 'jobs.db'}", timeout=5))
        assert store.details(job_id).request["inputs"] == {"user": "ada", "password": "(secret)"}
        store.database.dispose()

    def test_retries(self, served, tmp_path):
        """The flow's retries are one job that runs, to its end."""
        server, prefect = served
        job_id = server.submit("second-time", {"folder": str(tmp_path)})
        job = server.wait_for(job_id, "successful")
        assert server.results(job_id).json() == 2
        assert job["progress"] == 100
        run = prefect.ended(job_id)
        assert run["run_count"] == 2

    @pytest.mark.parametrize(("process_id", "status"), [("fail", 500), ("refuse", 400)])
    def test_failure(self, served, process_id, status):
        """What the flow raises is the job's reason, and Prefect shows the run as failed."""
        server, prefect = served
        job_id = server.submit(process_id)
        job = server.wait_for(job_id, "failed")
        assert (
            job["message"]
            == {"fail": "ValueError: it cannot be", "refuse": "Cannot process without a scene"}[process_id]
        )
        assert_problem(server.results(job_id), status)
        assert prefect.ended(job_id)["state_type"] == "FAILED"

    def test_a_worker_that_dies(self, served):
        """The job fails with the reason, its flow run too, and the next job runs."""
        server, prefect = served
        job_id = server.submit("die")
        assert "SIGKILL" in server.wait_for(job_id, "failed")["message"]
        assert prefect.ended(job_id)["state_type"] == "FAILED"
        assert server.execute("nothing").text == "nothing"

    def test_progress(self, served):
        """Progress that a flow shows in Prefect with an artifact is the job's."""
        server, _ = served
        job_id = server.submit("bar", {"seconds": 3})
        job = eventually(lambda: j if (j := server.job(job_id))["progress"] >= 5 else None, within=10)
        assert job["status"] == "running"
        eventually(lambda: server.job(job_id)["progress"] == 60, within=10)
        server.wait_for(job_id, "successful")


class TestStopping:
    def test_dismissal(self, served, tmp_path):
        """DELETE stops the flow, and Prefect shows it as cancelled."""
        server, prefect = served
        job_id = server.submit("sleep", {"pid_file": str(tmp_path / "pid")})
        (pid,) = pids_in(tmp_path / "pid")
        assert server.client.delete(f"/jobs/{job_id}").status_code == 200
        eventually(lambda: not Path(f"/proc/{pid}").exists(), within=5, what="the end of the work")
        assert server.job(job_id)["status"] == "dismissed"
        prefect.comes_to(job_id, "CANCELLED")

    @pytest.mark.parametrize("process_id", ["sleep", "plain-sleep"])
    def test_cancelling_in_prefect(self, served, tmp_path, process_id):
        """Cancelling in Prefect dismisses the job, stops the work, and ends as Cancelled, for any process."""
        server, prefect = served
        job_id = server.submit(process_id, {"pid_file": str(tmp_path / "pid")})
        (pid,) = pids_in(tmp_path / "pid")
        run = eventually(lambda: prefect.flow_run(job_id), within=10)
        prefect.cancel(run["id"])
        server.wait_for(job_id, "dismissed", within=15)
        eventually(lambda: not Path(f"/proc/{pid}").exists(), within=5, what="the end of the work")
        prefect.comes_to(job_id, "CANCELLED")

    def test_time_limit(self, served, tmp_path):
        """A flow that takes too long is stopped, and failed in both places."""
        server, prefect = served
        job_id = server.submit("limited", {"pid_file": str(tmp_path / "pid")})
        assert "longer than its process may" in server.wait_for(job_id, "failed")["message"]
        prefect.comes_to(job_id, "FAILED")


def test_the_description_of_a_class(served):
    """A process's description is the class's, with what pygeoapi needs besides."""
    described = served[0].client.get("/processes/simple-flow", params={"f": "json"}).json()
    assert described["title"] == SimpleFlowProcessor.process_description.title
    assert described["inputs"]["message"]["minOccurs"] == 0


class TestWithoutPrefect:
    @pytest.fixture
    def cut_off(self, tmp_path):
        """A server whose Prefect is down, and the folder of a Prefect server that may come up at its address."""
        prefect = LocalPrefectServer(tmp_path / "prefect")
        prefect.start()
        prefect.wait_until_healthy(60)
        prefect.stop()
        processors = {"nothing": flow("nothing"), "hello-world": {"name": "HelloWorld"}}
        server = Server(
            tmp_path / "server",
            processors=processors,
            manager={"prefect_timeout": 60},
            environment={"PREFECT_API_URL": prefect.connection.api_url},
        )
        with running(server):
            yield server, prefect
        prefect.stop()

    @pytest.mark.soak
    def test_flows_wait(self, cut_off):
        """A flow waits and says so, plain processes run, and when Prefect is back the flow runs."""
        server, prefect = cut_off
        job_id = server.submit("nothing")
        assert server.execute("hello-world", {"name": "x"}).status_code == 200
        job = eventually(lambda: j if "Prefect" in (j := server.job(job_id))["message"] else None, within=10)
        assert job["status"] == "accepted"
        assert job["message"] == "The job waits: Prefect cannot be reached"
        prefect.start()
        server.wait_for(job_id, "successful", within=60)

    @pytest.mark.soak
    def test_flows_give_up(self, tmp_path):
        """After the configured time the job fails with that reason."""
        server = Server(tmp_path, processors={"nothing": flow("nothing")}, manager={"prefect_timeout": 1})
        with running(server):
            job_id = server.submit("nothing")
            job = server.wait_for(job_id, "failed", within=15)
            assert job["message"] == "Prefect could not be reached for 1 seconds"
            assert_problem(server.results(job_id), 503)


def test_flows_at_once(served):
    """Jobs that come at once all succeed, each with its own result."""
    server, _ = served
    with ThreadPoolExecutor(8) as threads:
        job_ids = list(threads.map(lambda number: server.submit("greet", {"name": str(number)}), range(16)))
    for number, job_id in enumerate(job_ids):
        server.wait_for(job_id, "successful", within=60)
        assert server.results(job_id).text == f"Hello {number}!"


@pytest.mark.soak
def test_a_runner_that_dies(served, tmp_path):
    """The flow's process ends with its runner, the job fails with the reason, and its run ends in Prefect."""
    server, _ = served
    job_id = server.submit("sleep", {"pid_file": str(tmp_path / "pid")})
    (pid,) = pids_in(tmp_path / "pid")
    runner = server.runner()
    time.sleep(0.5)
    os.kill(runner.pid, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), within=5, what="the end of the work")
    assert "lost" in server.wait_for(job_id, "failed", within=30)["message"]
    status = eventually(
        lambda: s if (s := server.runner()).pid != runner.pid and s.prefect_api_url else None, within=60
    )
    assert Prefect(status.prefect_api_url).ended(job_id, within=60)["state_type"] in ("FAILED", "CRASHED")
