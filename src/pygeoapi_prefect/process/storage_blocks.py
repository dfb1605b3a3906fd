"""
Prefect's storage blocks, as Prefect itself reads and saves them. Imports Prefect: only where a flow runs.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.filesystems import LocalFileSystem, RemoteFileSystem

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.results.blocks import StorageBlock, is_block

_saved_blocks: dict[str, str] = {}


def storage_of(order: JobOrder, store: ResultStore) -> tuple[str, StorageBlock]:
    """
    The block where the flow shall store its outputs, by its reference and as a store.

    A folder or a URL is saved as a block of its own, once in this process.

    Raises:
        ConfigurationError: There is no such block, or its outputs could not be read back.
    """
    place = order.settings.result_storage or store.url
    reference = place if is_block(place) else _saved_block(place)
    return reference, read_block(reference, f"resources.{order.process_id}.processor.prefect.result_storage")


def read_block(reference: str, yaml_key: str) -> StorageBlock:
    """
    A storage block as a store.

    Args:
        reference: ``<slug>/<name>``.
        yaml_key: Where it is configured, for the message.

    Raises:
        ConfigurationError: There is no such block, or it is of no use.
    """
    try:
        return StorageBlock.from_document(reference, read_document(reference))
    except ObjectNotFound as error:
        raise ConfigurationError(
            f"{yaml_key}: Prefect has no block {reference!r}. Create it in Prefect's UI under Blocks, or with its "
            "save() method."
        ) from error


def read_document(reference: str) -> Mapping[str, Any]:
    """The fields of a block, secrets included. Raises ObjectNotFound of Prefect's."""
    slug, _, name = reference.partition("/")
    with get_client(sync_client=True) as client:
        return dict(client.read_block_document_by_name(name, slug, include_secrets=True).data)


def _saved_block(place: str) -> str:
    if place not in _saved_blocks:
        name = f"pygeoapi-prefect-{_digest(place)}"
        scheme, _, path = place.rpartition("://")
        if scheme in ("", "file", "local"):
            LocalFileSystem(basepath=path).save(name, overwrite=True)
            _saved_blocks[place] = f"local-file-system/{name}"
        else:
            RemoteFileSystem(basepath=place).save(name, overwrite=True)
            _saved_blocks[place] = f"remote-file-system/{name}"
    return _saved_blocks[place]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
