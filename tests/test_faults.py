"""Laws of crashes: whatever is killed, no job hangs without words, and none that waits is forgotten."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pygeoapi_prefect.runner.os_processes import is_alive
from serving import Server, assert_problem, eventually, new_database, pids_in, running, sleepers


def runner_processes(server: Server) -> list[psutil.Process]:
    """The runner, its forkserver and its pool workers; not the child that reads Prefect's settings for a moment."""
    runner = psutil.Process(server.runner().pid)
    eventually(lambda: not any(map(_is_starting, runner.children())), within=20)
    return [runner, *runner.children(recursive=True)]


def _is_starting(child: psutil.Process) -> bool:
    try:
        return "-P" in child.cmdline()
    except psutil.NoSuchProcess:
        # it has ended, and may not be reaped yet
        return False


class TestRunnerKilled:
    def test_its_jobs_fail_and_waiting_ones_run(self, tmp_path):
        """
        A runner killed with -9: its pool workers and all that they started die with it within 2 s, its jobs fail with
        the reason within 5 s, a new runner starts by itself and runs the jobs that waited. Nobody POSTs again.
        """
        with running(Server(tmp_path, manager={"max_running": 2})) as server:
            before = sleepers(server)
            family = server.submit("family", {"pid_file": str(tmp_path / "pids")})
            victims = pids_in(tmp_path / "pids")
            stubborn = server.submit("stubborn", {"pid_file": str(tmp_path / "stubborn")})
            victims += pids_in(tmp_path / "stubborn")
            waiting = server.submit("hello-world", {"name": "patient"})
            victims += eventually(lambda: s if len(s := sleepers(server) - before) == 2 else None, within=10)
            victims += [process.pid for process in runner_processes(server)]
            os.kill(server.runner().pid, signal.SIGKILL)
            eventually(lambda: not any(_lives(pid) for pid in victims), within=3, what="end of the runner's processes")
            for job_id in (family, stubborn):
                job = server.wait_for(job_id, within=5)
                assert job["status"] == "failed"
                assert "its runner ended while the job was running" in job["message"]
                assert "its runner ended" in assert_problem(server.results(job_id), 500)["detail"]
            assert server.wait_for(waiting)["status"] == "successful"

    def test_rerun_lost(self, tmp_path):
        """A job of a process that may be run again is, when its runner was lost."""
        with running(Server(tmp_path, prefect={"sleep": {"rerun_lost": True}})) as server:
            job_id = server.submit("sleep", {"seconds": 2, "pid_file": str(tmp_path / "pid")})
            pids_in(tmp_path / "pid")
            os.kill(server.runner().pid, signal.SIGKILL)
            assert server.wait_for(job_id)["status"] == "successful"

    @pytest.mark.soak
    def test_forkserver_killed(self, tmp_path):
        """A forkserver killed with -9 takes its jobs with it; they fail with a reason, and work goes on."""
        with running(Server(tmp_path)) as server:
            job_id = server.submit("sleep", {"seconds": 60, "pid_file": str(tmp_path / "pid")})
            pids_in(tmp_path / "pid")
            (forkserver,) = runner_processes(server)[0].children()
            forkserver.kill()
            assert server.wait_for(job_id, within=10)["status"] == "failed"
            assert server.execute("hello-world", {"name": "next"}).status_code == 200


class TestWebServerKilled:
    def test_work_goes_on(self, tmp_path):
        """A web server that is killed and started again loses nothing: the job that ran goes on to its end."""
        server = Server(tmp_path, manager={"shutdown_grace": 30})
        with running(server):
            job_id = server.submit("sleep", {"seconds": 4, "pid_file": str(tmp_path / "pid")})
            (pid,) = pids_in(tmp_path / "pid")
            server.stop_web(signal.SIGKILL)
            server.start()
            assert _lives(pid)
            assert server.wait_for(job_id)["status"] == "successful"

    @pytest.mark.soak
    def test_queue_survives_everything(self, tmp_path):
        """Jobs that wait when server and runner are gone run after the next start, with its first request."""
        server = Server(tmp_path, manager={"max_running": 1})
        with running(server):
            blocking = server.submit("sleep", {"seconds": 60})
            server.wait_for(blocking, "running")
            waiting = [server.submit("hello-world", {"name": str(number)}) for number in range(3)]
            runner = server.runner()
            server.stop_web(signal.SIGKILL)
            os.kill(runner.pid, signal.SIGKILL)
            eventually(lambda: not is_alive(runner.pid, runner.pid_started), within=5)
            server.start()  # asks for the landing page, nothing else
            for job_id in waiting:
                assert server.wait_for(job_id)["status"] == "successful"
            assert server.job(blocking)["status"] == "failed"

    @pytest.mark.soak
    def test_runner_ends_after_the_last_web_process(self, tmp_path):
        """An embedded runner outlives the web processes by shutdown_grace, finishes what runs, and leaves nothing."""
        server = Server(tmp_path, manager={"shutdown_grace": 1})
        with running(server):
            job_id = server.submit("sleep", {"seconds": 4})
            server.wait_for(job_id, "running")
            processes = runner_processes(server)
            server.stop_web()
            time.sleep(2)
            assert processes[0].is_running()
            eventually(lambda: not any(process.is_running() for process in processes), within=15)
            server.start()
            assert server.job(job_id)["status"] == "successful"


