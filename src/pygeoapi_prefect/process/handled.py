"""The handlers of a job, where its process has any."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pygeoapi_prefect.masking import SecretMask
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.telemetry.usage import UsageMeter

if TYPE_CHECKING:
    from pygeoapi_prefect.handlers.handled_job import HandledJob


def handled_job(
    order: JobOrder,
    metadata: Mapping[str, Any],
    store: ResultStore,
    *,
    mask: SecretMask,
    drain: Callable[[], None] = lambda: None,
    usage: UsageMeter | None = None,
) -> "HandledJob | None":
    """
    The job with its handlers, to be opened and closed by the caller; None where its process has none.

    Args:
        order: The job.
        metadata: The process description.
        store: Where its outputs are stored.
        mask: Of the job.
        drain: Waits until all that the job has printed is logged.
        usage: Measures the job.
    """
    if not (order.resource["processor"].get("prefect") or {}).get("handlers"):
        return None
    # jobs without handlers do without the package
    from pygeoapi_prefect.handlers.handled_job import HandledJob

    return HandledJob(
        job_id=order.job_id,
        process_id=order.process_id,
        inputs=order.inputs,
        requested_outputs=order.request.get("outputs"),
        declared_outputs=list(metadata.get("outputs") or {}),
        handlers=order.settings.handlers,
        store=store,
        folder=order.folder,
        user=order.user,
        access_token=order.access_token,
        mask=mask,
        drain=drain,
        usage=usage,
    )
