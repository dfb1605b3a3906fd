"""Runs a job with its handlers in the process of the test, as a pool worker does."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pygeoapi_prefect.jobs.records import Outcome
from pygeoapi_prefect.masking import SecretMask
from pygeoapi_prefect.process.execution import execute_plain, failed, successful
from pygeoapi_prefect.process.handled import handled_job
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.results import ResultStore

JOB_ID = "11111111-1111-1111-1111-111111111111"


class Returns:
    """A processor that returns what it is given; *outputs*: ids of those that its description declares."""

    supports_outputs = False

    def __init__(self, returned: Any, outputs: tuple[str, ...] = ("result",)) -> None:
        self.returned = returned
        self.metadata = {"inputs": {}, "outputs": {name: {"schema": {}} for name in outputs}}

    def set_job_id(self, job_id: str) -> None:
        self.job_id = job_id

    def execute(self, data: Mapping[str, Any], outputs: Any = None) -> Any:
        return self.returned(data) if callable(self.returned) else self.returned


def execute_here(
    folder: Path,
    handlers: list[Any],
    processor: Any,
    *,
    inputs: Mapping[str, Any] | None = None,
    outputs: Any = None,
    user: Mapping[str, Any] | None = None,
    access_token: str = "",
    job_id: str = JOB_ID,
    store_url: str | None = None,
) -> Outcome:
    """The outcome of one job; its result store is *folder*/results, unless *store_url* says another."""
    store = ResultStore(store_url or str(folder / "results"))
    request = {"inputs": dict(inputs or {}), **({} if outputs is None else {"outputs": outputs})}
    resource = {"processor": {"name": "HelloWorld", "prefect": {"handlers": handlers}}}
    order = JobOrder(job_id, "process", resource, request, f"{job_id}/1", user=user, access_token=access_token)
    mask = SecretMask(order.secrets)
    with job_environment(folder / "scratch"):
        handled = handled_job(order, processor.metadata, store, mask=mask)
        assert handled is not None
        try:
            handled.open()
            handled.set_environment()
            with handled.attempt():
                return successful(execute_plain(processor, order, store, handled))
        except Exception as error:
            return failed(mask.error(error))
        finally:
            handled.close()


@contextlib.contextmanager
def job_environment(scratch: Path) -> Iterator[None]:
    """What hooks leave in the environment is gone afterwards."""
    scratch.mkdir(exist_ok=True)
    environment, before = dict(os.environ), tempfile.tempdir
    level = logging.getLogger().level
    tempfile.tempdir = str(scratch)
    logging.getLogger().setLevel(logging.INFO)
    try:
        yield
    finally:
        logging.getLogger().setLevel(level)
        tempfile.tempdir = before
        os.environ.clear()
        os.environ.update(environment)
