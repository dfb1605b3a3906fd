"""Laws of the command line, run as users run it."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from serving import Server, eventually, free_port, running

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with one successful job."""
    with running(Server(tmp_path_factory.mktemp("cli"))) as started:
        yield started


def prefect(server: Server, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return server.cli("plugins", "prefect", *arguments, check=check)


class TestJobs:
    def test_list_and_show(self, server):
        """``jobs list`` and ``jobs show`` tell what the job store holds."""
        job_id = server.submit("talkative", {"seconds": 0})
        server.wait_for(job_id, "successful")
        listed = [json.loads(line) for line in prefect(server, "jobs", "list", "--json").stdout.splitlines()]
        assert listed[0]["job_id"] == job_id
        assert job_id in prefect(server, "jobs", "list", "--status", "successful").stdout
        assert job_id not in prefect(server, "jobs", "list", "--status", "failed").stdout
        fitting = ["--process-id", "talkative", "--datetime", "2026-01-01T00:00:00Z/..", "--max-duration", "3600"]
        assert (
            job_id in prefect(server, "jobs", "list", "--status", "failed", "--status", "successful", *fitting).stdout
        )
        assert job_id not in prefect(server, "jobs", "list", "--min-duration", "3600", "--offset", "0").stdout
        refused = prefect(server, "jobs", "list", "--status", "done", check=False)
        assert (refused.returncode, "'status' must be of 'accepted'" in refused.stderr) == (2, True)
        shown = json.loads(prefect(server, "jobs", "show", job_id).stdout)
        assert (shown["status"], shown["request"]["inputs"]) == ("successful", {"seconds": 0})

    def test_dismiss_stops_the_work(self, server, tmp_path):
        """``jobs dismiss`` stops the work as DELETE does."""
        job_id = server.submit("sleep", {"seconds": 60, "pid_file": str(tmp_path / "pid")})
        server.wait_for(job_id, "running")
        assert "dismissed" in prefect(server, "jobs", "dismiss", job_id).stdout
        pid = int((tmp_path / "pid").read_text())
        eventually(lambda: not psutil.pid_exists(pid), within=2.5)
        assert "had ended already" in prefect(server, "jobs", "dismiss", job_id).stdout

    def test_follow_the_log(self, server):
        """``jobs logs --follow`` goes on until the job ends, and misses no line."""
        job_id = server.submit("talkative", {"seconds": 2})
        assert "a line of a tool" in prefect(server, "jobs", "logs", "--follow", job_id).stdout
        assert server.job(job_id)["status"] == "successful"

    @pytest.mark.parametrize("command", ["show", "dismiss", "logs"])
    def test_unknown_job(self, server, command):
        """An unknown job is one clear line and exit code 1."""
        result = prefect(server, "jobs", command, "nothing", check=False)
        assert (result.returncode, result.stderr.strip()) == (1, "Error: There is no job 'nothing'")


class TestDb:
    def test_upgrade_and_current(self, tmp_path):
        """``db current`` fails on a database without tables; after ``db upgrade`` both revisions are the same."""
        server = Server(tmp_path)
        assert prefect(server, "db", "current", check=False).returncode == 1
        prefect(server, "db", "upgrade")
        database, package = prefect(server, "db", "current").stdout.split("\n")[:2]
        assert database.split(": ")[1] == package.split(": ")[1]


class TestDoctor:
    def test_finds_what_is_wrong(self, server):
        """Each broken processor and the silent Prefect is named with a remedy; the rest is well; the exit code is 1."""
        result = prefect(server, "doctor", check=False)
        failed = set(re.findall(r"^FAIL ([^:]+):", result.stdout, re.MULTILINE))
        assert failed == {"process broken-import", "process broken-init", "Prefect"}
        assert "No module named 'processors_that_are_not_there'" in result.stdout
        assert result.returncode == 1
        assert result.stdout.count("→") == 3

    def test_wrong_configuration(self, tmp_path):
        """A wrong key is named; a database that cannot be reached is told without its password."""
        server = Server(tmp_path, manager={"lease": 0})
        assert "server.manager.lease" in prefect(server, "doctor", check=False).stdout
        url = "postgresql://somebody:hidden@127.0.0.1:9/nothing"
        server = Server(tmp_path, manager={"connection": url, "database_timeout": 0})
        result = prefect(server, "doctor", check=False)
        assert "FAIL job store" in result.stdout
        assert "hidden" not in result.stdout + result.stderr

    def test_no_external_runner(self, tmp_path):
        """Where external runners are expected and none lives, doctor says so and how to start one."""
        server = Server(tmp_path, manager={"runner": "external"})
        prefect(server, "db", "upgrade")
        printed = prefect(server, "doctor", check=False).stdout
        assert "FAIL runner: external, 0 living" in printed
        assert "Start one: `pygeoapi plugins prefect runner`" in printed

    def test_another_manager(self, tmp_path):
        """A configuration of another manager is refused by its name."""
        server = Server(tmp_path, manager={"name": "TinyDB"})
        result = prefect(server, "doctor", check=False)
        assert "server.manager.name is 'TinyDB'" in result.stderr


@pytest.mark.soak
def test_up_serves_until_interrupted(tmp_path):
    """``up`` serves pygeoapi, runner and Prefect from one command; Ctrl-C ends every process."""
    server = Server(tmp_path)
    del server.environment["PYGEOAPI_OPENAPI"]
    up = subprocess.Popen(
        [sys.executable, "-c", "from pygeoapi import cli; cli()", "plugins", "prefect", "up", "--starlette"],
        env=server.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert up.stdout is not None
        printed = ""
        while "Serving. Ctrl-C ends it." not in printed:
            line = up.stdout.readline()
            assert line, printed
            printed += line
        assert f"pygeoapi    {server.url}" in printed
        assert "Starting the job runner …" in printed
        assert server.execute("hello-world", {"name": "up"}).json() == "Hello up!"
        family = [*psutil.Process(up.pid).children(recursive=True), psutil.Process(server.runner().pid)]
        family += family[-1].children(recursive=True)
        up.send_signal(signal.SIGINT)
        assert up.wait(40) == 0
        eventually(lambda: not any(process.is_running() for process in family), within=5)
    finally:
        up.kill()
        server.stop()


def test_up_refuses_a_port_in_use(server):
    """``up`` says that the port is taken instead of serving somewhere else."""
    result = prefect(server, "up", check=False)
    assert result.returncode == 1
    assert "cannot be used: Address already in use" in result.stderr


def test_demo(tmp_path):
    """The README's demo runs a real process on real data both ways, prints the results, and ends everything."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PYGEOAPI"))}
    demo = subprocess.run(
        [sys.executable, "examples/terrain/demo.py", "--once", "--port", str(port), "--data", str(tmp_path / "data")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert demo.returncode == 0, demo.stderr
    assert re.search(r"18144 cells, mean 16\.2°, steepest 34\.3°", demo.stdout)
    assert "successful: image/tiff; application=geotiff" in demo.stdout
    assert re.search(r"Prefect UI  http://127\.0\.0\.1:\d+", demo.stdout)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
    left = [
        process.pid
        for process in psutil.process_iter()
        if str(tmp_path) in _environment_of(process) and process.pid != os.getpid()
    ]
    assert left == []


def _environment_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.environ().values())
    except (psutil.Error, OSError):
        return ""
