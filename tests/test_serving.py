"""Laws of the main job, over real HTTP: pygeoapi, job store, runner and pool workers as users have them."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from ogc_schema import validate as assert_schema
from serving import NOWHERE, PROCESSES, Server, assert_problem, eventually, new_database, pids_in, running, sleepers

OGC = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request, tmp_path_factory):
    """One server for the laws that leave it as it was; over both databases."""
    manager = {"max_running": 3, "sync_timeout": 3}
    if request.param == "postgresql":
        manager["connection"] = new_database(request.getfixturevalue("postgresql"))
    folder = tmp_path_factory.mktemp(f"server-{request.param}")
    with running(Server(folder, manager=manager, prefect={"environment": {"isolation": "fork"}})) as started:
        # what the first request of all has to wait for is no matter of these laws
        started.wait_for(started.submit("hello-world", {"name": "Ada"}))
        yield started


class TestExecution:
    def test_sync_answers_the_output(self, server):
        """A synchronous request is answered with the output in its media type, and the job stays findable."""
        response = server.execute("hello-world", {"name": "Ada", "message": "Nice to see you."})
        assert response.status_code == 200
        assert response.json() == "Hello Ada! Nice to see you."
        assert "Preference-Applied" not in response.headers
        job_url = response.headers["Location"]
        assert response.headers["Link"] == f'<{job_url}>; rel="monitor"; type="application/json"'
        job = server.job(response.headers["Location"].rpartition("/")[2])
        assert (job["status"], job["progress"], job["processID"]) == ("successful", 100, "hello-world")

    def test_async_answers_201_and_the_same_output_later(self, server):
        """An asynchronous request gets 201, Location, statusInfo; its results are what the synchronous one answers."""
        response = server.client.post(
            "/processes/hello-world/execution", json={"inputs": {"name": "Ada"}}, headers={"Prefer": "respond-async"}
        )
        assert response.status_code == 201
        assert response.headers["Preference-Applied"] == "respond-async"
        job_id = response.json()["jobID"]
        assert_schema(response.json(), "statusInfo")
        assert response.json().items() >= {"jobID": job_id, "type": "process", "processID": "hello-world"}.items()
        assert response.headers["Location"] == f"{server.url}/jobs/{job_id}"
        server.wait_for(job_id, "successful")
        results = server.results(job_id)
        assert results.headers["content-type"] == "application/json"
        assert results.content == server.execute("hello-world", {"name": "Ada"}).content

    def test_async_only_is_async_without_being_asked(self, server):
        """A process without a synchronous mode answers 201 whatever the client prefers."""
        response = server.client.post(
            "/processes/async-only/execution", json={"inputs": {}}, headers={"Prefer": "wait=10"}
        )
        assert response.status_code == 201
        assert "Preference-Applied" not in response.headers
        server.wait_for(response.json()["jobID"], "successful")

    def test_sync_only_ignores_respond_async(self, server):
        """A process without an asynchronous mode is waited for, even if the client would rather not."""
        response = server.client.post(
            "/processes/sync-only-sleep/execution",
            json={"inputs": {"seconds": 0}},
            headers={"Prefer": "respond-async"},
        )
        assert response.status_code == 200
        assert "Preference-Applied" not in response.headers

    def test_unmodified_processors_run(self, server):
        """pygeoapi's own processors, the old signature, and a resource id unlike the processor's own id all run."""
        assert server.execute("echo", {"echoInput": "Test", "pause": 42}).json() == "Test"
        shapes = {"type": "Point", "coordinates": [1, 2]}
        buffered = server.execute(
            "shapely-functions",
            {"operation": "simplify", "geoms": [{"value": "LINESTRING (0 0, 1 0, 2 0)", "mediaType": "text/wkt"}]},
        )
        assert buffered.status_code in (200, 400), shapes
        assert server.execute("old-signature", {"x": 1}).json() == {"data": {"x": 1}}
        assert server.execute("another-id", {"name": "Eve"}).json() == "Hello Eve!"

    def test_document_names_outputs(self, server):
        """``response: document`` answers an object of output ids and values."""
        assert server.execute("hello-world", {"name": "Ada"}, response="document").json() == {"echo": "Hello Ada!"}
        assert server.execute("several", response="document").json() == {"a": "A", "b": "B"}

    def test_outputs_are_selected(self, server):
        """Only outputs that were asked for are answered, raw when it is one."""
        assert server.execute("several", outputs={"b": {}}).json() == "B"

    @pytest.mark.parametrize("size", [0, 1, 8192, 8193, 5_000_000])
    def test_binary_is_intact(self, server, size):
        """Bytes come back bit by bit, synchronously and from /results."""
        expected = (bytes(range(256)) * (size // 256 + 1))[:size]
        response = server.execute("bytes", {"size": size})
        assert response.headers["content-type"] == "application/octet-stream"
        assert response.content == expected
        assert server.results(response.headers["Location"].rpartition("/")[2]).content == expected

    def test_sync_timeout_becomes_async(self, server):
        """A synchronous request that takes too long becomes an asynchronous job where the process allows it."""
        response = server.execute("sleep", {"seconds": 5})
        assert response.status_code == 201
        server.wait_for(response.json()["jobID"], "successful")

    def test_sync_timeout_of_sync_only_names_the_job(self, server):
        """Where the process has no asynchronous mode the client gets 503 and the job's Location; the job goes on."""
        response = server.execute("sync-only-sleep", {"seconds": 5})
        assert_problem(response, 503)
        job_id = response.headers["Location"].rpartition("/")[2]
        server.wait_for(job_id, "successful")


