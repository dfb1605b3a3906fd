"""
The main job, from one command: serve the terrain example and execute a process on real elevation data over HTTP.

``make demo`` runs it; ``make demo ARGS=--once`` ends after the jobs.
"""

import os
import time
from pathlib import Path
from typing import Any

import click
import httpx

from pygeoapi_prefect.cli.up import Serving, serving, tell_addresses, wait_for_interrupt

HERE = Path(__file__).parent
BBOX = [-84.30, 36.16, -84.16, 36.25]  # degrees: west, south, east, north
STATISTICS = {"inputs": {"product": "slope", "bbox": BBOX}, "outputs": {"statistics": {}}}
HILLSHADE = {"inputs": {"product": "hillshade", "azimuth": 315, "altitude": 45}, "outputs": {"raster": {}}}
POLL_SECONDS = 0.2


@click.command()
@click.option("--once", is_flag=True, help="End after the jobs instead of serving on.")
@click.option("--port", default=5000, show_default=True, help="Of pygeoapi, on 127.0.0.1.")
@click.option("--data", default="data", show_default=True, type=click.Path(), help="Folder of job store and results.")
@click.option("--starlette", "server", flag_value="starlette", help="Serve with Starlette instead of Flask.")
def demo(once: bool, port: int, data: str, server: str | None) -> None:
    """Serve the terrain example, execute it synchronously and asynchronously, and go on serving until Ctrl-C."""
    os.environ |= {
        "PYGEOAPI_PORT": str(port),
        "PYGEOAPI_PREFECT_DATA": str(Path(data).absolute()),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
    }
    with serving(str(HERE / "config.yml"), server or "flask") as started:
        with httpx.Client(base_url=started.url, timeout=60, trust_env=False) as client:
            execute_synchronously(client)
            job_url = execute_asynchronously(client, Path(data) / "hillshade.tif")
        tell_addresses(started)
        tell_flow_run(started, job_url)
        if not once:
            wait_for_interrupt()


def execute_synchronously(client: httpx.Client) -> None:
    """Slope statistics of a piece of the grid."""
    click.echo("\nSynchronously: slope of the Cumberland Mountains, Tennessee")
    response = client.post("/processes/terrain/execution", json=STATISTICS)
    response.raise_for_status()
    statistics = response.json()
    click.echo(
        f"  {statistics['cells']} cells, mean {statistics['mean']:.1f}°, steepest {statistics['max']:.1f}°"
        f"  (job {response.headers['Location']})"
    )


def execute_asynchronously(client: httpx.Client, path: Path) -> str:
    """A hillshade of the whole grid, as a GeoTIFF in *path*; returns the job's address."""
    click.echo("Asynchronously: hillshade of the whole grid as a GeoTIFF")
    response = client.post("/processes/terrain/execution", json=HILLSHADE, headers={"Prefer": "respond-async"})
    response.raise_for_status()
    job_url = response.headers["Location"]
    click.echo(f"  accepted as {job_url}")
    job = _wait(client, job_url)
    if job["status"] != "successful":
        raise click.ClickException(f"the job is {job['status']}: {job['message']}")
    raster = client.get(f"{job_url}/results")
    raster.raise_for_status()
    path.write_bytes(raster.content)
    click.echo(f"  {job['status']}: {raster.headers['Content-Type']}, {len(raster.content)} bytes, in {path}\n")
    return str(job_url)


def tell_flow_run(started: Serving, job_url: str) -> None:
    """Where Prefect shows the job."""
    if started.prefect_ui_url:
        click.echo(f"job {job_url.rpartition('/')[2]} is among {started.prefect_ui_url}/runs\n")


def _wait(client: httpx.Client, job_url: str) -> dict[str, Any]:
    while True:
        job: dict[str, Any] = client.get(job_url, params={"f": "json"}).json()
        if job["status"] not in ("accepted", "running"):
            return job
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    demo()
