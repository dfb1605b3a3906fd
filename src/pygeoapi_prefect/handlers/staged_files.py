"""The files that an output becomes in a store."""

import base64
import io
import json
import mimetypes
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from pygeoapi.util import json_serial

from pygeoapi_prefect.handlers.storage_options import safe_name
from pygeoapi_prefect.results.http_headers import OCTETS
from pygeoapi_prefect.results.returns import UnusableReturnError
from pygeoapi_prefect.results.store import ResultStore, is_inside
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE, essence

Values = Mapping[str, Any]
"""``values`` of ``setOutput``."""


@dataclass(frozen=True, slots=True)
class FileToStage:
    """
    One file.

    Attributes:
        path: Below the job's folder in a store.
        media_type: As far as it is known.
        size: Bytes.
        open: Its content from the start; may be called again.
    """

    path: str
    media_type: str
    size: int
    open: Callable[[], IO[bytes]]


def place_of(output_id: str, values: Values) -> str:
    """
    Where an output is found in the job's folder of a store: its file, its folder, or its STAC document.

    A file keeps its name; a value is named after its output and its media type.
    """
    safe = safe_name(output_id)
    if "stac" in values:
        document = Path(values["stac"])
        return f"{safe}/{document.relative_to(values.get('folder') or document.parent).as_posix()}"
    value = values["value"]
    if isinstance(value, Path):
        return safe if value.is_dir() else f"{safe}/{value.name}"
    return safe + _extension(_encoded(values)[0])


def files_of(output_id: str, values: Values, scratch: Path) -> Iterator[FileToStage]:
    """
    The files of an output: of a STAC document the whole folder that it stands in, or that a handler has made for it.

    Args:
        output_id: Its id.
        values: With ``stac`` or ``value``.
        scratch: The job's folder for temporary files.

    Raises:
        UnusableReturnError: There is no such file, or a STAC document has no folder of its own.
    """
    place = place_of(output_id, values)
    if (made := values.get("folder")) is not None and "stac" in values:
        yield from _folder(Path(made), safe_name(output_id), with_links=True)
        return
    if "stac" in values:
        folder = Path(values["stac"]).absolute().parent
        if scratch.absolute().is_relative_to(folder):
            raise UnusableReturnError(
                f"The STAC document {values['stac']} of output {output_id!r} stands among other files of the job: "
                "what belongs to it is not known. Write it into a folder of its own.",
                user_msg=f"The files of the output {output_id!r} cannot be told from others.",
            )
        yield from _folder(folder, safe_name(output_id))
        return
    value = values["value"]
    if not isinstance(value, Path):
        yield _in_memory(place, *_encoded(values))
    elif value.is_dir():
        yield from _folder(value, place)
    else:
        yield _file(value, place, str(values["mediaType"]))


def file_in_store(output_id: str, media_type: str, kept: Any, store: ResultStore, job_id: str) -> FileToStage:
    """
    The file of an output that a flow has left somewhere, as it was taken into the result store.

    Args:
        output_id: Its id.
        media_type: Its media type.
        kept: Path or URL in the result store, or the value itself where that is small.
        store: The result store.
        job_id: The job; a text that a client has made up may look like the path of a file of another one.

    Raises:
        ResultStoreError: The store cannot be read.
    """
    for root in (store.url.rstrip("/"), store.root):
        if isinstance(kept, str) and kept.startswith(f"{root}/"):
            location = kept[len(root) + 1 :]
            if not (is_inside(location) and location.startswith(f"{job_id}/")):
                continue
            place = safe_name(output_id) + _extension(media_type)
            return FileToStage(place, media_type, store.size(location), partial(store.open, location))
    values = {"value": kept, "mediaType": media_type}
    return _in_memory(place_of(output_id, values), *_encoded(values))


def _folder(folder: Path, place: str, *, with_links: bool = False) -> Iterator[FileToStage]:
    """The files of a folder; *with_links*: also those that symbolic links lead to."""
    for path in sorted(folder.rglob("*")):
        # a process's link may lead to what is none of the output's; a handler's is how it puts files into its folder
        if path.is_file() and (with_links or not path.is_symlink()):
            media_type = mimetypes.guess_type(path.name)[0] or OCTETS
            yield _file(path, f"{place}/{path.relative_to(folder).as_posix()}", media_type)


def _file(path: Path, place: str, media_type: str) -> FileToStage:
    try:
        return FileToStage(place, media_type, path.stat().st_size, lambda: path.open("rb"))
    except FileNotFoundError as error:
        raise UnusableReturnError(
            f"The file {path} is not there. Write it before returning its path.",
            user_msg="The process returned a file that does not exist.",
        ) from error


def _in_memory(place: str, media_type: str, data: bytes) -> FileToStage:
    return FileToStage(place, media_type, len(data), partial(io.BytesIO, data))


def _encoded(values: Values) -> tuple[str, bytes]:
    """
    Media type and bytes as a client gets the output raw; a qualified value is what it qualifies.

    Source:
        OGC 18-062r2, ``qualifiedInputValue.yaml``.
    """
    media_type, value = str(values["mediaType"]), values["value"]
    if isinstance(value, Mapping) and isinstance(value.get("mediaType"), str) and "value" in value:
        media_type, is_base64, value = value["mediaType"], value.get("encoding") == "base64", value["value"]
        if is_base64 and isinstance(value, str):
            return media_type, base64.b64decode(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return media_type, bytes(value)
    if isinstance(value, str) and media_type != JSON_MEDIA_TYPE:
        return media_type, value.encode()
    return media_type, json.dumps(value, default=json_serial).encode()


def _extension(media_type: str) -> str:
    kind = essence(media_type)
    return mimetypes.guess_extension(kind) or (".json" if kind.endswith("+json") else "")