class TestErrors:
    def test_unknown_things_are_404(self, server):
        """Unknown processes and jobs are 404 problems with the standard's types."""
        assert assert_problem(server.execute("nothing"), 404)["type"] == f"{OGC}/no-such-process"
        for path in ("/jobs/nothing", "/jobs/nothing/results"):
            assert assert_problem(server.client.get(path), 404)["type"] == f"{OGC}/no-such-job"
        assert assert_problem(server.client.delete("/jobs/nothing"), 404)["type"] == f"{OGC}/no-such-job"

    def test_results_are_not_ready(self, server):
        """Results of a job that has not ended are 404 with the standard's type."""
        job_id = server.submit("sleep", {"seconds": 60})
        assert assert_problem(server.results(job_id), 404)["type"] == f"{OGC}/result-not-ready"
        server.client.delete(f"/jobs/{job_id}")
        assert assert_problem(server.results(job_id), 404)["type"] == f"{OGC}/result-not-available"
        server.client.delete(f"/jobs/{job_id}")

    @pytest.mark.parametrize(
        ("how", "status", "reason"),
        [
            ("refuse", 400, "input 'depth' must be positive"),
            ("raise", 500, "RuntimeError: the disk of node 7 is full"),
            ("exit", 500, "SystemExit: gave up"),
            ("return", 500, "The process returned a str instead of (media type, value)"),
            ("json", 500, "The process returned a dict that cannot be written as JSON"),
            ("kill", 500, "The process that ran the job was killed by signal 9 (SIGKILL)"),
        ],
    )
    def test_failures_tell_their_reason(self, server, how, status, reason):
        """Whatever goes wrong in a process fails its job alone, with the reason, in every place that tells it."""
        response = server.execute("fail", {"how": how})
        assert assert_problem(response, status)["detail"].startswith(reason)
        job_id = server.submit("fail", {"how": how})
        job = server.wait_for(job_id)
        assert job["status"] == "failed"
        assert job["message"].startswith(reason)
        assert assert_problem(server.results(job_id), status)["detail"].startswith(reason)
        assert server.execute("hello-world", {"name": "still here"}).status_code == 200

    @pytest.mark.parametrize("body", ["[1]", '"text"', "5", "null", "{", "", '{"inputs": [1]}', '{"inputs": null}'])
    def test_bad_bodies_are_400(self, server, body):
        """A body that is no execute request is a 400 problem, never a 500."""
        response = server.client.post(
            "/processes/hello-world/execution", content=body, headers={"Content-Type": "application/json"}
        )
        assert_problem(response, 400)

    def test_broken_processors_hurt_nobody_else(self, server):
        """A processor that cannot be made is left out of the list, answers 503 by its name, and the others work."""
        listed = {
            process["id"] for process in server.client.get("/processes", params={"f": "json"}).json()["processes"]
        }
        assert listed == set(PROCESSES) - {"broken-import", "broken-init"}
        for process_id in ("broken-import", "broken-init"):
            assert_problem(server.client.get(f"/processes/{process_id}", params={"f": "json"}), 503)
            problem = assert_problem(server.execute(process_id), 503)
            assert "a_library" not in problem["detail"]


