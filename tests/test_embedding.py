"""Laws of processes within an application of the user's: the example of the documentation, under uvicorn."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pygeoapi_prefect.exceptions import OGC_EXCEPTIONS
from pygeoapi_prefect.runner.os_processes import is_alive
from pygeoapi_prefect.runner.presence import Presence
from serving import NOWHERE, TESTS, assert_problem, eventually, free_port

PAGE = TESTS.parent / "docs" / "how-to" / "embed.md"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The example, with one more process, with two workers, without pygeoapi's environment variables."""
    folder: Path = tmp_path_factory.mktemp("embedded")
    example = re.search(r"```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert example is not None
    further = '"resources": {"sleep": {"type": "process", "processor": {"name": "processors.Sleep"}}, '
    (folder / "app.py").write_text(example[1].replace('"resources": {', further))
    port = free_port()
    url = f"http://127.0.0.1:{port}/ogc"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PYGEOAPI"))}
    environment |= {
        "PROCESSES_URL": url,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])),
        "PREFECT_API_URL": NOWHERE,
        "PREFECT_HOME": str(folder / "prefect-home"),
    }
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--workers", "2"]
    with (folder / "web.log").open("wb") as log:
        web = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    presence = Presence(folder / "data" / "pygeoapi-prefect")
    with httpx.Client(base_url=url, timeout=40, trust_env=False) as client:
        try:
            health = f"http://127.0.0.1:{port}/health"
            eventually(lambda: _answers(client, health), within=60, what="an answer of the application")
            yield client
        finally:
            os.killpg(web.pid, signal.SIGTERM)
            web.wait(20)
            if (status := presence.read_status()) is not None:
                os.kill(status.pid, signal.SIGTERM)
                time.sleep(0.3)
                os.kill(status.pid, signal.SIGINT)
                eventually(lambda: not is_alive(status.pid, status.pid_started), within=20)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_jobs_run_both_ways(client):
    """Synchronously with the result, asynchronously with a status that all workers know, and dismissed."""
    url = "/processes/hello-world/execution"
    done = client.post(url, json={"inputs": {"name": "Ada"}})
    assert (done.status_code, done.json()) == (200, "Hello Ada!")
    assert done.headers["location"].startswith(str(client.base_url).rstrip("/"))
    accepted = client.post(
        "/processes/sleep/execution", json={"inputs": {"seconds": 60}}, headers={"Prefer": "respond-async"}
    )
    assert accepted.status_code == 201
    job = accepted.headers["location"]
    eventually(lambda: client.get(job).json()["status"] == "running", within=20)
    assert_problem(client.get(f"{job}/results"), 404)
    dismissed = client.delete(job)
    assert (dismissed.status_code, dismissed.json()["status"]) == (200, "dismissed")
    assert client.get(done.headers["location"] + "/results").json() == "Hello Ada!"


def test_errors_are_problem_documents(client):
    """Unknown routes, methods, formats and identifiers; the application's own routes are left alone."""
    assert_problem(client.get("/jobs/x/nothing"), 404)
    assert assert_problem(client.get("/jobs/%00"), 404)["type"] == f"{OGC_EXCEPTIONS}/no-such-job"
    response = client.put("/jobs/x")
    assert_problem(response, 405)
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "DELETE"}
    assert_problem(client.get("/processes", params={"f": "xml"}), 400)
    assert_problem(client.get("/processes", headers={"Accept": "image/png"}), 406)
    assert client.get("/nothing").headers["content-type"] == "text/plain; charset=utf-8"
    outside = client.get(str(client.base_url).replace("/ogc/", "/jobs"))
    assert (outside.status_code, outside.json()) == (404, {"detail": "Not Found"})


def test_what_is_served_is_described(client):
    """Landing page, conformance, OpenAPI and pages for people, without any file."""
    assert client.get("/", params={"f": "json"}).json()["title"] == "Our processes"
    assert "/processes/hello-world/execution" in client.get("/openapi", params={"f": "json"}).json()["paths"]
    assert any("conf/job-list" in one for one in client.get("/conformance").json()["conformsTo"])
    assert client.get("/jobs", params={"f": "html"}).headers["content-type"] == "text/html"
