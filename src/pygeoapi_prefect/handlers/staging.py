"""Puts the files of one job into one store, and makes sure that they are there."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal

import fsspec
import stamina

from pygeoapi_prefect.exceptions import ConfigurationError, PygeoapiPrefectError
from pygeoapi_prefect.handlers.staged_files import FileToStage
from pygeoapi_prefect.handlers.storage_options import StoreOptions
from pygeoapi_prefect.results.http_headers import safe_media_type, uri

LOGGER = logging.getLogger(__name__)

REPORT = "_replication.json"
"""What stands in the job's folder, written last: a folder without it is not complete."""

_PIECE_BYTES = 1024 * 1024
_BLOCK_BYTES = 16 * 1024 * 1024
_MAX_BLOCKS = 9000
"""Of one file. S3 takes 10 000 parts. Source: Amazon S3 user guide, multipart upload limits."""

_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"})
"""Drivers whose files appear under their name when they are whole."""

_TYPE_OPTIONS = {"s3": "ContentType", "s3a": "ContentType", "gs": "content_type", "gcs": "content_type"}
"""How drivers are told the media type of a file. That of Azure is told nothing."""

# to try again is of no use: configuration, rights, what is not there
_LASTING = (PygeoapiPrefectError, PermissionError, FileNotFoundError, NotImplementedError, TypeError, ValueError)


