"""
A job as one flow run of Prefect's engine. Imports Prefect: only where a flow runs.

The flow that the engine runs is ours, around the user's: it has the user's name, retries, time limit, task runner and
hooks, but parameters that anybody may see, and it stores the outputs where the job runs.
"""

import asyncio
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.context import SyncClientContext
from prefect.exceptions import PrefectHTTPStatusError, TerminationSignal
from prefect.filesystems import LocalFileSystem
from prefect.flow_engine import run_flow
from prefect.flows import Flow
from prefect.results import get_default_result_storage
from prefect.runtime import flow_run as this_flow_run
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_RESULTS_PERSIST_BY_DEFAULT,
    temporary_settings,
)
from pygeoapi.process.base import BaseProcessor

from pygeoapi_prefect.exceptions import InvalidInputsError, PrefectUnavailableError
from pygeoapi_prefect.masking import SecretMask
from pygeoapi_prefect.process.dask import DaskCluster
from pygeoapi_prefect.process.execution import JobStopped, execute_plain
from pygeoapi_prefect.process.flow_runs import (
    flow_name,
    flow_run_name,
    flow_run_parameters,
    flow_run_tags,
    trace_labels,
)
from pygeoapi_prefect.process.input_values import linked_inputs
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.process.processor import is_flow
from pygeoapi_prefect.process.storage_blocks import storage_of
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.telemetry.tracing import current_trace_parent, part_span

if TYPE_CHECKING:
    from pygeoapi_prefect.handlers.handled_job import HandledJob


def flow_of_job(
    processor: BaseProcessor,
    order: JobOrder,
    store: ResultStore,
    *,
    began: Callable[[UUID], None],
    kept: Callable[[Mapping[str, Any]], None],
    failed: Callable[[Exception], None] = lambda _: None,
    stopped: Callable[[], None] = lambda: None,
    parameters: Sequence[str] = ("job_id", "inputs"),
    result_folder: Path | None = None,
    handled: "HandledJob | None" = None,
    mask: SecretMask,
) -> Flow[..., None]:
    """
    The flow that executes one job.

    Args:
        processor: A flow's, or any other.
        order: The job.
        store: Where its outputs are stored.
        began: Called in the flow run, with its id, when an attempt begins.
        kept: Called in the flow run, with the manifest, when the outputs are stored.
        failed: Called in the flow run when an attempt has failed; there may be another one.
        stopped: Called in the flow run when SIGTERM has ended an attempt.
        parameters: Names of the flow run's parameters, which are only shown.
        result_folder: Where Prefect persists results of flows that do not say where; None: Prefect finds out.
        handled: The job with its handlers, opened; None: it has none.
        mask: Of the job.

    Raises:
        InvalidInputsError: The inputs do not fit, or choose a cluster that is of no use.
        ConfigurationError: The process's storage block is missing or of no use.
    """

    retries = (processor.flow.retries or 0) if is_flow(processor) else 0

    def is_last() -> bool:
        return int(this_flow_run.run_count) > retries

    @contextmanager
    def attempt() -> Iterator[None]:
        try:
            began(UUID(this_flow_run.get_id()))
            with nullcontext() if handled is None else handled.attempt(is_last=is_last):
                yield
        except Exception as error:
            # Prefect shows it to everybody
            shown = mask.error(error)
            failed(shown)
            if shown is error:
                raise
            raise shown from None
        except (JobStopped, TerminationSignal):
            stopped()
            raise

    if not is_flow(processor):

        def execute(*shown: Any) -> None:
            with attempt():
                kept(execute_plain(processor, order, store, handled))

        return Flow(fn=_named(execute, order, parameters), name=flow_name(order.process_id), validate_parameters=False)
    user, convention = processor.flow, processor.convention
    block_reference, block = storage_of(order, store) if convention.needs_block else (None, None)
    linked = linked_inputs(order)

    @cache
    def arguments() -> dict[str, Any]:
        return _allowing(convention.arguments(order, processor.metadata, block_reference), order)

    # what has to be fetched waits for the flow run: only then does the job run, and its time limit count
    known = _allowing(convention.arguments_without(linked, order, processor.metadata), order) if linked else arguments()

    def finish(returned: Any) -> None:
        with part_span("store outputs"):
            manifest = convention.store(returned, order, processor.metadata, store, block, handled)
        if handled is not None:
            manifest = handled.finish(manifest)
        kept(manifest)

    async def run_async(*shown: Any) -> None:
        with attempt():
            finish(await user.fn(**arguments()))

    def run(*shown: Any) -> None:
        with attempt():
            finish(user.fn(**arguments()))

    return _JobFlow(
        fn=_named(run_async if user.isasync else run, order, parameters),
        name=user.name,
        version=user.version,
        description=user.description,
        retries=user.retries,
        retry_delay_seconds=user.retry_delay_seconds,
        timeout_seconds=user.timeout_seconds,
        task_runner=_task_runner(known) or user.task_runner,
        persist_result=_persists(user),
        result_storage=user.result_storage or result_folder,
        result_serializer=user.result_serializer,
        cache_result_in_memory=user.cache_result_in_memory,
        log_prints=user.log_prints,
        on_completion=user.on_completion_hooks,
        on_failure=user.on_failure_hooks,
        on_cancellation=user.on_cancellation_hooks,
        on_crashed=user.on_crashed_hooks,
        on_running=user.on_running_hooks,
        validate_parameters=False,
    )


def _allowing(arguments: Mapping[str, Any], order: JobOrder) -> dict[str, Any]:
    """The arguments, with what Dask clusters among them need to know."""
    return {
        name: value.allowing(order.settings.dask_addresses) if isinstance(value, DaskCluster) else value
        for name, value in arguments.items()
    }


