"""
The main job, from one command: serve the terrain example and execute processes on real elevation data over HTTP.

``make demo`` runs it; ``make demo ARGS=--once`` ends after the jobs, ``make demo ARGS=--deployment`` also deploys the
flow and runs it on a worker.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import httpx

from pygeoapi_prefect.cli.up import Serving, serving, tell_addresses, wait_for_interrupt

HERE = Path(__file__).parent
BBOX = [-84.30, 36.16, -84.16, 36.25]  # degrees: west, south, east, north
STATISTICS = {"inputs": {"product": "slope", "bbox": BBOX}, "outputs": {"statistics": {}}}
HILLSHADE = {"inputs": {"product": "hillshade", "azimuth": 315, "altitude": 45}, "outputs": {"raster": {}}}
SLOPE_ITEM = {"inputs": {"bbox": BBOX}, "outputs": {"item": {}}}
WORK_POOL = "terrain"  # as in config.yml
POLL_SECONDS = 0.2
WORKER_STOP_SECONDS = 20


@click.command()
@click.option("--once", is_flag=True, help="End after the jobs instead of serving on.")
@click.option("--port", default=5000, show_default=True, help="Of pygeoapi, on 127.0.0.1.")
@click.option("--data", default="data", show_default=True, type=click.Path(), help="Folder of job store and results.")
@click.option("--deployment", "is_deployed", is_flag=True, help="Also deploy the flow, and run it on a worker.")
@click.option("--starlette", "server", flag_value="starlette", help="Serve with Starlette instead of Flask.")
def demo(once: bool, port: int, data: str, is_deployed: bool, server: str | None) -> None:
    """Serve the terrain example, execute its processes, and go on serving until Ctrl-C."""
    os.environ |= {
        "PYGEOAPI_PORT": str(port),
        "PYGEOAPI_PREFECT_DATA": str(Path(data).absolute()),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
    }
    with ExitStack() as ends_in_reverse:
        started = ends_in_reverse.enter_context(serving(str(HERE / "config.yml"), server or "flask"))
        with httpx.Client(base_url=started.url, timeout=60, trust_env=False) as client:
            execute_synchronously(client)
            job_url = execute_asynchronously(client, Path(data) / "hillshade.tif")
            api_url = started.prefect_api_url
            has_prefect = api_url is not None and answers(api_url)
            if not has_prefect:
                click.echo(f"Flows need Prefect, which cannot be reached: jobs are {started.prefect}\n")
            else:
                click.echo("A Prefect flow in the pool: slope as a STAC Item")
                execute_flow(client, "slope-item")
            if has_prefect and is_deployed:
                # the worker stays for further jobs, as long as the server does
                ends_in_reverse.enter_context(deployed(api_url, Path(data) / "worker.log"))
                click.echo("The same flow as a deployment, on a worker of the work pool")
                execute_flow(client, "slope-item-deployed")
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


def answers(prefect_api_url: str) -> bool:
    """Whether somebody answers there, whatever the answer: a job of a flow would wait for Prefect for an hour."""
    try:
        httpx.get(f"{prefect_api_url}/health", timeout=5)
    except httpx.HTTPError:
        return False
    return True


def execute_flow(client: httpx.Client, process_id: str) -> None:
    """Execute a flow asynchronously, and tell what its STAC Item says."""
    response = client.post(
        f"/processes/{process_id}/execution", json=SLOPE_ITEM, headers={"Prefer": "respond-async"}
    ).raise_for_status()
    job_url = str(response.headers["Location"])
    job = _wait(client, job_url)
    if job["status"] != "successful":
        raise click.ClickException(f"the job is {job['status']}: {job['message']}")
    item = client.get(f"{job_url}/results").raise_for_status().json()
    statistics = item["assets"]["raster"]["bands"][0]["statistics"]
    click.echo(
        f"  STAC {item['stac_version']} Item {item['id']}\n"
        f"  {statistics['count']} cells, mean {statistics['mean']:.1f}°  (job {job_url})\n"
    )


@contextmanager
def deployed(prefect_api_url: str, log_path: Path) -> Iterator[None]:
    """Deploy the processes that have a deployment, and for the time of the block run a worker that takes their jobs."""
    click.echo("Deploying: pygeoapi plugins prefect deploy")
    deploy = [sys.executable, "-c", "from pygeoapi import cli; cli()", "plugins", "prefect", "deploy"]
    subprocess.run(deploy, check=True)
    click.echo(f"Starting: prefect worker start --type process --pool {WORK_POOL}  (log: {log_path})")
    environment = os.environ | {
        "PREFECT_API_URL": prefect_api_url,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", WORK_POOL]
    with log_path.open("wb") as log:
        worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        worker.terminate()
        try:
            worker.wait(WORKER_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


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
