"""Every manifest as one mapping of outputs, and what an output is."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from pygeoapi_prefect.exceptions import UnknownOutputError
from pygeoapi_prefect.results.http_headers import safe_media_type
from pygeoapi_prefect.results.store import ResultStore, StoredFile, StoredValue
from pygeoapi_prefect.schemas import InputReference, QualifiedInputValue
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE

WHOLE = "return"
"""The id that stands for a return that cannot be told apart into outputs."""


def is_whole(manifest: Mapping[str, Any]) -> bool:
    """Whether the manifest is of a return that cannot be told apart into outputs."""
    return manifest.get("meaning") == "whole"


def stored_outputs(store: ResultStore, manifest: Mapping[str, Any]) -> dict[str, StoredValue]:
    """
    The outputs of a manifest of any kind, by their ids.

    Files are read only where several outputs stand in one. Parts of a return have the size of the whole return.

    Raises:
        ResultNotAvailableError: A file is gone.
        ResultStoreError: The store cannot be read.
    """
    if "values" in manifest:
        return {name: StoredValue.from_json(value) for name, value in manifest["values"].items()}
    stored = StoredValue.from_json(manifest["return"])
    match manifest["meaning"]:
        case "whole":
            return {WHOLE: stored}
        case "outputs":
            return {name: _part(stored, value) for name, value in store.read(stored).items()}
        case "wrapped":
            return {manifest["outputs"][0]: _part(stored, store.read(stored)["value"])}
    return {manifest["outputs"][0]: stored}


def _part(stored: StoredValue, value: Any) -> StoredValue:
    return replace(stored, inline=value, location=None)


def selected(outputs: Mapping[str, StoredValue], wanted: Any) -> dict[str, StoredValue]:
    """
    Of *outputs* those that an execute request names; all where it names none of them.

    Args:
        outputs: By their ids.
        wanted: ``outputs`` of the execute request: a mapping by id, or a list of ids. Empty stands for all, as in
            OGC 18-062r2; that of the draft of 2.0 is "none".
    """
    if not isinstance(wanted, Iterable) or isinstance(wanted, str):
        return dict(outputs)
    names = set(wanted)
    return {name: value for name, value in outputs.items() if name in names} or dict(outputs)


def required(outputs: Mapping[str, StoredValue], wanted: Sequence[str]) -> dict[str, StoredValue]:
    """
    Of *outputs* those that a request for results names, in its order.

    Args:
        outputs: By their ids.
        wanted: Ids; several may stand in one text, with commas between them.

    Raises:
        UnknownOutputError: There is no such output.
    """
    names = [name for text in wanted for name in ([text] if text in outputs else text.split(","))]
    if unknown := [name for name in names if name not in outputs]:
        raise UnknownOutputError(user_msg=f"The job has no output {', '.join(map(repr, unknown))}.")
    return {name: outputs[name] for name in names}


@dataclass(frozen=True, slots=True)
class Output:
    """
    An output of a job.

    Attributes:
        output_id: From the process description.
        media_type: As a header takes it.
        content: Text, bytes, anything that JSON can hold, or a file of text or bytes.
        as_made: The whole object where the process itself returned a qualified value or a link: the latter is
            *content* too.
        is_link: Whether the process returned a link.
    """

    output_id: str
    media_type: str
    content: Any
    as_made: Mapping[str, Any] | None = None
    is_link: bool = False

    @classmethod
    def read(cls, store: ResultStore, output_id: str, stored: StoredValue) -> "Output":
        """
        Take what is stored, and look into JSON for what it says of itself.

        Raises:
            ResultNotAvailableError: The file is gone.
            ResultStoreError: The store cannot be read.
        """
        media_type = safe_media_type(stored.media_type)
        if stored.form != "json":
            content = stored.inline if stored.location is None else StoredFile(store, stored)
            return cls(output_id, media_type, content)
        value = store.read(stored)
        if _is(QualifiedInputValue, value) and isinstance(value.get("mediaType"), str):
            content = value["value"]
            if value.get("encoding") == "base64" and isinstance(content, str):
                try:
                    content = base64.b64decode(content, validate=True)
                except ValueError:
                    return cls(output_id, media_type, value)
            return cls(output_id, safe_media_type(value["mediaType"]), content, as_made=value)
        if _is(InputReference, value):
            return cls(output_id, media_type, value, as_made=value, is_link=True)
        return cls(output_id, media_type, value)

    def loaded(self) -> Any:
        """*content*, read into memory where it is a file. Raises as :meth:`read`."""
        return self.content.read() if isinstance(self.content, StoredFile) else self.content

    def data(self) -> bytes:
        """*content* as a client gets it raw: bytes as they are, text in UTF-8, JSON written. Raises as :meth:`read`."""
        content = self.loaded()
        if isinstance(content, bytes):
            return content
        if isinstance(content, str) and self.media_type != JSON_MEDIA_TYPE:
            return content.encode()
        return json.dumps(content).encode()


def _is(kind: type[QualifiedInputValue | InputReference], value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    try:
        kind.model_validate(value)
    except ValidationError:
        return False
    return True
