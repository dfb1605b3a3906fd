"""A configuration that was written for pygeoapi-prefect 0.9 keeps working, with flows that were deployed for it."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from prefect_seen import Prefect
from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.runner.presence import Presence
from serving import TESTS, Server, assert_problem, eventually, pids_in, running

METADATA = {
    "title": "Shouter",
    "description": "Says it louder.",
    "keywords": ["loud"],
    "version": "0.3.0",
    "inputs": {
        "words": {"title": "Words", "schema": {"type": "string"}},
        "politely": {"schema": {"type": "bool"}, "minOccurs": 0},
        "how": {"schema": {"type": "string"}, "minOccurs": 0},
        "pid_file": {"schema": {"type": "string"}, "minOccurs": 0},
    },
    "outputs": {"result": {"schema": {"type": "string", "contentMediaType": "text/plain"}}},
    "example": {"inputs": {"words": "hello"}},
}
SECRET = {"inputs": {"password": {"schema": {"type": "string", "format": "password"}, "minOccurs": 0}}}
BY_HAND = {"name": "shout/by-hand", "result_storage_key_template": "{job_id}.pickle"}
IN_A_BLOCK = {
    "name": "shout/by-hand",
    "result_storage_block": "local-file-system/kept-by-0-9",
    "result_storage_key_template": "results/{job_id}.bin",
}


def in_the_pool(name):
    """A flow of that time, run by the pool."""
    prefect = {"flow": f"flows_of_0_9:{name}", "metadata": METADATA}
    return {"name": "pygeoapi_prefect.FlowProcessor", "prefect": prefect}


PROCESSORS = {
    "shout": {"prefect": {"deployment": BY_HAND, "metadata": METADATA}},
    "shout-in_a-block": {"prefect": {"deployment": IN_A_BLOCK}},
    "shout-async": {"job_control_options": ["async-execute"], "prefect": {"deployment": BY_HAND}},
    "secretive": {"prefect": {"deployment": BY_HAND, "metadata": SECRET}},
    "never-deployed": {"prefect": {"deployment": BY_HAND | {"name": "shout/by-nobody"}}},
    "block-that-is-gone": {
        "prefect": {"deployment": BY_HAND | {"result_storage_block": "local-file-system/gone"}},
    },
    "hello-world": {"name": "HelloWorld"},
    "hello-async": {"name": "HelloWorld", "job_control_options": ["async-execute"]},
    "pooled-shout": in_the_pool("shout"),
    "pooled-shout-later": in_the_pool("shout_later"),
    "pooled-hum": in_the_pool("hum"),
}


@pytest.fixture(scope="module")
def served(prefect_server, tmp_path_factory):
    """A server with no keys but those of 0.9, and a process of its own that serves the flow."""
    folder = tmp_path_factory.mktemp("old")
    prefect = Prefect(prefect_server.connection.api_url)
    environment = {
        "PREFECT_API_URL": prefect_server.connection.api_url,
        "PREFECT_HOME": str(folder / "prefect-home"),
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "KEPT_BY_0_9": str(folder / "kept"),
    }
    manager = {
        "enable_sync_job_execution": True,
        "sync_job_execution_timeout_seconds": 35,
        **dict.fromkeys(("connection", "output_dir", "data_dir", "shutdown_grace")),
    }
    server = Server(folder, processors=PROCESSORS, manager=manager, environment=environment, cwd=folder, describes=True)
    server.presence = Presence(folder / "pygeoapi-prefect" / "pygeoapi-prefect")
    with (folder / "serve.log").open("wb") as log:
        serving = subprocess.Popen(
            [sys.executable, str(TESTS / "flows_of_0_9.py")], env=server.environment, stdout=log, stderr=log
        )
    try:
        with running(server):
            deployment = "/deployments/name/shout/by-hand"
            eventually(lambda: prefect.client.get(deployment).status_code == 200, within=40, what="the deployment")
            yield server, prefect
    finally:
        serving.send_signal(signal.SIGINT)
        try:
            serving.wait(15)
        except subprocess.TimeoutExpired:
            serving.kill()


@pytest.fixture(scope="module")
def jobs(served, tmp_path_factory):
    """One job of each kind, at once: each takes seconds, for it is a Python of its own."""
    server, _ = served
    pid_file = tmp_path_factory.mktemp("pids") / "loaded-by"
    kinds = {kind: ("shout", {"words": "x", "how": kind}) for kind in ("bytes", "fail", "forget")}
    kinds |= {
        "document": ("shout-async", {"how": "document"}),
        "block": ("shout-in_a-block", {"how": "block"}),
        "no block": ("block-that-is-gone", {"words": "x"}),
        "trap": ("shout", {"words": "x", "how": "trap", "pid_file": str(pid_file)}),
    }
    return {kind: server.submit(*request) for kind, request in kinds.items()} | {"pid_file": pid_file}


def ended(server, job_id):
    return server.wait_for(job_id, within=60)


class TestDescriptions:
    def test_metadata(self, served):
        """A process says of itself what the configuration does, and is valid where 0.9 was lax."""
        described = served[0].client.get("/processes/shout", params={"f": "json"}).json()
        for key in ("title", "description", "keywords", "version", "example"):
            assert described[key] == METADATA[key]
        assert described["id"] == "shout"
        assert described["outputTransmission"] == ["value", "reference"]
        assert described["inputs"]["words"] == METADATA["inputs"]["words"] | {"minOccurs": 1, "maxOccurs": 1}
        assert described["inputs"]["politely"]["schema"] == {"type": "boolean"}
        assert described["outputs"] == METADATA["outputs"]

    def test_defaults(self, served):
        """Without metadata the title comes from the id, and the version says that nobody gave one."""
        described = served[0].client.get("/processes/shout-in_a-block", params={"f": "json"}).json()
        assert (described["title"], described["version"]) == ("Shout in a block", "0.0.1-dev")
        assert (described["inputs"], described["outputs"]) == ({}, {})

    @pytest.mark.parametrize(
        ("process_id", "options"),
        [
            ("shout", ["sync-execute", "async-execute"]),
            ("shout-async", ["async-execute"]),
            ("hello-world", ["sync-execute", "async-execute"]),
            ("hello-async", ["async-execute"]),
            ("pooled-shout", ["sync-execute", "async-execute"]),
        ],
    )
    def test_job_control_options(self, served, process_id, options):
        """They are those of the process in the configuration, else what the manager's switches say; and dismissal."""
        server, _ = served
        options = [*options, "dismiss"]
        assert (
            server.client.get(f"/processes/{process_id}", params={"f": "json"}).json()["jobControlOptions"] == options
        )
        listed = server.client.get("/processes", params={"f": "json"}).json()["processes"]
        assert {one["id"]: one["jobControlOptions"] for one in listed}[process_id] == options

    @pytest.mark.parametrize("path", ["/processes/shout", "/processes", "/openapi"])
    def test_pages(self, served, path):
        """pygeoapi makes its pages and its OpenAPI document of such a process."""
        answer = served[0].client.get(path, params={"f": "html" if path != "/openapi" else "json"})
        assert answer.status_code == 200
        assert "Shouter" in answer.text


