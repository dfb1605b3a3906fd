"""Requirements on jobs: status, list, dismissal and callbacks."""

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread
from typing import Any

import pytest

from conformance.answers import (
    RESULTS,
    document,
    ended,
    get,
    job_ids,
    jobs,
    links,
    problem,
    reached,
    status_info,
    submitted,
)
from conformance.conftest import blocked
from conformance.requirements import EXCEPTIONS, requirement
from ogc_schema import validate
from serving import Server, eventually

ECHO = {"inputs": {"string": "s"}}


# ---------------------------------------------------------------- status


@requirement("core/job", "core/job-success")
@pytest.mark.every_front
def test_core_job_success(server):
    """A job tells its status by the schema: at the first look and at the last, when it ran and when it waited."""
    with blocked(server) as running:
        waiting = submitted(server, "queued", ECHO)
        infos = {
            "accepted": status_info(server.client.get(f"/jobs/{waiting}")),
            "running": status_info(server.client.get(f"/jobs/{running}")),
        }
    infos["successful"] = ended(server, waiting)
    infos["dismissed"] = ended(server, running)
    for status, info in infos.items():
        assert (info["status"], info["processID"], info["type"]) == (status, "queued", "process")
    assert infos["successful"]["progress"] == 100
    assert infos["successful"]["created"] <= infos["successful"]["started"] <= infos["successful"]["finished"]


@requirement("core/job-success")
def test_a_job_tells_only_what_there_is(server):
    """A job that waits has neither begun nor ended; none has a member that is null."""
    with blocked(server) as running:
        waiting = submitted(server, "queued", ECHO)
        waits = status_info(server.client.get(f"/jobs/{waiting}"))
        runs = status_info(server.client.get(f"/jobs/{running}"))
        server.client.delete(f"/jobs/{waiting}")
    assert "finished" not in waits
    assert "finished" not in runs
    assert "started" in runs
    for info in (waits, runs):
        assert None not in info.values()


@requirement("core/job-success")
def test_a_job_leads_on(server):
    """A job links to itself always, to be followed while it has not ended, and to its results when it has some."""
    with blocked(server) as running:
        waiting = submitted(server, "queued", ECHO)
        unfinished = [status_info(server.client.get(f"/jobs/{job_id}")) for job_id in (running, waiting)]
    finished = ended(server, waiting)
    failed = ended(server, submitted(server, "fail", {"inputs": {"how": "refuse"}}))
    for info in unfinished:
        assert links(info, RESULTS) == []
        (monitor,) = links(info, "monitor")
        assert status_info(get(server, monitor))["jobID"] == info["jobID"]
    assert get(server, links(finished, RESULTS)[0]).status_code == 200
    assert links(failed, RESULTS) == [] or get(server, links(failed, RESULTS)[0]).status_code == 400
    for info in (*unfinished, finished, failed):
        assert status_info(get(server, links(info, "self")[0]))["jobID"] == info["jobID"]


@requirement("core/job-success")
@pytest.mark.parametrize(("how", "reason"), [("refuse", "The depth is above the ground."), ("break", "node 7 is full")])
def test_a_failed_job_says_why(server, how, reason):
    """The message of a failed job is its reason."""
    info = ended(server, submitted(server, "fail", {"inputs": {"how": how}}))
    assert info["status"] == "failed"
    assert reason in info["message"]


@requirement("core/job-exception-no-such-job")
@pytest.mark.every_front
def test_core_job_no_such_job(server):
    """A job that is not there is a 404 with the standard's type."""
    problem(server.client.get("/jobs/nothing", params={"f": "json"}), 404, f"{EXCEPTIONS}/no-such-job")


# ---------------------------------------------------------------- list