class TestJobs:
    def test_list_is_newest_first_and_paged(self, server):
        """/jobs lists all statuses, newest first; limit and offset page through it."""
        job_ids = [server.submit("hello-world", {"name": str(number)}) for number in range(5)]
        for job_id in job_ids:
            server.wait_for(job_id)
        first = server.client.get("/jobs", params={"f": "json", "limit": 3}).json()
        assert [job["jobID"] for job in first["jobs"]] == job_ids[:1:-1]
        second = server.client.get("/jobs", params={"f": "json", "limit": 2, "offset": 3}).json()
        assert [job["jobID"] for job in second["jobs"]] == job_ids[1::-1]
        assert "next" in [link["rel"] for link in first["links"]]

    def test_html_pages_answer(self, server):
        """The pages for people work for jobs in every status."""
        job_id = server.submit("hello-world", {"name": "page"})
        server.wait_for(job_id)
        for path in ("/jobs", f"/jobs/{job_id}", f"/jobs/{job_id}/results", "/processes", "/processes/hello-world"):
            response = server.client.get(path, params={"f": "html"})
            assert (response.status_code, response.headers["content-type"]) == (200, "text/html"), path

    def test_progress_shows_while_the_job_runs(self, server):
        """Progress and message set by the process show in the job, and never fall."""
        job_id = server.submit("sleep", {"seconds": 3})
        seen = []

        def ended():
            job = server.job(job_id)
            seen.append((job["progress"], job["message"]))
            return job["status"] == "successful"

        eventually(ended, within=20)
        percents = [percent for percent, _ in seen]
        assert percents == sorted(percents)
        assert {percent for percent in percents if 0 < percent < 100}
        assert any(message.startswith("step") for _, message in seen)
        assert percents[-1] == 100

    def test_logs_are_kept_with_the_job(self, server):
        """What the process and its tools log and print is in the job's log."""
        job_id = server.submit("talkative")
        server.wait_for(job_id, "successful")
        printed = server.cli("plugins", "prefect", "jobs", "logs", job_id).stdout
        assert "a record of the logging module" in printed
        assert "a printed line" in printed
        assert "a line of a tool" in printed

    def test_nothing_of_a_job_is_seen_by_the_next(self, server):
        """Environment, working directory and temporary files of a job are gone for the next one."""
        found = [server.execute("environment").json() for _ in range(6)]
        assert {job["left_behind"] for job in found} == {None}
        assert len({job["folder"] for job in found}) == 1
        assert len({job["scratch"] for job in found}) == 6
        assert not any(Path(job["scratch"]).exists() for job in found)

    def test_no_job_starts_a_prefect_server(self, server):
        """Code in a job that uses Prefect never starts a temporary server of its own."""
        assert server.execute("environment").json()["ephemeral_prefect"] == "false"