class TestConfigurationChanged:
    @pytest.mark.soak
    def test_a_new_configuration_replaces_the_runner(self, tmp_path):
        """A server restarted with another configuration drains the old runner and starts its own."""
        server = Server(tmp_path, manager={"shutdown_grace": 60})
        with running(server):
            first = server.runner()
            job_id = server.submit("sleep", {"seconds": 3})
            server.wait_for(job_id, "running")
            server.stop_web()
            server.write_configuration({"shutdown_grace": 2, "max_running": 5}, {})
            server.start()
            eventually(lambda: server.runner().runner_id != first.runner_id, within=20)
            assert server.wait_for(job_id)["status"] == "successful"
            eventually(lambda: not is_alive(first.pid, first.pid_started), within=15)
            assert server.execute("hello-world", {"name": "new"}).status_code == 200


class TestDatabaseAway:
    @pytest.mark.soak
    def test_it_heals_by_itself(self, tmp_path, postgresql):
        """
        While PostgreSQL is away every job route answers 503 as a problem, and a running job goes on; when it is back
        everything works again, and the outcome of the job is there.
        """
        server = Server(tmp_path, manager={"connection": new_database(postgresql), "database_timeout": 1})
        with running(server):
            job_id = server.submit("sleep", {"seconds": 3, "pid_file": str(tmp_path / "pid")})
            pids_in(tmp_path / "pid")
            postgresql.stop()
            try:
                for response in (
                    server.client.get("/jobs", params={"f": "json"}),
                    server.client.get(f"/jobs/{job_id}"),
                    server.results(job_id),
                    server.client.delete(f"/jobs/{job_id}"),
                    server.execute("hello-world", {"name": "nobody"}),
                ):
                    problem = assert_problem(response, 503)
                    assert "Retry-After" in response.headers
                    assert "postgres" not in problem["detail"]
                assert server.client.get("/processes", params={"f": "json"}).status_code == 200
                time.sleep(3)
            finally:
                postgresql.start()
            assert server.wait_for(job_id, within=15)["status"] == "successful"
            assert server.execute("hello-world", {"name": "again"}).status_code == 200

    @pytest.mark.soak
    def test_it_is_waited_for(self, tmp_path, postgresql):
        """A server whose database is not up yet starts, and works when it is."""
        url = new_database(postgresql)
        postgresql.stop()
        try:
            server = Server(tmp_path, manager={"connection": url, "database_timeout": 1})
            with running(server):
                assert_problem(server.client.get("/jobs"), 503)
                postgresql.start()
                eventually(lambda: server.client.get("/jobs").status_code == 200, within=10)
                assert server.execute("hello-world", {"name": "late"}).status_code == 200
        finally:
            postgresql.start()