@pytest.fixture(scope="module")
def listed(server: Server) -> Iterator[dict[str, dict[str, Any]]]:
    """Jobs of the process ``listed``, by what is particular to them; one of them runs until the end."""
    ids = {"short": submitted(server, "listed", ECHO)}
    ended(server, ids["short"])
    time.sleep(1.1)
    ids["dismissed"] = submitted(server, "listed", {"inputs": {"string": "s", "pause": 600}})
    reached(server, ids["dismissed"], "running")
    server.client.delete(f"/jobs/{ids['dismissed']}")
    ids["long"] = submitted(server, "listed", {"inputs": {"string": "s", "pause": 2.2}})
    ended(server, ids["long"])
    ids["running"] = submitted(server, "listed", {"inputs": {"string": "s", "pause": 600}})
    reached(server, ids["running"], "running")
    yield {name: status_info(server.client.get(f"/jobs/{job_id}")) for name, job_id in ids.items()}
    server.client.delete(f"/jobs/{ids['running']}")


def names_of(server: Server, listed: dict[str, dict[str, Any]], **query: Any) -> set[str]:
    """Which of the jobs of the process ``listed`` are in the list with these parameters."""
    found = job_ids(server, processID="listed", limit=100, **query)
    return {name for name, info in listed.items() if info["jobID"] in found}


@requirement("job-list/job-list-op", "job-list/job-list-success", "job-list/processID-mandatory")
@pytest.mark.every_front
def test_job_list_success(server):
    """The list has every job with its process, the newest first, and each as the job tells it itself."""
    ids = [submitted(server, "echo", ECHO) for _ in range(2)]
    for job_id in ids:
        ended(server, job_id)
    found = jobs(server, limit=1000)
    assert set(ids) <= {job["jobID"] for job in found}
    assert all("processID" in job for job in found)
    created = [job["created"] for job in found]
    assert created == sorted(created, reverse=True)
    (listed,) = [job for job in found if job["jobID"] == ids[0]]
    assert listed == status_info(server.client.get(f"/jobs/{ids[0]}"))


@requirement("job-list/links")
def test_job_list_links(server):
    """The list links to itself, with its parameters, and to itself as a page."""
    query = {"f": "json", "limit": 2, "processID": "echo"}
    content = document(server.client.get("/jobs", params=query), "jobList")
    (href,) = links(content, "self")
    assert [job["jobID"] for job in get(server, href).json()["jobs"]] == [job["jobID"] for job in content["jobs"]]
    (page,) = links(content, "alternate")
    assert get(server, page).headers["content-type"].startswith("text/html")


@requirement("job-list/type-definition", "job-list/type-response")
def test_job_list_type(server, listed):
    """Every job is of type ``process``."""
    assert names_of(server, listed, type="process") == set(listed)


@requirement("job-list/processID-definition", "job-list/processid-response")
def test_job_list_process_id(server, listed):
    """One or several processes, divided by commas; one that has no jobs, or that is none, has none in the list."""
    submitted(server, "echo", ECHO)
    assert {job["processID"] for job in jobs(server, processID="listed", limit=100)} == {"listed"}
    assert {job["processID"] for job in jobs(server, processID="listed,echo", limit=100)} == {"listed", "echo"}
    assert jobs(server, processID="nothing") == []


@requirement("job-list/status-definition", "job-list/status-response")
@pytest.mark.parametrize(
    ("status", "names"),
    [
        ("running", {"running"}),
        ("successful", {"short", "long"}),
        ("dismissed", {"dismissed"}),
        ("failed", set()),
        ("accepted", set()),
        ("running,dismissed", {"running", "dismissed"}),
    ],
)
def test_job_list_status(server, listed, status, names):
    """One or several statuses, divided by commas."""
    assert names_of(server, listed, status=status) == names