class TestDismiss:
    def test_running_job_is_stopped_with_all_it_started(self, server, tmp_path):
        """DELETE answers at once; within two seconds no process of the job is left, detached ones included."""
        before = sleepers(server)
        job_id = server.submit("family", {"pid_file": str(tmp_path / "pids")})
        worker, child = pids_in(tmp_path / "pids")
        started = eventually(lambda: s if len(s := sleepers(server) - before) == 2 else None, within=10)
        began = time.monotonic()
        response = server.client.delete(f"/jobs/{job_id}")
        assert time.monotonic() - began < 1
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert (response.json()["status"], response.json()["type"]) == ("dismissed", "process")
        assert server.job(job_id)["status"] == "dismissed"
        gone = {worker, child, *started}
        eventually(lambda: not any(psutil.pid_exists(pid) for pid in gone), within=2.5, what=f"end of {gone}")
        assert server.job(job_id)["status"] == "dismissed"
        assert job_id in [job["jobID"] for job in server.client.get("/jobs", params={"f": "json"}).json()["jobs"]]

    def test_stubborn_job_is_killed(self, server, tmp_path):
        """Work that ignores SIGTERM is gone within two seconds as well."""
        job_id = server.submit("stubborn", {"pid_file": str(tmp_path / "pid")})
        (pid,) = pids_in(tmp_path / "pid")
        server.client.delete(f"/jobs/{job_id}")
        eventually(lambda: not psutil.pid_exists(pid), within=2.5)

    def test_polite_job_tidies_up(self, server, tmp_path):
        """A process that is stopped may tidy up in its ``finally`` blocks."""
        files = {"pid_file": str(tmp_path / "pid"), "tidied_file": str(tmp_path / "tidied")}
        job_id = server.submit("polite", files)
        pids_in(tmp_path / "pid")
        server.client.delete(f"/jobs/{job_id}")
        eventually((tmp_path / "tidied").exists, within=2.5)

    def test_ended_job_is_removed_once(self, server):
        """DELETE of an ended job removes it with its stored outputs; the next DELETE is 404."""
        job_id = server.execute("bytes", {"size": 100_000}).headers["Location"].rpartition("/")[2]
        stored = server.folder / "results" / job_id
        assert stored.exists()
        assert server.client.delete(f"/jobs/{job_id}").status_code == 200
        assert not stored.exists()
        assert_problem(server.client.delete(f"/jobs/{job_id}"), 404)
        assert_problem(server.client.get(f"/jobs/{job_id}"), 404)

    def test_waiting_job_never_runs(self, server, tmp_path):
        """A dismissed job that waited is never started."""
        blocking = [server.submit("sleep", {"seconds": 2}) for _ in range(3)]
        job_id = server.submit("sleep", {"seconds": 0, "pid_file": str(tmp_path / "pid")})
        assert server.job(job_id)["status"] == "accepted"
        server.client.delete(f"/jobs/{job_id}")
        for other in blocking:
            server.wait_for(other, "successful")
        assert server.job(job_id)["status"] == "dismissed"
        assert not (tmp_path / "pid").exists()

    def test_resources_are_removed(self, server):
        """``remove_resources`` of the processor is called when a job is dismissed or deleted."""
        removed = server.folder / "removed"
        job_id = server.submit("resourceful", {"seconds": 0})
        server.wait_for(job_id, "successful")
        server.client.delete(f"/jobs/{job_id}")
        eventually(lambda: removed.exists() and job_id in removed.read_text(), within=10)
        running_id = server.submit("resourceful", {"seconds": 60})
        server.wait_for(running_id, "running")
        server.client.delete(f"/jobs/{running_id}")
        eventually(lambda: running_id in removed.read_text(), within=10)

    def test_ended_job_leaves_no_process(self, server, tmp_path):
        """What a job left running when it returned is ended with it."""
        before = sleepers(server)
        job_id = server.submit("family", {"pid_file": str(tmp_path / "pids"), "leave": True})
        server.wait_for(job_id, "successful")
        assert sleepers(server) <= before


class TestPoolWorkers:
    def test_killed_worker_fails_its_own_job_alone(self, server, tmp_path):
        """A pool worker killed with -9 fails its job within 5 s, with that reason; another job goes on."""
        victim = server.submit("sleep", {"seconds": 60, "pid_file": str(tmp_path / "pid")})
        other = server.submit("sleep", {"seconds": 3})
        (pid,) = pids_in(tmp_path / "pid")
        server.wait_for(other, "running")
        os.kill(pid, signal.SIGKILL)
        job = server.wait_for(victim, within=5)
        assert (job["status"], "killed by signal 9" in job["message"]) == ("failed", True)
        assert server.wait_for(other)["status"] == "successful"
        assert server.execute("hello-world", {"name": "next"}).status_code == 200


def test_prefect_is_down(server):
    """All of the above happened with a Prefect API that cannot be reached."""
    assert server.environment["PREFECT_API_URL"] == NOWHERE
    assert server.runner().prefect_api_url in (None, NOWHERE)
