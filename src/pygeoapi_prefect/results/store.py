"""Stored values: small ones stand in the manifest, the others in files of their own."""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import fsspec

from pygeoapi_prefect.exceptions import ResultNotAvailableError, ResultStoreError

LOGGER = logging.getLogger(__name__)

INLINE_BYTES = 8192
"""Values up to this size stand in the manifest: one query reads them, and there is no file to lose."""

Form = Literal["json", "text", "binary"]


@dataclass(frozen=True, slots=True)
class StoredValue:
    """
    A value as it was returned, wherever it is.

    Attributes:
        media_type: As the process gave it.
        form: What it was in Python: ``json`` (anything that JSON can hold), ``text`` or ``binary``.
        size: Bytes, encoded.
        inline: The value itself; only for ``json`` and ``text`` up to :data:`INLINE_BYTES`.
        location: Path below the result store; None for a value that is inline.
    """

    media_type: str
    form: Form
    size: int
    inline: Any = None
    location: str | None = None

    def to_json(self) -> dict[str, Any]:
        where = {"inline": self.inline} if self.location is None else {"location": self.location}
        return {"media_type": self.media_type, "form": self.form, "size": self.size, **where}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "StoredValue":
        return cls(**values)


class ResultStore:
    """
    The result store of one installation.

    Opened by its first use; thread-safe as far as the fsspec driver is. The values of one claim of one job have a
    folder of their own, so a worker that was given up cannot touch what a later one stored.

    Args:
        url: A local folder or an fsspec URL (``s3://bucket/prefix`` …; its driver must be installed).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._opened: tuple[Any, str] | None = None

    def write(self, folder: str, name: str, media_type: str, value: Any, form: Form) -> StoredValue:
        """
        Store *value*.

        Args:
            folder: Of the claim: ``<job id>/<claim number>``.
            name: Of the value; made safe for file systems.
            media_type: Kept with the value.
            value: ``bytes`` for ``binary``, ``str`` for ``text``, the JSON text of the value for ``json``.
            form: What the value was before it was encoded.

        Raises:
            ResultStoreError: The store cannot be written.
        """
        data = value if isinstance(value, bytes | bytearray | memoryview) else value.encode()
        if form != "binary" and len(data) <= INLINE_BYTES:
            return StoredValue(media_type, form, len(data), inline=json.loads(value) if form == "json" else value)
        location = f"{folder}/{re.sub(r'[^A-Za-z0-9._-]+', '_', name).lstrip('.') or 'value'}"
        try:
            file_system, root = self._open()
            path = f"{root}/{location}"
            file_system.makedirs(path.rpartition("/")[0], exist_ok=True)
            with file_system.open(path, "wb") as file:
                file.write(data)
        except Exception as error:
            raise ResultStoreError(
                f"The result store {self.url} cannot be written: {error}. Check server.manager.output_dir."
            ) from error
        return StoredValue(media_type, form, len(data), location=location)

    def read_bytes(self, value: StoredValue) -> bytes:
        """
        The value as it is stored: encoded JSON or UTF-8, or the bytes.

        Raises:
            ResultNotAvailableError: The file is gone.
            ResultStoreError: The store cannot be read.
        """
        if value.location is None:
            text = json.dumps(value.inline) if value.form == "json" else value.inline
            return str(text).encode()
        try:
            file_system, root = self._open()
            data: bytes = file_system.cat_file(f"{root}/{value.location}")
        except FileNotFoundError as error:
            raise ResultNotAvailableError(f"The stored value {value.location} is gone from {self.url}") from error
        except Exception as error:
            raise ResultStoreError(f"The result store {self.url} cannot be read: {error}") from error
        return data

    def read(self, value: StoredValue) -> Any:
        """The value as Python had it. Raises as :meth:`read_bytes`."""
        if value.form == "json":
            return value.inline if value.location is None else json.loads(self.read_bytes(value))
        data = self.read_bytes(value)
        return data if value.form == "binary" else data.decode()

    def delete(self, folder: str) -> None:
        """
        Remove what a job (``<job id>``) or one of its claims (``<job id>/<claim number>``) stored, if anything.

        Raises:
            ResultStoreError: It cannot be removed.
        """
        try:
            file_system, root = self._open()
            file_system.rm(f"{root}/{folder}", recursive=True)
        except FileNotFoundError:
            return
        except Exception as error:
            raise ResultStoreError(f"Stored outputs {folder} could not be removed: {error}") from error

    def check(self) -> None:
        """Write, read and remove a small file. Raises ResultStoreError."""
        value = self.write(".check", "check", "application/octet-stream", b"check", "binary")
        self.read_bytes(value)
        self.delete(".check")

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            file_system, root = fsspec.url_to_fs(self.url)
            self._opened = file_system, str(root).rstrip("/")
        return self._opened