def _persists(user: Flow[..., Any]) -> bool:
    return PREFECT_RESULTS_PERSIST_BY_DEFAULT.value() if user.persist_result is None else user.persist_result


def _named(function: Any, order: JobOrder, parameters: Sequence[str]) -> Any:
    function.__name__ = function.__qualname__ = flow_name(order.process_id).replace("-", "_")
    return with_parameters(function, parameters)


def with_parameters(function: Any, names: Sequence[str]) -> Any:
    """Let Prefect believe that a function which takes anything has parameters of these names."""
    function.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    return function


def _task_runner(arguments: Mapping[str, Any]) -> Any:
    """
    Of the cluster that one of the job's inputs chooses, if any does.

    Raises:
        InvalidInputsError: The cluster is of no use; names the input.
    """
    for name, value in arguments.items():
        choose = getattr(value, "task_runner", None)
        if callable(choose):
            try:
                return choose()
            except InvalidInputsError as error:
                raise InvalidInputsError(
                    f"Input {name!r}: {error}", user_msg=f"Input {name!r}: {error.client_message}"
                ) from error
    return None


class _JobFlow(Flow[..., None]):
    """
    The flow of a job.

    Prefect sends the flow along with every task that runs in another process, where only its name is read. What goes
    there has neither the job's inputs, some of them secret, nor the connection to the runner.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _elsewhere, (self.name,)


def _elsewhere(name: str) -> Flow[..., None]:
    def run() -> None:
        raise RuntimeError("This stands for the flow of a job where its tasks run.")

    return Flow(fn=run, name=name)


def run_in_pool(
    processor: BaseProcessor,
    order: JobOrder,
    store: ResultStore,
    *,
    api_url: str | None,
    began: Callable[[UUID], None],
    handled: "HandledJob | None" = None,
    mask: SecretMask,
) -> Mapping[str, Any]:
    """
    Run a job as a flow run in this process.

    Args:
        processor: A flow's.
        order: The job.
        store: The result store.
        api_url: Of the local Prefect server; None: as Prefect's own settings say.
        began: Called with the flow run's id when the work begins.
        handled: The job with its handlers, opened; None: it has none.
        mask: Of the job.

    Returns:
        The manifest.

    Raises:
        PrefectUnavailableError: No Prefect API is configured.
        Exception: As :func:`flow_of_job`, and whatever the flow raises.
    """
    client = connect(api_url)
    manifests: list[Mapping[str, Any]] = []
    flow = flow_of_job(
        processor,
        order,
        store,
        began=lambda _: None,
        kept=manifests.append,
        # the engine would show the run as crashed; the recorder shows how the job ended
        stopped=lambda: os._exit(0),
        result_folder=_default_result_folder(api_url),
        handled=handled,
        mask=mask,
    )
    flow_run = _create_flow_run(client, flow, order)
    began(flow_run.id)
    running: Any = run_flow(flow, flow_run=flow_run, parameters=flow_run.parameters)
    if flow.isasync:
        asyncio.run(running)
    return manifests[-1]


@cache
def _default_result_folder(_api_url: str | None) -> Path | None:
    """Prefect's default, which it would ask its server for in every flow run; None where that is a block."""
    storage = get_default_result_storage()
    return Path(storage.basepath) if isinstance(storage, LocalFileSystem) and storage.basepath else None


_flow_ids: dict[str, str] = {}


def _create_flow_run(client: SyncPrefectClient, flow: Flow[..., Any], order: JobOrder) -> FlowRun:
    """As the client's own method, which asks for the flow's id each time, and names the run in a further call."""
    if flow.name not in _flow_ids:
        _flow_ids[flow.name] = str(client.create_flow_from_name(flow.name))
    body = {
        "flow_id": _flow_ids[flow.name],
        "flow_version": flow.version,
        "name": flow_run_name(order.process_id, order.job_id),
        "parameters": flow_run_parameters(order.job_id, order.request),
        "tags": flow_run_tags(order.process_id, order.job_id),
        "idempotency_key": order.folder,
        "state": {"type": "PENDING"},
        "labels": trace_labels(current_trace_parent()),
    }
    try:
        created = client.request("POST", "/flow_runs/", json=body)
    except PrefectHTTPStatusError as error:
        if error.response.status_code != HTTPStatus.CONFLICT:
            raise
        # somebody deleted the flow, whose id we kept
        del _flow_ids[flow.name]
        return _create_flow_run(client, flow, order)
    return FlowRun.model_validate(created.json())


_connected: tuple[str | None, ExitStack, SyncPrefectClient] | None = None


def connect(api_url: str | None) -> SyncPrefectClient:
    """
    Open one client for all flow runs of this process: a new one costs 22 ms.

    The heartbeat is off: its thread, joined at the end of every run, costs up to a second, and the runner's lease does
    its work.

    Args:
        api_url: Of the local Prefect server; None: as Prefect's own settings say.

    Returns:
        The client.

    Raises:
        PrefectUnavailableError: They name no API.
    """
    global _connected  # noqa: PLW0603 one for each process
    if _connected is not None:
        if _connected[0] == api_url:
            return _connected[2]
        _connected[1].close()
        _connected = None
        _flow_ids.clear()
    stack = ExitStack()
    settings: dict[Any, Any] = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    if api_url is not None:
        settings[PREFECT_API_URL] = api_url
    stack.enter_context(temporary_settings(settings))
    if not PREFECT_API_URL.value():
        stack.close()
        raise PrefectUnavailableError(
            "Prefect's settings name no API. Set PREFECT_API_URL for the user that runs the runner."
        )
    client = stack.enter_context(SyncClientContext.get_or_create()).client
    _connected = api_url, stack, client
    return client
