"""
OWSLib against the server: a client that somebody else wrote.

OWSLib 0.36 lists, describes and executes. It has no calls for jobs: statuses, results and dismissals go through the
request method that its own calls use. It keeps ``Prefer`` from one call to the next, says ``respond-sync``, which no
standard has, and tells whether a job was made by the response's headers alone.
"""

from typing import Any

import pytest
from owslib.ogcapi.processes import Processes

from conformance.answers import RESULTS, links
from conformance.conftest import ECHO, PROCESSORS
from ogc_schema import validate
from serving import Server, eventually


@pytest.fixture
def client(server: Server) -> Processes:
    return Processes(server.url)


def job_of(client: Processes) -> str:
    """The path of the job that the last execution made, from its ``Location``."""
    return str(client.response_headers["Location"]).removeprefix(client.url.rstrip("/") + "/")


def ended(client: Processes, job: str) -> dict[str, Any]:
    def info() -> dict[str, Any] | None:
        found = client._request(path=job)
        validate(found, "statusInfo")
        return dict(found) if found["status"] in ("successful", "failed", "dismissed") else None

    return dict(eventually(info, within=20, what=f"the end of {job}"))


def test_it_lists(client):
    """Every process is listed, and the classes of the standard are declared."""
    assert {process["id"] for process in client.processes()} == set(PROCESSORS)
    assert any(uri.endswith("ogcapi-processes-1/1.0/conf/core") for uri in client.conformance()["conformsTo"])


def test_it_describes(client):
    """A description is what the processor declares."""
    description = client.process("echo")
    assert PROCESSORS["echo"]["name"] == ECHO
    assert description["inputs"]["string"]["schema"] == {"type": "string"}


@pytest.mark.parametrize("outputs", [{}, {"string": {"transmissionMode": "value"}}], ids=["all", "selected"])
def test_it_executes_synchronously(client, outputs):
    """A document comes back at once."""
    assert client.execute("echo", {"string": "teststring"}, outputs) == {"string": "teststring"}


def test_it_executes_synchronously_and_raw(client):
    """A raw value is JSON of that value."""
    assert client.execute("greeting", {"name": "Ada"}, response="raw") == "Hello Ada"


def test_it_executes_asynchronously(client):
    """The answer is the job, which is followed to its end, and its results are JSON without being asked for."""
    accepted = client.execute("echo", {"string": "teststring"}, async_=True)
    validate(accepted, "statusInfo")
    job = job_of(client)
    assert job == f"jobs/{accepted['jobID']}"
    info = ended(client, job)
    assert info["status"] == "successful"
    assert links(info, RESULTS)
    assert client._request(path=f"{job}/results") == {"string": "teststring"}


def test_it_sees_why_a_job_failed(client):
    """A refusal is raised with the problem document; a failed job says its reason."""
    with pytest.raises(RuntimeError, match="The depth is above the ground"):
        client.execute("fail", {"how": "refuse"})
    client.execute("fail", {"how": "refuse"}, async_=True)
    assert ended(client, job_of(client))["message"] == "The depth is above the ground."


def test_it_dismisses(client):
    """A running job is dismissed, and stays so."""
    client.execute("echo", {"string": "s", "pause": 600}, async_=True)
    job = job_of(client)
    assert client._request(method="DELETE", path=job)["status"] == "dismissed"
    assert ended(client, job)["status"] == "dismissed"


def test_it_lists_jobs(client):
    """The list has the job."""
    client.execute("greeting", {"name": "Ada"}, async_=True)
    job = job_of(client)
    found = client._request(path="jobs", kwargs={"processID": "greeting", "limit": 100})["jobs"]
    assert job.removeprefix("jobs/") in {one["jobID"] for one in found}