class TestDeployments:
    def test_synchronous(self, served):
        """A request that waits gets what the flow's task has persisted."""
        answer = served[0].execute("shout", {"words": "hello"})
        assert (answer.status_code, answer.text) == (200, "HELLO!")
        assert answer.headers["content-type"].startswith("text/plain")

    def test_asynchronous(self, served, jobs):
        """The flow is told process, inputs and outputs; its run has the name that 0.9 gave it, and our tags."""
        server, prefect = served
        job_id = jobs["document"]
        job = ended(server, job_id)
        assert (job["status"], job["progress"], job["processID"]) == ("successful", 100, "shout-async")
        assert server.results(job_id).json() == {"called": ["shout-async", {"how": "document"}, {}]}
        run = prefect.ended(job_id)
        assert run["name"] == f"pygeoapi_job_{job_id}"
        assert {"pygeoapi", "process:shout-async", f"job:{job_id}"} <= set(run["tags"])

    def test_without_a_preference(self, served):
        """A process that is executed asynchronously only makes a job for whoever does not ask for one."""
        assert served[0].execute("hello-async", {"name": "x"}).status_code == 201

    def test_bytes(self, served, jobs):
        """Binary results come out byte for byte, with their media type."""
        server, _ = served
        assert ended(server, jobs["bytes"])["status"] == "successful"
        answer = server.results(jobs["bytes"])
        assert answer.content == bytes(range(256)) * 100
        assert answer.headers["content-type"].startswith("image/x-noise")

    def test_block_and_key(self, served, jobs):
        """A storage block and a template say where the result is."""
        server, _ = served
        assert ended(server, jobs["block"])["status"] == "successful"
        assert server.results(jobs["block"]).content == b"from the block"
        assert (server.folder / "kept" / "results" / f"{jobs['block']}.bin").exists()

    def test_list(self, served, jobs):
        """Every job is in the list, those that failed or wait included."""
        server, _ = served
        listed = {job["jobID"] for job in server.client.get("/jobs", params={"f": "json", "limit": 100}).json()["jobs"]}
        assert {job_id for kind, job_id in jobs.items() if kind != "pid_file"} <= listed

    def test_who_reads_pickles(self, served, jobs):
        """What a pickle executes is executed once, by a pool worker: by no web process, and not by the runner."""
        server, _ = served
        assert ended(server, jobs["trap"])["status"] == "successful"
        for _ in range(5):
            assert server.results(jobs["trap"]).text == "it snapped"
            server.job(jobs["trap"])
        (pid,) = pids_in(jobs["pid_file"])
        forkserver = psutil.Process(pid).parent()
        assert forkserver.parent().pid == server.runner().pid

    def test_deletion(self, served, jobs):
        """An ended job goes with its stored result."""
        server, _ = served
        ended(server, jobs["bytes"])
        stored = server.folder / "pygeoapi-prefect" / "results" / jobs["bytes"]
        assert stored.exists()
        assert server.client.delete(f"/jobs/{jobs['bytes']}").status_code == 200
        assert not stored.exists()
        assert_problem(server.client.get(f"/jobs/{jobs['bytes']}", params={"f": "json"}), 404)


