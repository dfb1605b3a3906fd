"""
Prefect's storage blocks as stores, and the locations in them that flows name.

A block is read as the document that Prefect's API gives, so nothing here imports Prefect, and every store is an fsspec
URL with options: in the runner, in pool workers and in deployments alike.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec

from pygeoapi_prefect.exceptions import ConfigurationError, ResultNotAvailableError
from pygeoapi_prefect.results.returns import UnusableReturnError
from pygeoapi_prefect.results.store import INLINE_BYTES, ResultStore, StoredValue
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE

_NO_BASEPATH = "None"  # what an f-string makes of the basepath of a block that has none


def is_block(reference: str) -> bool:
    """Whether *reference* names a block (``<slug>/<name>``) rather than a folder or an fsspec URL."""
    return "://" not in reference and not reference.startswith((".", "/", "~")) and reference.count("/") == 1


@dataclass(frozen=True, slots=True)
class StorageBlock:
    """
    A storage block.

    Attributes:
        basepath: As the block itself says it: what its users put before their paths.
        store: The same place as a store.
    """

    basepath: str
    store: ResultStore

    @classmethod
    def from_document(cls, reference: str, data: Mapping[str, Any]) -> "StorageBlock":
        """
        Args:
            reference: ``<slug>/<name>``.
            data: The block's fields, secrets and referenced blocks included.

        Raises:
            ConfigurationError: The block is of a kind that is not known here, or has no base path.
        """
        slug = reference.partition("/")[0]
        basepath = data.get("basepath")
        match slug:
            case "local-file-system" if basepath:
                return cls(str(basepath).rstrip("/"), ResultStore(str(Path(basepath).expanduser().absolute())))
            case "remote-file-system" if basepath:
                return cls(str(basepath).rstrip("/"), ResultStore(str(basepath), data.get("settings")))
            case "s3-bucket" if data.get("bucket_name"):
                folder = str(data.get("bucket_folder") or "").strip("/")
                url = "/".join(filter(None, [f"s3://{data['bucket_name']}", folder]))
                return cls(folder, ResultStore(url, _s3_options(data.get("credentials") or {})))
            case "local-file-system" | "remote-file-system" | "s3-bucket":
                raise ConfigurationError(f"Block {reference} names no place. Give it a base path, or a bucket.")
        raise ConfigurationError(
            f"Block {reference} is of a kind whose outputs cannot be read back. Use a block of the kind "
            "local-file-system, remote-file-system or s3-bucket, or an fsspec URL such as s3://bucket/folder."
        )


def _s3_options(credentials: Mapping[str, Any]) -> dict[str, Any]:
    """Of s3fs, from ``aws-credentials`` or ``minio-credentials``."""
    client = credentials.get("aws_client_parameters") or {}
    options = {
        "key": credentials.get("aws_access_key_id") or credentials.get("minio_root_user"),
        "secret": credentials.get("aws_secret_access_key") or credentials.get("minio_root_password"),
        "token": credentials.get("aws_session_token"),
    }
    keywords = {
        "endpoint_url": client.get("endpoint_url"),
        "region_name": credentials.get("region_name"),
        "use_ssl": client.get("use_ssl"),
        "verify": client.get("verify"),
    }
    chosen = {name: value for name, value in options.items() if value}
    if kept := {name: value for name, value in keywords.items() if value is not None}:
        chosen["client_kwargs"] = kept
    return chosen


def store_location(
    store: ResultStore,
    job_id: str,
    folder: str,
    name: str,
    media_type: str,
    location: str,
    block: StorageBlock | None,
) -> StoredValue:
    """
    Take an output that a flow left somewhere into the result store.

    A file that already stands in the job's own folder of the store stays where it is.

    Args:
        store: The result store.
        job_id: Names the job's folder.
        folder: Of the claim, for what is copied.
        name: Of the output.
        media_type: Of the output.
        location: As the flow names it: below the block's base path, an fsspec URL, or a local path; a relative one
            counts from the working directory.
        block: That the flow was told to use; None where there is none.

    Raises:
        UnusableReturnError: There is nothing at *location*.
        ResultStoreError: The store cannot be written.
    """
    source_store, path = _below_block(location, block)
    try:
        if source_store is not None and source_store.root == store.root and path.startswith(f"{job_id}/"):
            size = store.size(path)
            if size > INLINE_BYTES:
                store.count(path, size)
                return StoredValue(media_type, "binary", size, location=path)
        with source_store.open(path) if source_store is not None else _open(path) as source:
            head = source.read(INLINE_BYTES + 1)
            if len(head) <= INLINE_BYTES:
                return _small(store, folder, name, media_type, head)
            source.seek(0)
            return store.copy_in(folder, name, media_type, source)
    except (FileNotFoundError, IsADirectoryError, ResultNotAvailableError) as error:
        raise UnusableReturnError(
            msg=f"The flow says that it stored output {name!r} at {location!r}, but there is no file. Write it through "
            "the block that result_storage_block names, and return f'{storage.basepath}/{path}' as its location.",
            user_msg=f"The output {name!r} is not where the process said that it stored it.",
        ) from error


def _below_block(location: str, block: StorageBlock | None) -> tuple[ResultStore | None, str]:
    """The block's store and the path in it, or None and the location by itself."""
    if block is not None:
        for base in (block.basepath, block.store.url, block.store.root):
            if base and location.startswith(f"{base}/"):
                return block.store, location[len(base) + 1 :].lstrip("/")
        if not block.basepath and "://" not in location:
            return block.store, location.lstrip("/")
    return None, location


def _open(location: str) -> IO[bytes]:
    if "://" in location:
        file: IO[bytes] = fsspec.open(location, "rb").open()
        return file
    path = Path(location)
    if not path.exists() and path.parts[:1] == (_NO_BASEPATH,):
        path = Path(*path.parts[1:])
    return path.open("rb")


def _small(store: ResultStore, folder: str, name: str, media_type: str, data: bytes) -> StoredValue:
    try:
        text = data.decode()
        if media_type == JSON_MEDIA_TYPE or media_type.endswith("+json"):
            return store.write(folder, name, media_type, json.dumps(json.loads(text)), "json")
        if media_type.startswith("text/"):
            return store.write(folder, name, media_type, text, "text")
    except ValueError:
        pass  # it is not what it says, but it is what the flow stored
    return store.write(folder, name, media_type, data, "binary")
