"""
Results in two stores: a hillshade of real terrain, staged out to an S3 bucket and to a folder.

``python examples/handlers/multi_storage.py`` starts an S3 server on 127.0.0.1, serves ``multi_storage.yml``, executes a
job, deletes it, and shows that its copies stay. It needs the extras ``examples`` and ``storage``, and ``moto[server]``.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import fsspec
import httpx
from serving_example import execute, free_port, served, show

ARCHIVE_KEY, ARCHIVE_SECRET = "example-key", "example-secret"
BUCKET = "terrain"
HILLSHADE = {"inputs": {"product": "hillshade", "azimuth": 315, "altitude": 45}, "outputs": {"raster": {}}}
START_SECONDS = 30


def main() -> None:
    """Stage one job out."""
    with s3_server() as endpoint, tempfile.TemporaryDirectory() as copies:
        bucket = file_system(endpoint)
        bucket.mkdir(BUCKET)
        environment = {
            "S3_ENDPOINT": endpoint,
            "ARCHIVE_KEY": ARCHIVE_KEY,
            "ARCHIVE_SECRET": ARCHIVE_SECRET,
            "COPIES_FOLDER": copies,
        }
        with served("multi_storage.yml", environment) as client:
            job = execute(client, "terrain", HILLSHADE)
            if job["status"] != "successful":
                raise click.ClickException(f"the job is {job['status']}: {job['message']}")
            job_id = job["jobID"]
            link = client.get(f"/jobs/{job_id}/results").raise_for_status().json()
            show("The result is a link that the archive has signed:", link)
            raster = httpx.get(link["href"], trust_env=False).raise_for_status().content
            client.delete(f"/jobs/{job_id}").raise_for_status()
            show("The job is deleted:", client.get(f"/jobs/{job_id}", params={"f": "json"}).json()["title"])
        bucket.invalidate_cache()
        show("The archive still has:", bucket.find(BUCKET))
        folder = Path(copies, "anonymous", job_id)
        report = json.loads((folder / "_replication.json").read_text())
        show("And the folder, with this report:", report)
        [staged] = report["outputs"]["raster"]
        copy = (folder / staged["path"]).read_bytes()
        is_same = hashlib.sha256(raster).hexdigest() == hashlib.sha256(copy).hexdigest() == staged["sha256"]
        show("Both copies have the checksum of the report:", is_same)


@contextmanager
def s3_server() -> Iterator[str]:
    """Run an S3 server that takes every credential; its URL."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url)
        yield url
    finally:
        server.terminate()
        server.wait()


def file_system(endpoint: str) -> Any:
    """The S3 server as its operator has it."""
    client = {"endpoint_url": endpoint, "region_name": "eu-central-1"}
    return fsspec.filesystem("s3", key=ARCHIVE_KEY, secret=ARCHIVE_SECRET, client_kwargs=client)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx.get(url, trust_env=False)
            return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    main()