class TestFailures:
    def test_failing_flow(self, served, jobs):
        """The job fails with what the flow raised."""
        server, prefect = served
        job = ended(server, jobs["fail"])
        assert job["status"] == "failed"
        assert "hoarse" in job["message"]
        assert_problem(server.results(jobs["fail"]), 500)
        assert prefect.ended(jobs["fail"])["state_type"] == "FAILED"

    def test_missing_result(self, served, jobs):
        """A flow that persisted nothing fails its job with the key and the storage."""
        server, _ = served
        job = ended(server, jobs["forget"])
        assert job["status"] == "failed"
        assert f"no result '{jobs['forget']}.pickle' in Prefect's default result storage" in job["message"]

    def test_missing_block(self, served, jobs):
        """A block that is gone fails the job, with its name for the operator only."""
        server, _ = served
        job = ended(server, jobs["no block"])
        assert (job["status"], job["message"]) == ("failed", ConfigurationError.default_client_message)
        log = server.cli("plugins", "prefect", "jobs", "logs", jobs["no block"]).stdout
        assert "result_storage_block: Prefect has no block 'local-file-system/gone'" in log

    def test_secret_inputs(self, served):
        """Prefect would show them, so they are refused, and nothing is written to it."""
        server, prefect = served
        job_id = server.submit("secretive", {"password": "hunter22"})
        assert "cannot take secret inputs: password" in ended(server, job_id)["message"]
        assert_problem(server.results(job_id), 400)
        assert prefect.flow_run(job_id) is None

    def test_large_inputs(self, served):
        """Inputs that Prefect does not take are refused in plain words."""
        server, _ = served
        job_id = server.submit("shout", {"words": "x" * 600_000})
        assert "takes 524288 at most" in ended(server, job_id)["message"]
        assert_problem(server.results(job_id), 400)

    def test_missing_deployment(self, served):
        """A deployment that nobody made fails its jobs."""
        server, _ = served
        assert ended(server, server.submit("never-deployed", {}))["status"] == "failed"

    def test_dismissal(self, served, tmp_path):
        """DELETE ends the flow run with its process."""
        server, prefect = served
        job_id = server.submit("shout", {"words": "x", "how": "sleep", "pid_file": str(tmp_path / "pid")})
        (pid,) = pids_in(tmp_path / "pid", within=40)
        assert server.wait_for(job_id, "running")["status"] == "running"
        assert server.client.delete(f"/jobs/{job_id}").status_code == 200
        assert server.job(job_id)["status"] == "dismissed"
        eventually(lambda: not Path(f"/proc/{pid}").exists(), within=30, what="the end of the work")
        prefect.comes_to(job_id, "CANCELLED")


class TestInThePool:
    """Flows of that time without a deployment: declared with ``flow``, they need nobody to serve them."""

    @pytest.mark.parametrize(
        ("process_id", "text"),
        [
            ("pooled-shout", "HELLO!"),
            ("pooled-shout-later", "hello (later)"),
            ("pooled-hum", "hm, hello"),
        ],
    )
    def test_result(self, served, process_id, text):
        """It is what the flow returns, else what a task of it has persisted."""
        answer = served[0].execute(process_id, {"words": "hello"})
        assert (answer.status_code, answer.text) == (200, text)

    def test_useless_result(self, served):
        """What is neither text nor bytes nor JSON is no result."""
        problem = assert_problem(served[0].execute("pooled-shout", {"words": "x", "how": "set"}), 500)
        assert "returned a set that cannot be written as JSON" in problem["detail"]

    def test_missing_result(self, served):
        """A flow that does neither fails its job with the key."""
        problem = assert_problem(served[0].execute("pooled-shout", {"words": "x", "how": "forget"}), 404)
        assert ".pickle" in problem["detail"]


def test_plain_processes(served):
    """They run as durable jobs, without anything being deployed first."""
    server, _ = served
    assert server.execute("hello-world", {"name": "Ada"}).json() == "Hello Ada!"
    job_id = server.submit("hello-async", {"name": "Ada"})
    assert server.wait_for(job_id)["status"] == "successful"
    assert server.results(job_id).json() == "Hello Ada!"


def test_the_default_folders(served):
    """Without connection and output_dir both are below the working directory, and the log says so."""
    server, _ = served
    assert (server.folder / "pygeoapi-prefect" / "jobs.db").is_file()
    log = (server.folder / "web.log").read_text()
    for key in ("connection", "output_dir"):
        assert f"server.manager.{key} is not set" in log
