"""
Results that flows written for ``pygeoapi-prefect`` 0.9 persist in Prefect's result storage. Imports Prefect.

They are pickles, and to read a pickle executes what its writer put in: only a pool worker or a flow run does, never a
web process or a runner.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound
from prefect.filesystems import WritableFileSystem
from prefect.results import ResultStore as PrefectResultStore
from prefect.results import get_default_result_storage, get_result_store

from pygeoapi_prefect.exceptions import ConfigurationError, ResultNotAvailableError
from pygeoapi_prefect.process.engine import connect
from pygeoapi_prefect.process.execution import store_pair
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.process.processor import load_processor
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.results.returns import UnusableReturnError
from pygeoapi_prefect.settings import DEFAULT_RESULT_KEY

if TYPE_CHECKING:
    from pygeoapi_prefect.handlers.handled_job import HandledJob


def take_over(order: JobOrder, store: ResultStore, *, api_url: str | None) -> Mapping[str, Any]:
    """
    Store anew what the flow run of a job has persisted.

    Args:
        order: The job; its process runs as a deployment that somebody else made.
        store: The result store.
        api_url: Of the local Prefect server; None: as Prefect's own settings say.

    Returns:
        The manifest.

    Raises:
        ConfigurationError: The process's block is missing, or no storage.
        ResultNotAvailableError: Nothing was persisted under the job's key.
        UnusableReturnError: What was persisted is not ``(media type, value)``.
        PrefectUnavailableError: No Prefect API is configured.
    """
    connect(api_url)
    deployment = order.settings.deployment
    assert deployment is not None
    reference = deployment.result_storage_block
    storage = _default_storage() if reference is None else _block(order.process_id, reference)
    words = "Prefect's default result storage" if reference is None else f"the block {reference}"
    persisted = _read(storage, words, deployment.result_key(order.job_id))
    return store_persisted(persisted, load_processor(order.process_id, order.resource).metadata, order, store)


def read_in_flow_run(order: JobOrder) -> Any:
    """
    What a task of the flow that runs here has persisted under the job's key.

    Raises:
        ResultNotAvailableError: Nothing was.
    """
    deployment = order.settings.deployment
    key = deployment.result_key(order.job_id) if deployment else DEFAULT_RESULT_KEY.format(job_id=order.job_id)
    storage = get_result_store().result_storage or _default_storage()
    return _read(storage, "the flow's result storage", key)


def store_persisted(
    persisted: Any,
    metadata: Mapping[str, Any],
    order: JobOrder,
    store: ResultStore,
    handled: "HandledJob | None" = None,
) -> Mapping[str, Any]:
    """
    Store what was persisted, or returned, as the result of a job; the manifest. *handled*: the job with its handlers.

    Raises:
        UnusableReturnError: It is not ``(media type, value)``.
        ResultStoreError: The store cannot be written.
    """
    if not is_pair(persisted):
        raise UnusableReturnError(
            user_msg=f"The process persisted a {type(persisted).__name__} instead of (media type, value)"
        )
    wanted = order.request.get("outputs")
    return store_pair(persisted, metadata, order, store, requested_outputs=wanted, handled=handled)


def is_pair(value: Any) -> bool:
    """Whether it is ``(media type, value)``; not every value can be stored."""
    return (
        isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[0], str) and "/" in value[0]
    ) and not isinstance(value[1], Path)


def _default_storage() -> WritableFileSystem:
    # an asynchronous flow would get a coroutine without _sync, which the annotations do not know
    find: Any = get_default_result_storage
    storage: WritableFileSystem = find(_sync=True)
    return storage


def _block(process_id: str, reference: str) -> WritableFileSystem:
    key = f"resources.{process_id}.processor.prefect.deployment.result_storage_block"
    try:
        block = Block.load(reference)
    except (ValueError, ObjectNotFound) as error:
        raise ConfigurationError(f"{key}: Prefect has no block {reference!r}, or its kind is not installed") from error
    if not isinstance(block, WritableFileSystem):
        raise ConfigurationError(f"{key}: block {reference!r} is no storage")
    return block


def _read(storage: WritableFileSystem, words: str, key: str) -> Any:
    results = PrefectResultStore(result_storage=storage)
    try:
        return results.read(key).result
    except Exception as error:
        # each kind of storage has its own error for what is not there
        if not results.exists(key):
            raise ResultNotAvailableError(
                f"There is no result {key!r} in {words} ({storage!r}): {error}. Does a task of the flow persist its "
                "result under that key, to a storage that the runner's host reaches as well?",
                user_msg=f"The flow run ended, but there is no result {key!r} in {words}.",
            ) from error
        raise UnusableReturnError(
            f"The result {key!r} in {words} ({storage!r}) cannot be read: {type(error).__name__}: {error}",
            user_msg=f"The result {key!r} in {words} cannot be read.",
        ) from error
