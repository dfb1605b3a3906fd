"""
One job executed where it runs: a pool worker, or a flow run on a work pool.

What a plain processor returns, and what it raises, means the same in both places.
"""

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pygeoapi.error import GenericError
from pygeoapi.process.base import BaseProcessor, ProcessorExecuteError

from pygeoapi_prefect.exceptions import PygeoapiPrefectError
from pygeoapi_prefect.jobs.queries import MESSAGE_SUCCESSFUL
from pygeoapi_prefect.jobs.records import Outcome, Problem
from pygeoapi_prefect.process.input_values import input_values
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.process.progress import report_progress
from pygeoapi_prefect.results import ResultStore, media_type_of, store_return
from pygeoapi_prefect.results.outputs import WHOLE
from pygeoapi_prefect.results.returns import UnusableReturnError, meaning_of
from pygeoapi_prefect.schemas import JobStatus
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE
from pygeoapi_prefect.telemetry.tracing import part_span

if TYPE_CHECKING:
    from pygeoapi_prefect.handlers.handled_job import HandledJob

LOGGER = logging.getLogger(__name__)


class JobStopped(BaseException):
    """Raised in the main thread of a job in the pool when it is stopped, so that ``finally`` blocks run."""


def execute_plain(
    processor: BaseProcessor, order: JobOrder, store: ResultStore, handled: "HandledJob | None" = None
) -> dict[str, Any]:
    """
    Execute an unmodified pygeoapi processor, and store what it returns.

    Args:
        processor: The processor.
        order: The job.
        store: Where its outputs are stored.
        handled: The job with its handlers, within an attempt; None: it has none.

    Returns:
        The manifest.

    Raises:
        InvalidInputsError: The inputs do not fit.
        UnusableReturnError: It returned what cannot be stored.
        Exception: Whatever the processor or a handler raises.
    """
    processor.set_job_id(order.job_id)
    if not hasattr(processor, "report_progress"):
        processor.report_progress = report_progress
    arguments = {"outputs": order.request.get("outputs")} if processor.supports_outputs else {}
    returned = processor.execute(input_values(order, processor.metadata), **arguments)
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise UnusableReturnError(
            user_msg=f"The process returned a {type(returned).__name__} instead of (media type, value)"
        )
    wanted = arguments.get("outputs")
    with part_span("store outputs"):
        manifest = store_pair(returned, processor.metadata, order, store, requested_outputs=wanted, handled=handled)
    if handled is not None:
        manifest = handled.finish(manifest)
    return manifest


def store_pair(
    returned: tuple[Any, Any] | list[Any],
    metadata: Mapping[str, Any],
    order: JobOrder,
    store: ResultStore,
    *,
    requested_outputs: Any,
    handled: "HandledJob | None" = None,
) -> dict[str, Any]:
    """
    Store the ``(media type, value)`` of a process.

    Args:
        returned: The pair.
        metadata: The process description.
        order: The job.
        store: Where it is stored.
        requested_outputs: The selection that the process was told; None where it takes none.
        handled: The job with its handlers; None: it has none.

    Returns:
        The manifest.

    Raises:
        UnusableReturnError: The value is neither text nor bytes nor JSON.
        ResultStoreError: The store cannot be written.
        Exception: Whatever a handler raises.
    """
    media_type, value = returned
    declared = list(metadata.get("outputs") or {})
    if handled is not None:
        media_type, value = _handled_pair(
            str(media_type or JSON_MEDIA_TYPE), value, *meaning_of(value, declared, requested_outputs), handled
        )
    return store_return(store, order.folder, media_type, value, declared, requested_outputs=requested_outputs)


def _handled_pair(
    media_type: str, value: Any, meaning: str, outputs: list[str], handled: "HandledJob"
) -> tuple[str, Any]:
    """What handlers make of a pair: it means the same outputs as before."""

    def part(name: str, before: Any) -> Any:
        new_type, after = handled.output(name, media_type, before)
        # within a whole, a value of another type says so itself
        return after if new_type == media_type else {"value": after, "mediaType": new_type}

    match meaning:
        case "outputs":
            return media_type, {name: part(name, before) for name, before in value.items()}
        case "wrapped":
            return media_type, {**value, "value": part(outputs[0], value["value"])}
        case "output":
            return handled.output(outputs[0], media_type, value)
    return handled.output(WHOLE, media_type, value)


def successful(manifest: Mapping[str, Any], handled: "HandledJob | None" = None) -> Outcome:
    """The outcome of a job whose result was stored. *handled*: the job with its handlers, which may have a message."""
    message = handled and handled.message
    return Outcome(
        JobStatus.SUCCESSFUL, message or MESSAGE_SUCCESSFUL, media_type=media_type_of(manifest), result=manifest
    )


def failed(error: BaseException) -> Outcome:
    """The outcome of a job that raised *error*, which is logged with its traceback."""
    LOGGER.error("%s", "".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, ProcessorExecuteError | PygeoapiPrefectError):
        return _refused(error)
    text = str(error)
    return Outcome.failed(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _refused(error: GenericError | PygeoapiPrefectError) -> Outcome:
    """A process that raises pygeoapi's error refuses what it was given: 400, unless it names a status of its own."""
    # the text of our own is the operator's, who finds it in the job's log; that of pygeoapi's is for both
    reason = error.client_message if isinstance(error, PygeoapiPrefectError) else error.user_msg or str(error)
    if not reason or reason == "None":
        reason = error.message
    status, type_ = int(error.http_status_code), str(error.ogc_exception_code)
    if isinstance(error, ProcessorExecuteError) and status == GenericError.http_status_code:
        status = int(HTTPStatus.BAD_REQUEST)
    if type_ == GenericError.ogc_exception_code:
        type_ = "InvalidParameterValue" if status == HTTPStatus.BAD_REQUEST else "about:blank"
    return Outcome(JobStatus.FAILED, reason, problem=Problem(status, type_, reason))