class TestLimits:
    def test_queue_is_bounded(self, tmp_path):
        """When max_waiting jobs wait, the next is refused with 503 that says how many; none is stored."""
        with running(Server(tmp_path, manager={"max_running": 1, "max_waiting": 2})) as server:
            server.wait_for(server.submit("sleep", {"seconds": 60}), "running")
            waiting = [server.submit("sleep", {"seconds": 0}) for _ in range(2)]
            problem = assert_problem(server.execute("hello-world", {"name": "one too many"}), 503)
            assert "2 jobs are waiting" in problem["detail"]
            listed = server.client.get("/jobs", params={"f": "json"}).json()["jobs"]
            assert len(listed) == 1 + len(waiting)

    def test_processes_have_limits_of_their_own(self, tmp_path):
        """No more jobs of a process run at once than it allows, while others pass by."""
        server = Server(tmp_path, manager={"max_running": 3}, prefect={"sleep": {"max_running": 1}})
        with running(server):
            jobs = [server.submit("sleep", {"seconds": 1.5}) for _ in range(3)]
            assert server.execute("hello-world", {"name": "passing by"}).status_code == 200
            most = 0

            def ended():
                nonlocal most
                statuses = [server.job(job_id)["status"] for job_id in jobs]
                most = max(most, statuses.count("running"))
                return set(statuses) == {"successful"}

            eventually(ended, within=20)
            assert most == 1

    def test_time_limit(self, tmp_path):
        """A job that runs longer than its process may is stopped and failed with that reason."""
        with running(Server(tmp_path, prefect={"stubborn": {"time_limit": 1}})) as server:
            job_id = server.submit("stubborn", {"pid_file": str(tmp_path / "pid")})
            (pid,) = pids_in(tmp_path / "pid")
            job = server.wait_for(job_id, within=6)
            assert job["status"] == "failed"
            assert "longer than its process may: 1 seconds" in job["message"]
            assert not _lives(pid)

    def test_sync_waits_leave_threads_free(self, tmp_path):
        """When max_sync_waits requests wait, a further one becomes asynchronous at once."""
        with running(Server(tmp_path, front="flask", manager={"max_sync_waits": 1, "max_running": 2})) as server:
            waiting = subprocess.Popen(
                [sys.executable, "-c", _POST, f"{server.url}/processes/sleep/execution"], stdout=subprocess.PIPE
            )
            eventually(lambda: "running" in server.client.get("/jobs", params={"f": "json"}).text, within=15)
            response = server.execute("hello-world", {"name": "hurried"})
            assert response.status_code == 201
            assert waiting.communicate(timeout=20)[0].strip() == b"200"

    @pytest.mark.soak
    def test_spawned_workers_and_recycling(self, tmp_path):
        """``isolation: spawn`` runs in an interpreter of its own; workers are replaced after jobs_per_worker jobs."""
        server = Server(
            tmp_path,
            manager={"jobs_per_worker": 2, "max_running": 1},
            prefect={"old-signature": {"isolation": "spawn"}},
        )
        with running(server):
            for number in range(5):
                assert server.execute("old-signature", {"n": number}).json() == {"data": {"n": number}}
                assert server.execute("hello-world", {"name": str(number)}).json() == f"Hello {number}!"
            eventually(lambda: len(runner_processes(server)) <= 4, within=5)


class TestExternalRunners:
    @pytest.mark.parametrize("database", ["sqlite", "postgresql"])
    @pytest.mark.soak
    def test_they_share_the_work(self, tmp_path, request, database):
        """External runners run what web processes accept; SIGTERM lets a job end, and then the runner with it."""
        manager = {"runner": "external", "max_running": 1, "sync_timeout": 1}
        if database == "postgresql":
            manager["connection"] = new_database(request.getfixturevalue("postgresql"))
        server = Server(tmp_path, manager=manager)
        with running(server):
            waiting = server.execute("hello-world", {"name": "early"})
            assert waiting.status_code == 201
            runners = [_external_runner(server) for _ in range(2)]
            try:
                assert server.wait_for(waiting.json()["jobID"])["status"] == "successful"
                jobs = [server.submit("sleep", {"seconds": 2}) for _ in range(2)]
                for job_id in jobs:
                    server.wait_for(job_id, "running", within=10)
                runners[0].send_signal(signal.SIGTERM)
                for job_id in jobs:
                    assert server.wait_for(job_id)["status"] == "successful"
                assert runners[0].wait(15) == 0
                assert runners[1].poll() is None
            finally:
                for runner in runners:
                    runner.kill()
                    runner.wait()

    @pytest.mark.soak
    def test_a_lost_lease_fails_the_job(self, tmp_path, postgresql):
        """A runner that stands still longer than its lease loses its jobs; what it says later is refused."""
        manager = {
            "runner": "external",
            "max_running": 1,
            "lease": 2,
            "connection": new_database(postgresql),
        }
        server = Server(tmp_path, manager=manager)
        with running(server):
            frozen = _external_runner(server)
            job_id = server.submit("sleep", {"seconds": 4})
            server.wait_for(job_id, "running", within=15)
            frozen.send_signal(signal.SIGSTOP)
            other = _external_runner(server)
            try:
                assert server.wait_for(job_id, within=15)["status"] == "failed"
                time.sleep(3)
                frozen.send_signal(signal.SIGCONT)
                time.sleep(2)
                assert server.job(job_id)["status"] == "failed"
                assert server.wait_for(server.submit("hello-world", {"name": "both"}))["status"] == "successful"
            finally:
                for runner in (frozen, other):
                    runner.kill()
                    runner.wait()


_POST = """
import sys, httpx
print(httpx.post(sys.argv[1], json={"inputs": {"seconds": 4}}, timeout=30, trust_env=False).status_code)
"""


def _external_runner(server: Server) -> subprocess.Popen[bytes]:
    with Path(server.folder / "external.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", "from pygeoapi import cli; cli()", "plugins", "prefect", "runner"],
            env=server.environment,
            stdout=log,
            stderr=log,
        )


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