@requirement("job-list/datetime-definition", "job-list/datetime-response")
def test_job_list_datetime(server, listed):
    """Instants and intervals, open and closed, in any time zone, are held against when a job was created."""
    short, long = (datetime.fromisoformat(listed[name]["created"]) for name in ("short", "long"))
    between = (short + timedelta(seconds=1)).isoformat().replace("+00:00", "Z")
    elsewhere = (short + timedelta(seconds=1, hours=2)).replace(tzinfo=None).isoformat() + "+02:00"
    after = (long + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    before = (short - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    for interval in (f"../{between}", f"/{between}", f"{before}/{between}", f"../{elsewhere}"):
        assert names_of(server, listed, datetime=interval) == {"short"}, interval
    for interval in (f"{between}/..", f"{between}/", f"{between}/{after}"):
        assert names_of(server, listed, datetime=interval) == {"dismissed", "long", "running"}, interval
    assert names_of(server, listed, datetime=f"{after}/..") == set()
    assert names_of(server, listed, datetime=listed["short"]["created"]) == {"short"}


@requirement("job-list/duration-definition", "job-list/duration-response")
@pytest.mark.parametrize(
    ("query", "names", "others"),
    [
        ({"minDuration": 2}, {"long"}, {"short", "dismissed"}),
        ({"maxDuration": 1}, {"short"}, {"long"}),
        ({"minDuration": 2, "maxDuration": 500}, {"long"}, {"short"}),
        ({"minDuration": 2, "status": "successful"}, {"long"}, {"short", "dismissed", "running"}),
        ({"minDuration": 3600}, set(), {"short", "long", "dismissed", "running"}),
    ],
)
def test_job_list_duration(server, listed, query, names, others):
    """Durations are seconds between begin and end, or until now."""
    found = names_of(server, listed, **query)
    assert names <= found
    assert others & found == set()


@requirement("job-list/duration-response")
def test_job_list_duration_of_running_jobs(server, listed):
    """A job that runs has a duration that grows; one that waits has none."""
    eventually(lambda: "running" in names_of(server, listed, minDuration=1, status="running"), within=10)
    with blocked(server):
        waiting = submitted(server, "queued", ECHO)
        assert waiting not in job_ids(server, processID="queued", maxDuration=1000)
        assert waiting in job_ids(server, processID="queued", status="accepted")
        server.client.delete(f"/jobs/{waiting}")


@requirement("job-list/limit-definition", "job-list/limit-response")
def test_job_list_limit(server, listed):
    """Following ``next`` finds each job once, with the filters kept, and ends with the last job."""
    seen, page = (
        [],
        document(server.client.get("/jobs", params={"f": "json", "processID": "listed", "limit": 2}), "jobList"),
    )
    pages = 1
    while True:
        assert len(page["jobs"]) <= 2
        seen += [job["jobID"] for job in page["jobs"]]
        if not links(page, "next"):
            break
        page = document(get(server, links(page, "next")[0]), "jobList")
        pages += 1
    assert sorted(seen) == sorted(info["jobID"] for info in listed.values())
    assert pages == 2
    assert [job["jobID"] for job in get(server, links(page, "prev")[0]).json()["jobs"]] == seen[:2]


@requirement("job-list/limit-definition", "job-list/status-definition", "job-list/type-definition")
@requirement("job-list/datetime-definition", "job-list/duration-definition")
@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "-1"},
        {"limit": "many"},
        {"offset": "-1"},
        {"status": "finished"},
        {"status": "running,finished"},
        {"type": "service"},
        {"datetime": "yesterday"},
        {"datetime": "2026-01-02T00:00:00Z/2026-01-01T00:00:00Z"},
        {"minDuration": "long"},
        {"minDuration": "-1"},
        {"maxDuration": "1.5x"},
    ],
    ids=str,
)
def test_job_list_refuses(server, query):
    """A parameter with a value that it cannot have is a 400 that names it."""
    answer = problem(server.client.get("/jobs", params={"f": "json", **query}), 400)
    assert next(iter(query)).lower() in answer["detail"].lower()


# ---------------------------------------------------------------- dismissal


