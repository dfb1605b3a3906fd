"""Block documents: read with their secrets; secrets kept and removed."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from uuid import UUID

from pygeoapi_prefect.prefect_api.client import Client, PrefectRefusedError, encoded, quoted

SECRET = "secret"  # noqa: S105  # the slug of a block type
"""Block type of Prefect's ``prefect.blocks.system.Secret``."""


class BlockNotFoundError(PrefectRefusedError):
    """Prefect has no such block document: it was never saved, was renamed or deleted."""


@dataclass(frozen=True, slots=True)
class BlockDocument:
    """
    A saved block.

    Attributes:
        slug: Of its block type, such as ``remote-file-system``.
        data: What it was saved with, secrets in clear text, the data of blocks that it refers to in their places.
            Not part of the repr.
    """

    block_id: UUID
    slug: str
    name: str
    data: Mapping[str, Any] = field(repr=False)


class Blocks(Client):
    """Reads block documents, and keeps secrets in them."""

    def block_document(self, reference: str) -> BlockDocument:
        """
        Read a saved block with its secrets.

        Args:
            reference: ``slug/name``, as in ``Block.load`` and ``prefect block ls``.

        Raises:
            BlockNotFoundError: There is none.
        """
        slug, _, name = reference.partition("/")
        if not slug or not name:
            raise BlockNotFoundError(
                f"{reference!r} names no block: it must be type/name, as `prefect block ls` shows them.",
                status_code=HTTPStatus.NOT_FOUND,
            )
        found = self._call("GET", _path(slug, name), params={"include_secrets": "true"}, missing=BlockNotFoundError)
        return BlockDocument(UUID(found["id"]), slug, name, found["data"])

    def save_secret(self, name: str, value: Any) -> None:
        """
        Keep a value encrypted, so that flows read it with ``Secret.load(name).get()``. May be repeated.

        Args:
            name: Lower-case letters, digits and dashes.
            value: JSON; replaces what the name stood for. It is kept as JSON text, which ``get()`` decodes: the text
                ``"12"`` itself would come back as a number.
        """
        data = {"value": encoded(value).decode()}
        block_type = self._secret_type()
        [schema, *_] = self._call(
            "POST", "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [block_type]}}, "limit": 1}
        )
        body = {"name": name, "data": data, "block_type_id": block_type, "block_schema_id": schema["id"]}
        try:
            self._call("POST", "/block_documents/", body)
        except PrefectRefusedError as error:
            if error.status_code != HTTPStatus.CONFLICT:
                raise
            block_id = self._call("GET", _path(SECRET, name), missing=BlockNotFoundError)["id"]
            self._call("PATCH", f"/block_documents/{block_id}", {"data": data}, missing=BlockNotFoundError)

    def delete_secret(self, name: str) -> None:
        """Forget a secret. Does nothing when there is none; may be repeated."""
        with suppress(BlockNotFoundError):
            block_id = self._call("GET", _path(SECRET, name), missing=BlockNotFoundError)["id"]
            self._call("DELETE", f"/block_documents/{block_id}", missing=BlockNotFoundError)

    def _secret_type(self) -> str:
        path = f"/block_types/slug/{SECRET}"
        try:
            found = self._call("GET", path, missing=BlockNotFoundError)
        except BlockNotFoundError:
            # a server with PREFECT_API_BLOCKS_REGISTER_ON_START=false
            self._call("POST", "/block_types/install_system_block_types")
            found = self._call("GET", path, missing=BlockNotFoundError)
        return str(found["id"])


def _path(slug: str, name: str) -> str:
    return f"/block_types/slug/{quoted(slug)}/block_documents/name/{quoted(name)}"
