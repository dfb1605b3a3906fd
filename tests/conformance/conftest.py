"""One real server for the whole folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conformance.answers import reached, submitted
from serving import Server, running

ECHO = "pygeoapi_prefect.examples.echo.EchoProcessor"

PROCESSORS = {
    "echo": {"name": ECHO},
    # what is executed here stands in the job list alone
    "listed": {"name": ECHO},
    "queued": {"name": ECHO, "prefect": {"max_running": 1}},
    "greeting": {"name": "conformance.processes.Greeting"},
    "sync-only": {"name": "conformance.processes.SyncOnly"},
    "async-only": {"name": "conformance.processes.AsyncOnly"},
    "fail": {"name": "conformance.processes.Fail"},
    "picture": {"name": "conformance.processes.Picture"},
    "two": {"name": "conformance.processes.Two"},
    "repeated": {"name": "conformance.processes.Repeated"},
}


def make_server(folder: Path, front: str) -> Server:
    """A server that may ask this host: callback receivers and referenced inputs of the tests are here."""
    return Server(
        folder,
        front=front,
        processors=PROCESSORS,
        manager={"max_running": 6, "allowed_hosts": ["127.0.0.1"]},
        describes=True,
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """pygeoapi under gunicorn with every process of the folder."""
    with running(make_server(tmp_path_factory.mktemp("conformance"), "gunicorn")) as server:
        yield server


@contextmanager
def blocked(server: Server) -> Iterator[str]:
    """While this holds, jobs of the process ``queued`` wait: its one place is taken by the job that is named."""
    job_id = submitted(server, "queued", {"inputs": {"string": "in the way", "pause": 600}})
    try:
        reached(server, job_id, "running")
        yield job_id
    finally:
        server.client.delete(f"/jobs/{job_id}")
