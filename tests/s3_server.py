"""A real S3 server for tests."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import httpx

from serving import eventually, free_port

REGION = "eu-central-1"
KEY, SECRET = "an-access-key", "a-secret-access-key"


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code > 0
    except httpx.TransportError:
        return False


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Its URL; it takes every credential. What it says goes to *log*."""
    port = free_port()
    with log.open("wb") as file:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(url), within=30, what="an answer of the S3 server")
        yield url
    finally:
        server.terminate()
        server.wait(10)


def s3_options(url: str) -> dict[str, Any]:
    """Of s3fs, without credentials."""
    return {"client_kwargs": {"endpoint_url": url, "region_name": REGION}}


def s3_file_system(url: str) -> Any:
    return fsspec.filesystem("s3", key=KEY, secret=SECRET, **s3_options(url))
