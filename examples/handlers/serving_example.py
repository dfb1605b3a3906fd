"""What the examples of handlers share: a server with one configuration, and one job."""

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import httpx

from pygeoapi_prefect.cli.up import serving

HERE = Path(__file__).parent
TERRAIN = HERE.parent / "terrain"
POLL_SECONDS = 0.2


@contextmanager
def served(config: str, environment: Mapping[str, str] | None = None) -> Iterator[httpx.Client]:
    """
    Serve a configuration of this folder on a free port of 127.0.0.1, with its jobs in a folder that is then removed.

    Args:
        config: Name of the file.
        environment: Variables that the configuration and its handlers read.

    Yields:
        A client of the server.
    """
    # this process describes the processes, too
    sys.path.append(str(TERRAIN))
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "PYGEOAPI_PORT": str(free_port()),
            "PYGEOAPI_PREFECT_DATA": folder,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), str(TERRAIN), os.environ.get("PYTHONPATH")])),
            **(environment or {}),
        }
        with (
            serving(str(HERE / config)) as started,
            httpx.Client(base_url=started.url, timeout=60, trust_env=False) as client,
        ):
            yield client


def execute(
    client: httpx.Client, process_id: str, request: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Execute a process asynchronously; the job when it has ended, as statusInfo."""
    response = client.post(
        f"/processes/{process_id}/execution", json=request, headers={"Prefer": "respond-async", **(headers or {})}
    )
    response.raise_for_status()
    job_url = response.headers["Location"]
    while True:
        job: dict[str, Any] = client.get(job_url, params={"f": "json"}, headers=headers).json()
        if job["status"] not in ("accepted", "running"):
            return job
        time.sleep(POLL_SECONDS)


def show(title: str, value: Any) -> None:
    """Print a value under its title."""
    click.echo(f"\n{title}")
    click.echo(value if isinstance(value, str) else json.dumps(value, indent=2, default=str))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