class CopyDiffersError(OSError):
    """What a store has is not what was written to it."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """
    One file in a store.

    Attributes:
        path: Below the job's folder.
        media_type: As far as it is known.
        size: Bytes.
        sha256: Of its content, in hexadecimal digits.
    """

    path: str
    media_type: str
    size: int
    sha256: str


class StoreOfJob:
    """
    The folder of one job in one store.

    Args:
        options: Of the store.
        url: Of the folder.
        public_url: Where clients find it; None: at *url*.
        verify: ``content``: files are read back; ``size``: only their sizes are.
        attempts: How often the writing of one file is tried.
        timeout: Seconds after which it is not tried again.

    Raises:
        ConfigurationError: The driver or a credential is missing.
    """

    def __init__(
        self,
        options: StoreOptions,
        url: str,
        public_url: str | None = None,
        *,
        verify: Literal["content", "size"] = "content",
        attempts: int = 5,
        timeout: float = 120,
    ) -> None:
        self.name = options.name
        self.required = options.required
        self.url = url
        self._public_url = public_url
        self._verify = verify
        self._attempts = attempts
        self._timeout = timeout
        try:
            self._fs, root = fsspec.url_to_fs(url, **options.driver_options())
        except (ImportError, ValueError, TypeError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(
                f"The store {self.name!r} cannot be opened: {error}. Check its url and storage_options; drivers other "
                "than for local folders are packages of their own: s3fs, gcsfs, adlfs.",
                user_msg=f"The store {self.name!r} cannot be used.",
            ) from error
        self._root = str(root).rstrip("/")
        protocol = self._fs.protocol
        self._protocols = {protocol} if isinstance(protocol, str) else set(protocol)

    def begin(self) -> None:
        """Take back what was said of an earlier attempt. Raises OSError and what the driver raises."""
        for attempt in self._attempted():
            with attempt:
                path = f"{self._root}/{REPORT}"
                if self._fs.exists(path):
                    self._fs.rm_file(path)

    def put(self, file: FileToStage) -> StagedFile:
        """
        Write one file, and verify it.

        Raises:
            CopyDiffersError: What the store has is something else, after all attempts.
            Exception: What the driver raises.
        """
        for attempt in self._attempted():
            with attempt:
                return self._put(file)
        raise AssertionError("there is one attempt at least")

    def finish(self, report: Mapping[str, Any]) -> None:
        """Write the report. Raises as :meth:`put`."""
        data = json.dumps(report, indent=2).encode()
        for attempt in self._attempted():
            with attempt:
                self._fs.pipe_file(f"{self._root}/{REPORT}", data)

    def link(self, place: str, lifetime: float | None, media_type: str) -> str:
        """
        Where clients find what is at *place* below the folder.

        Args:
            place: A file or folder; it need not be there yet.
            lifetime: Seconds that the link is good for, signed by the store; None: it is not signed.
            media_type: Which a signed link is answered in, as far as the store lets that be said.

        Raises:
            ConfigurationError: The store signs no links.
        """
        path = f"{self._root}/{place}"
        if lifetime is None:
            base = self._public_url or str(self._fs.unstrip_protocol(self._root))
            return f"{base.rstrip('/')}/{uri(place)}"
        headers = {"ResponseContentType": safe_media_type(media_type)} if "s3" in self._protocols else {}
        try:
            return str(self._fs.sign(path, expiration=int(lifetime), **headers))
        except NotImplementedError as error:
            raise ConfigurationError(
                f"The store {self.name!r} signs no links. Leave link_lifetime out.",
                user_msg=f"There is no link to the store {self.name!r}.",
            ) from error

    # ---------------------------------------------------------------- one file

    def _attempted(self) -> Iterator[stamina.Attempt]:
        return iter(stamina.retry_context(on=_may_pass, attempts=self._attempts, timeout=self._timeout))

    def _put(self, file: FileToStage) -> StagedFile:
        path = f"{self._root}/{file.path}"
        is_object = bool(self._protocols & _OBJECT_STORES)
        folder, _, name = path.rpartition("/")
        written = path if is_object else f"{folder}/.{name}.part"
        if not is_object:
            self._fs.makedirs(folder, exist_ok=True)
        with file.open() as source, self._open(written, file) as target:
            size, digest = _copy(source, target)
        self._check(written, size, digest)
        if not is_object:
            self._fs.mv(written, path)
        return StagedFile(file.path, file.media_type, size, digest)

    def _open(self, path: str, file: FileToStage) -> Any:
        told = {_TYPE_OPTIONS[name]: safe_media_type(file.media_type) for name in self._protocols & set(_TYPE_OPTIONS)}
        return self._fs.open(path, "wb", block_size=max(_BLOCK_BYTES, file.size // _MAX_BLOCKS), **told)

    def _check(self, path: str, size: int, digest: str) -> None:
        self._fs.invalidate_cache()
        try:
            found = int(self._fs.size(path) or 0)
        except FileNotFoundError as error:
            raise CopyDiffersError(f"{path} is not there though it was written") from error
        if found != size:
            raise CopyDiffersError(f"{path} has {found} bytes instead of {size}")
        if self._verify == "content":
            with self._fs.open(path, "rb", block_size=_BLOCK_BYTES, cache_type="readahead") as copy:
                if _copy(copy, None)[1] != digest:
                    raise CopyDiffersError(f"{path} has another checksum than what was written")


def report_of(
    lenv: Mapping[str, Any], outputs: Mapping[str, Sequence[StagedFile]], stores: Mapping[str, bool]
) -> dict[str, Any]:
    """
    What is written beside the files.

    Args:
        lenv: Of the job's ``conf``.
        outputs: The files by output id.
        stores: Whether each store has them, by name.
    """
    return {
        "job_id": lenv["job_id"],
        "process_id": lenv["process_id"],
        "outputs": {output_id: [asdict(file) for file in files] for output_id, files in outputs.items()},
        "stores": {name: "complete" if has_all else "failed" for name, has_all in stores.items()},
    }


def _copy(source: IO[bytes], target: IO[bytes] | None) -> tuple[int, str]:
    """Size and SHA-256 of what was read, in pieces."""
    digest, size = hashlib.sha256(), 0
    while piece := source.read(_PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
        if target is not None:
            target.write(piece)
    return size, digest.hexdigest()


def _may_pass(error: Exception) -> bool:
    return isinstance(error, Exception) and not isinstance(error, _LASTING)