@requirement("dismiss/job-dismiss-op", "dismiss/job-dismiss-success")
@pytest.mark.every_front
def test_dismiss_success(server):
    """A job that runs, and one that waits, are dismissed: the answer is their statusInfo, and they stay so."""
    with blocked(server) as running:
        waiting = submitted(server, "queued", ECHO)
        for job_id in (waiting, running):
            info = status_info(server.client.delete(f"/jobs/{job_id}"))
            assert (info["jobID"], info["status"], info["processID"]) == (job_id, "dismissed", "queued")
            assert info["message"]
            assert links(info, "up")
            assert get(server, links(info, "up")[0]).status_code == 200
            assert status_info(server.client.get(f"/jobs/{job_id}"))["status"] == "dismissed"


@requirement("dismiss/job-dismiss-success")
def test_dismissal_of_an_ended_job_removes_it(server):
    """A job that has ended is gone after it was dismissed, and so are its results."""
    job_id = submitted(server, "picture", {"inputs": {}})
    ended(server, job_id)
    assert status_info(server.client.delete(f"/jobs/{job_id}"))["status"] == "dismissed"
    problem(server.client.get(f"/jobs/{job_id}"), 404, f"{EXCEPTIONS}/no-such-job")
    problem(server.client.get(f"/jobs/{job_id}/results"), 404, f"{EXCEPTIONS}/no-such-job")


@requirement("dismiss/job-dismiss-op")
@pytest.mark.every_front
def test_dismiss_no_such_job(server):
    """A job that is not there cannot be dismissed."""
    problem(server.client.delete("/jobs/nothing"), 404, f"{EXCEPTIONS}/no-such-job")


# ---------------------------------------------------------------- callbacks


@pytest.fixture(scope="module")
def receiver() -> Iterator[tuple[str, Queue[tuple[str, Any]]]]:
    """The address of a callback receiver on this host, and what came: path and JSON."""
    calls: Queue[tuple[str, Any]] = Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            calls.put((self.path, json.loads(content)))

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", calls
        server.shutdown()


def subscriber(url: str) -> dict[str, str]:
    return {"successUri": f"{url}/success", "inProgressUri": f"{url}/progress", "failedUri": f"{url}/failure"}


def called(calls: Queue[tuple[str, Any]], path: str) -> Any:
    """What the next call of that path brought; others are passed over."""
    while True:
        found, content = calls.get(timeout=20)
        if found == path:
            return content


@requirement("callback/job-callback")
@pytest.mark.every_front
def test_callback_success(server, receiver):
    """``inProgressUri`` gets the statusInfo, ``successUri`` the results as ``/results`` has them in a document."""
    url, calls = receiver
    body = {"inputs": {"string": "s", "pause": 1}, "response": "document", "subscriber": subscriber(url)}
    job_id = submitted(server, "echo", body)
    progress = called(calls, "/progress")
    validate(progress, "statusInfo")
    assert progress["jobID"] == job_id
    results = called(calls, "/success")
    validate(results, "relaxed/results")
    assert results == server.client.get(f"/jobs/{job_id}/results").json()


@requirement("callback/job-callback")
def test_callback_failure(server, receiver):
    """``failedUri`` gets the exception."""
    url, calls = receiver
    submitted(server, "fail", {"inputs": {"how": "refuse"}, "subscriber": subscriber(url)})
    failure = called(calls, "/failure")
    validate(failure, "exception")
    assert failure["detail"] == "The depth is above the ground."


@requirement("callback/job-callback")
def test_callback_of_a_synchronous_job(server, receiver):
    """A synchronous request is answered, and its subscriber is called as well."""
    url, calls = receiver
    body = {"inputs": {"name": "Ada"}, "response": "document", "subscriber": {"successUri": f"{url}/success"}}
    response = server.client.post("/processes/greeting/execution", json=body)
    assert document(response, "relaxed/results") == called(calls, "/success")


@requirement("callback/job-callback")
@pytest.mark.parametrize(
    "wrong",
    [{}, {"successUri": "no address"}, {"successUri": 1}, {"successUri": "ftp://example.org/"}, []],
    ids=str,
)
def test_callback_refuses(server, wrong):
    """A subscriber without any address, or with one that is no web address, is refused."""
    response = server.client.post("/processes/echo/execution", json={**ECHO, "subscriber": wrong})
    problem(response, 400)
