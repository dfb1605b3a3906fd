"""Stored values: small ones stand in the manifest, the others in files of their own."""

import copy
import io
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import fsspec

from pygeoapi_prefect.exceptions import OutputTooLargeError, ResultNotAvailableError, ResultStoreError

LOGGER = logging.getLogger(__name__)

INLINE_BYTES = 8192
"""Values up to this size stand in the manifest: one query reads them, and there is no file to lose."""

_PIECE_BYTES = 8 * 1024 * 1024

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


@dataclass(eq=False, slots=True)
class _Connection:
    """
    Driver and path of a store, shared by the stores that :meth:`ResultStore.limited` makes: no job connects anew.

    Attributes:
        opened: None before the first use.
        is_own: Whether nobody else in this process has the driver.
    """

    opened: tuple[Any, str] | None = None
    is_own: bool = False


class ResultStore:
    """
    Values below one URL: the result store of the installation, or the storage of one process's deployment.

    Opened by its first use; thread-safe as far as the fsspec driver is. The values of one claim of one job have a
    folder of their own, so a worker that was given up cannot touch what a later one stored.

    Args:
        url: A local folder or an fsspec URL (``s3://bucket/prefix`` …; its driver must be installed).
        options: Of the fsspec driver: endpoint, credentials.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url = url
        self.options = dict(options or {})
        self._connection = _Connection()
        self._max_bytes: int | None = None
        self._sizes: dict[str, int] = {}

    def limited(self, max_bytes: int | None) -> "ResultStore":
        """The same store for one job, whose values have no more than so many bytes together; None: any number."""
        limited = copy.copy(self)
        limited._max_bytes, limited._sizes = max_bytes, {}
        return limited

    def count(self, location: str, size: int) -> None:
        """
        Count a value of a job. One that replaces another counts in its place.

        Args:
            location: Where the value stands, or would stand if it were large.
            size: Bytes.

        Raises:
            OutputTooLargeError: The job has more than it may have.
        """
        self._sizes[location] = size
        if self._max_bytes is not None and sum(self._sizes.values()) > self._max_bytes:
            raise OutputTooLargeError(
                f"The outputs of the job are larger than max_output_bytes, {self._max_bytes}: it failed at {location}",
                user_msg=f"The outputs of this job are larger than the {self._max_bytes} bytes that it may store.",
            )

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
            OutputTooLargeError: The job may not store that much.
            ResultStoreError: The store cannot be written.
        """
        data = value if isinstance(value, bytes | bytearray | memoryview) else value.encode()
        location = f"{folder}/{_safe(name)}"
        self.count(location, len(data))
        if form != "binary" and len(data) <= INLINE_BYTES:
            return StoredValue(media_type, form, len(data), inline=json.loads(value) if form == "json" else value)
        with self._writing(location) as file:
            file.write(data)
        return StoredValue(media_type, form, len(data), location=location)

    def copy_in(self, folder: str, name: str, media_type: str, source: IO[bytes], form: Form = "binary") -> StoredValue:
        """
        Store what *source* holds, read in pieces: it may be larger than the memory.

        The arguments and errors are those of :meth:`write`, but for *source*, which is read to its end.
        """
        return self.copy_to(f"{folder}/{_safe(name)}", media_type, form, source)

    def copy_to(self, location: str, media_type: str, form: Form, source: IO[bytes]) -> StoredValue:
        """
        As :meth:`copy_in`, to a path below the store.

        Raises:
            ResultStoreError: The store cannot be written, or *location* leads out of it.
        """
        if not is_inside(location):
            raise ResultStoreError(f"The location {location!r} leads out of the result store {self.url}")
        size = 0
        with self._writing(location) as file:
            while piece := source.read(_PIECE_BYTES):
                size += len(piece)
                self.count(location, size)
                file.write(piece)
        return StoredValue(media_type, form, size, location=location)

    @contextmanager
    def _writing(self, location: str) -> Iterator[IO[bytes]]:
        try:
            file_system, root = self._open()
            path = f"{root}/{location}"
            file_system.makedirs(path.rpartition("/")[0], exist_ok=True)
            with file_system.open(path, "wb") as file:
                yield file
        except OutputTooLargeError:
            raise
        except Exception as error:
            raise ResultStoreError(
                f"The result store {self.url} cannot be written: {error}. Check server.manager.output_dir, or "
                "processor.prefect.result_storage where the process has one."
            ) from error

    @staticmethod
    def safe_name(name: str) -> str:
        """*name* as that of a file here."""
        return _safe(name)

    def put(self, location: str, data: bytes) -> None:
        """Write a file of its own. Raises ResultStoreError."""
        with self._writing(location) as file:
            file.write(data)

    def get(self, location: str) -> bytes:
        """The content of a file. Raises as :meth:`open`."""
        with self.open(location) as file:
            return file.read()

    def open(self, location: str) -> IO[bytes]:
        """
        Open a stored file for reading.

        Args:
            location: Path below the store.

        Raises:
            ResultNotAvailableError: There is no such file, or *location* leads out of the store.
            ResultStoreError: The store cannot be read.
        """
        with self._reading(location) as (file_system, path):
            file: IO[bytes] = file_system.open(path, "rb")
        return file

    def size(self, location: str) -> int:
        """Bytes of a stored file. Raises as :meth:`open`."""
        with self.open(location) as file:
            return file.seek(0, io.SEEK_END)

    @property
    def root(self) -> str:
        """The store's path as its driver names it, without a slash at its end. Raises ResultStoreError."""
        try:
            return self._open()[1]
        except Exception as error:
            raise ResultStoreError(f"The result store {self.url} cannot be opened: {error}") from error

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
        with self._reading(value.location) as (file_system, path):
            data: bytes = file_system.cat_file(path)
        return data

    def read(self, value: StoredValue) -> Any:
        """The value as Python had it. Raises as :meth:`read_bytes`."""
        if value.form == "json":
            return value.inline if value.location is None else json.loads(self.read_bytes(value))
        data = self.read_bytes(value)
        return data if value.form == "binary" else data.decode()

    def sign(self, value: StoredValue, lifetime: float, media_type: str) -> str | None:
        """
        A URL at which the store itself gives a value to whoever has it.

        Args:
            value: In a file of the store.
            lifetime: Seconds from now on.
            media_type: Which it is answered in, as far as the store lets that be said.

        Returns:
            The URL; None for stores that have none: local folders, or credentials that cannot sign.
        """
        try:
            file_system, root = self._open()
            # S3 knows no media type of what fsspec wrote
            headers = {"ResponseContentType": media_type} if "s3" in _protocols(file_system) else {}
            return str(file_system.sign(f"{root}/{value.location}", expiration=int(lifetime), **headers))
        except NotImplementedError:
            return None
        except Exception as error:
            LOGGER.warning(
                "output links: the result store %s signs no URLs (%s); this server's are given instead",
                self.url,
                error,
            )
            return None

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

    def holds(self, name: str) -> bool:
        """Whether a file or folder of that name is at the top of the store. Raises ResultStoreError."""
        try:
            file_system, root = self._open()
            file_system.invalidate_cache()
            return bool(file_system.exists(f"{root}/{name}"))
        except Exception as error:
            raise ResultStoreError(f"The result store {self.url} cannot be read: {error}") from error

    def files(self, folder: str) -> dict[str, int]:
        """
        The files in and below a folder; none where there is no such folder.

        Returns:
            Bytes by the path below *folder*.

        Raises:
            ResultStoreError: The store cannot be listed.
        """
        try:
            file_system, root = self._open()
            file_system.invalidate_cache()
            base = f"{root}/{folder}".rstrip("/")
            found = file_system.find(base, detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise ResultStoreError(f"{folder} in {self.url} cannot be listed: {error}") from error
        return {
            path.removeprefix(base).lstrip("/"): int(facts["size"] or 0)
            for path, facts in found.items()
            if path.startswith(f"{base}/")
        }

    def connect(self) -> None:
        """
        Connect now, with the credentials that the environment has now, and apart from all others in this process.

        Credentials that a job finds in its environment later are then not used for the store. May be repeated.

        Raises:
            ResultStoreError: The store cannot be reached.
        """
        if self._connection.is_own:
            return
        try:
            file_system, root = fsspec.url_to_fs(self.url, **self.options, skip_instance_cache=True)
            # drivers read the environment when they are asked something for the first time
            file_system.exists(root)
        except Exception as error:
            raise ResultStoreError(f"The result store {self.url} cannot be opened: {error}") from error
        self._connection.opened = file_system, str(root).rstrip("/")
        self._connection.is_own = True

    def check(self) -> None:
        """Write, read and remove a small file. Raises ResultStoreError."""
        value = self.write(".check", "check", "application/octet-stream", b"check", "binary")
        self.read_bytes(value)
        self.delete(".check")

    @contextmanager
    def _reading(self, location: str) -> Iterator[tuple[Any, str]]:
        """The driver, and a location as it takes it; what the driver raises leaves as :meth:`open` says."""
        try:
            yield self._inside(location)
        except ResultNotAvailableError:
            raise
        except FileNotFoundError as error:
            raise ResultNotAvailableError(f"The stored value {location} is gone from {self.url}") from error
        except Exception as error:
            raise ResultStoreError(f"The result store {self.url} cannot be read: {error}") from error

    def _inside(self, location: str) -> tuple[Any, str]:
        file_system, root = self._open()
        path = f"{root}/{location}"
        is_local = "file" in _protocols(file_system)
        # whoever runs flows may put links into a folder, which the web process has other rights to follow
        if not is_inside(location) or (is_local and not Path(path).resolve().is_relative_to(Path(root).resolve())):
            raise ResultNotAvailableError(f"The location {location!r} leads out of the result store {self.url}")
        return file_system, path

    def _open(self) -> tuple[Any, str]:
        if self._connection.opened is None:
            file_system, root = fsspec.url_to_fs(self.url, **self.options)
            self._connection.opened = file_system, str(root).rstrip("/")
        return self._connection.opened


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A value of text or bytes in a file, not read yet. Its methods raise as those of the store."""

    store: ResultStore
    value: StoredValue

    def open(self) -> IO[bytes]:
        return self.store.open(str(self.value.location))

    def read(self) -> str | bytes:
        """The value as Python had it."""
        content: str | bytes = self.store.read(self.value)
        return content

    def sign(self, lifetime: float, media_type: str) -> str | None:
        return self.store.sign(self.value, lifetime, media_type)


def _protocols(file_system: Any) -> Sequence[str]:
    protocol = file_system.protocol
    return [protocol] if isinstance(protocol, str) else protocol


def is_inside(location: str) -> bool:
    """Whether a path below a store stays below it, whoever wrote it."""
    return bool(location) and not location.startswith("/") and ".." not in location.split("/")


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".") or "value"
