"""Flows whose tasks run on Dask, and a way to run one job after the other as a pool worker does."""

import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, task
from prefect_dask import DaskTaskRunner

from pygeoapi_prefect import DaskCluster
from pygeoapi_prefect.masking import SecretMask
from pygeoapi_prefect.process.engine import run_in_pool
from pygeoapi_prefect.process.execution import failed, successful
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.process.processor import load_processor
from pygeoapi_prefect.results import ResultStore, respond

API_URL = "API_URL"
FIXED_ADDRESS = "FIXED_ADDRESS"


@task
def pid_of_worker(number: int) -> int:
    """Long enough for both workers to get some."""
    time.sleep(0.1)
    return os.getpid()


@task
def slow(number: int, file: str) -> int:
    """Tell when it begins and when it has come to its end."""
    with Path(file).open("a") as lines:
        lines.write(f"begun {number}\n")
    time.sleep(2)
    with Path(file).open("a") as lines:
        lines.write(f"ended {number}\n")
    return number


@flow
def pids(cluster: DaskCluster | None = None, count: int = 8) -> list[int]:
    """Process ids of where the tasks ran, and last the flow's own."""
    return [future.result() for future in pid_of_worker.map(list(range(count)))] + [os.getpid()]


@flow
async def async_pids(cluster: DaskCluster | None = None, count: int = 8) -> list[int]:
    """The same with a flow that is a coroutine."""
    return [future.result() for future in pid_of_worker.map(list(range(count)))] + [os.getpid()]


@flow(task_runner=DaskTaskRunner(address=os.environ.get(FIXED_ADDRESS, "tcp://127.0.0.1:1")))
def fixed() -> list[int]:
    """The cluster stands in the code."""
    return [future.result() for future in pid_of_worker.map(list(range(8)))] + [os.getpid()]


@flow
def many_slow(file: str, cluster: DaskCluster) -> list[int]:
    """Twenty seconds of work."""
    return [future.result() for future in [slow.submit(number, file) for number in range(10)]]


class Told:
    """What the job tells the runner. Like the real connection it cannot be pickled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.flow_run_id: UUID | None = None

    def began(self, flow_run_id: UUID) -> None:
        with self._lock:
            self.flow_run_id = flow_run_id


class LogLines(logging.Handler):
    """Every record of every level, as its text."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def run_job(
    api_url: str, folder: str, name: str, inputs: dict[str, Any], rules: list[str], secret_inputs: list[str]
) -> dict[str, Any]:
    """Outcome, value, flow run id and log of one job of the flow *name* of this module."""
    prefect = {"flow": f"{__name__}:{name}", "dask_addresses": rules}
    resource = {"type": "process", "processor": {"name": "pygeoapi_prefect.FlowProcessor", "prefect": prefect}}
    request = {"inputs": inputs, "response": "raw", "secret_inputs": secret_inputs}
    order = JobOrder("job-1", "on-dask", resource, request, "job-1")
    store, told, log = ResultStore(folder), Told(), LogLines()
    root = logging.getLogger()
    root.addHandler(log)
    root.setLevel(logging.DEBUG)
    try:
        processor = load_processor("on-dask", resource)
        manifest = run_in_pool(processor, order, store, api_url=api_url, began=told.began, mask=SecretMask())
        outcome, value = successful(manifest), respond(store, manifest, request, as_returned=True).content
    except Exception as error:
        outcome, value = failed(error), None
    finally:
        root.removeHandler(log)
    return {
        "outcome": outcome.to_json(),
        "value": json.loads(value) if isinstance(value, str | bytes) else value,
        "flow_run_id": told.flow_run_id and str(told.flow_run_id),
        "log": log.lines,
    }


if __name__ == "__main__":
    # by its importable name: workers cannot import __main__
    import dask_flows

    folder, file, address = sys.argv[1:]
    inputs = {"file": file, "cluster": {"address": address}}
    dask_flows.run_job(os.environ[API_URL], folder, "many_slow", inputs, [address], ["cluster"])
