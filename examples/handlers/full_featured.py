"""
Everything at once: slope of real terrain, for a known user, checked, archived, published and registered.

``python examples/handlers/full_featured.py`` plays the identity provider, starts a workspace API, an S3 server and a
STAC API on 127.0.0.1, serves ``full_featured.yml``, executes a job of Ada that passes and one that breaks a rule, and
shows where the results are. It needs the extras ``examples``, ``stac`` and ``storage``, ``moto[server]``, and the
packages ``stac-fastapi.api`` and ``stac-fastapi.extensions``.
"""

import tempfile
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from multi_storage import ARCHIVE_KEY, ARCHIVE_SECRET, BUCKET, file_system, s3_server
from serving_example import execute, free_port, served, show
from stac_api import serving_api
from workspace import token_of, workspace_api

BBOX = [-84.30, 36.16, -84.16, 36.25]  # degrees: west, south, east, north
FEW_CELLS = [-84.30, 36.16, -84.29, 36.17]
SHOWN = ("pygeoapi_jobs_ended_total", "pygeoapi_handler_workflow")


def main() -> None:
    """Execute two jobs of Ada."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with (
        tempfile.NamedTemporaryFile(suffix=".pem") as key_file,
        tempfile.TemporaryDirectory() as copies,
        s3_server() as endpoint,
        workspace_api(public, endpoint) as (workspaces, registered),
        serving_api() as (catalogue, _),
    ):
        Path(key_file.name).write_bytes(public)
        bucket = file_system(endpoint)
        bucket.mkdir(BUCKET)
        metrics_port = free_port()
        environment = {
            "ISSUER_KEY": key_file.name,
            "WORKSPACE_API": workspaces,
            "STAC_API": catalogue,
            "S3_ENDPOINT": endpoint,
            "ARCHIVE_KEY": ARCHIVE_KEY,
            "ARCHIVE_SECRET": ARCHIVE_SECRET,
            "COPIES_FOLDER": copies,
            "METRICS_PORT": str(metrics_port),
        }
        with served("full_featured.yml", environment) as client:
            headers = {"Authorization": f"Bearer {token_of('42', 'ada', private)}"}
            job = execute(client, "terrain", {"inputs": {"bbox": BBOX}}, headers)
            show(f"The job of Ada is {job['status']}:", job["message"])
            bucket.invalidate_cache()
            show("The archive has:", bucket.find(BUCKET))
            show("The folder has:", sorted(str(one.relative_to(copies)) for one in Path(copies).rglob("*.*")))
            show("Her workspace knows:", registered)
            item = httpx.get(registered[0]["url"], trust_env=False).raise_for_status().json()
            show("There is the Item, with these properties:", item["properties"])
            raster = client.get(item["assets"]["data"]["href"], headers=headers).raise_for_status().content
            archived = bucket.cat_file(next(one for one in bucket.find(BUCKET) if one.endswith(".tif")))
            show("It leads to the raster that the archive has:", "yes" if raster == archived else "no")
            job = execute(client, "terrain", {"inputs": {"bbox": FEW_CELLS}}, headers)
            show(f"Her job of few cells is {job['status']}:", job["message"])
            show("So her workspace knows as many results as before:", len(registered))
            scrape = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics", trust_env=False).raise_for_status().text
            shown = [line for line in scrape.splitlines() if line.startswith(SHOWN) and not line.endswith(" 0.0")]
            show("Prometheus scrapes:", "\n".join(shown))


if __name__ == "__main__":
    main()
