"""An output that is stored, for handlers that look into it."""

import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pygeoapi_prefect.results.outputs import Output
from pygeoapi_prefect.results.store import ResultStore, StoredFile, StoredValue, is_inside
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE, is_json

if TYPE_CHECKING:
    from rasterio import DatasetReader

RASTER_DRIVERS = ("GTiff", "PNG", "JPEG", "JP2OpenJPEG", "netCDF", "HDF5", "GRIB", "HFA")
"""Formats that hold their own cells. Others, such as VRT, make GDAL read whatever files and URLs they name."""


class UnreadableOutputError(Exception):
    """An output is not what it should be; the message completes "The output 'name' …" and is for the client."""


class StoredOutput:
    """
    One output of a job whose outputs are stored.

    Args:
        name: Its id.
        value: Of the mapping *output* that ``post_execution_hook`` is called with.
        shown: ``values`` as ``setOutput`` left them; empty where it was not called.
        store: The result store.
        job_id: The job; of files in the store only its own are read, whatever path a process returned as a text.

    Raises:
        ResultNotAvailableError: The file is gone.
        ResultStoreError: The store cannot be read.

    Attributes:
        is_link: Whether the content is elsewhere.
        left_at: The path where the process left a STAC document, with what that links to beside it; None for all else.
    """

    def __init__(self, name: str, value: Any, shown: Mapping[str, Any], *, store: ResultStore, job_id: str) -> None:
        self.name = name
        media_type = str(shown.get("mediaType") or JSON_MEDIA_TYPE)
        self._path: str | None = None
        self.is_link = False
        self.left_at: str | None = None
        if isinstance(value, str) and (location := _location(value, store, job_id)):
            # text and bytes are in the file as they are, all else as JSON
            is_written = not isinstance(shown.get("value", ""), str | bytes | bytearray | memoryview | Path)
            self._set_file(store, location, media_type, "json" if is_written else "binary")
        elif isinstance(value, str) and "stac" in shown and value == str(shown["stac"]):
            self.left_at = value
            path = Path(value)
            self._set_file(ResultStore(str(path.parent)), path.name, media_type, "binary")
        else:
            self.is_link = isinstance(value, str) and value == shown.get("href")
            stored = StoredValue(media_type, "text" if isinstance(value, str) else "json", 0, inline=value)
            self._output = Output.read(store, name, stored)

    def _set_file(self, store: ResultStore, location: str, media_type: str, form: Any) -> None:
        stored = StoredValue(media_type, form, store.size(location), location=location)
        self._output = Output.read(store, self.name, stored)
        if isinstance(self._output.content, StoredFile) and "://" not in store.root and Path(store.root).is_dir():
            self._path = f"{store.root}/{location}"

    @property
    def media_type(self) -> str:
        """As the process gave it."""
        return self._output.media_type

    @property
    def size(self) -> int:
        """Bytes of the content as a client gets it."""
        content = self._output.content
        return content.value.size if isinstance(content, StoredFile) else len(self._output.data())

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing: no bytes, no text, null, and no member of an array or object."""
        content = self._output.content
        return content.value.size == 0 if isinstance(content, StoredFile) else content in (None, "", b"", [], {})

    @property
    def document(self) -> Any:
        """The content as JSON has it; a text that is none, as it is. Raises UnreadableOutputError."""
        content = self._output.loaded()
        if not is_json(self.media_type) or not isinstance(content, str | bytes):
            if isinstance(content, bytes):
                raise UnreadableOutputError("is no JSON document")
            return content
        try:
            return json.loads(content)
        except ValueError as error:
            if isinstance(content, str):
                return content
            raise UnreadableOutputError("is no JSON document") from error

    @contextmanager
    def raster(self) -> Iterator["DatasetReader"]:
        """
        The content as a raster. GDAL looks at no other file for it.

        Raises:
            UnreadableOutputError: It is none of :data:`RASTER_DRIVERS`.
        """
        import rasterio
        from rasterio.errors import RasterioError
        from rasterio.io import DatasetReader

        try:
            with (
                rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
                self._as_file() as path,
                # rasterio.open takes one driver only
                DatasetReader(path, driver=list(RASTER_DRIVERS)) as dataset,
            ):
                yield dataset
        except RasterioError as error:
            raise UnreadableOutputError("cannot be read as a raster") from error

    @contextmanager
    def _as_file(self) -> Iterator[str]:
        """The path of a file of this machine with the content: a copy that is then removed, where there is none."""
        if self._path is not None:
            yield self._path
            return
        content = self._output.content
        with tempfile.NamedTemporaryFile() as copy:
            with content.open() if isinstance(content, StoredFile) else io.BytesIO(self._output.data()) as source:
                shutil.copyfileobj(source, copy)
            copy.flush()
            yield copy.name


def _location(place: str, store: ResultStore, job_id: str) -> str | None:
    """The path below the store, if the job may have stored something there."""
    for base in (store.root, store.url.rstrip("/")):
        location = place.removeprefix(f"{base}/")
        if location != place and location.startswith(f"{job_id}/") and is_inside(location):
            return location
    return None
