"""
Manifests of what processes return.

A flow's outputs are stored each by itself: the manifest has ``values``, by output id.

A processor's plain ``(media type, value)`` means:

1. One declared output: a dictionary ``{id: <that output>, value}`` is unwrapped, anything else is the output's value.
2. Several declared outputs: a dictionary whose keys are declared ids is the map of outputs. Anything else is the value
   of the output that was asked for, if it was one and the processor was told so.
3. Otherwise the whole return is stored as it is.

The return itself is then what is stored; the manifest notes which of the cases it is.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pygeoapi.util import json_serial

from pygeoapi_prefect.exceptions import PygeoapiPrefectError
from pygeoapi_prefect.results.store import Form, ResultStore, StoredValue

JSON_MEDIA_TYPE = "application/json"


class UnusableReturnError(PygeoapiPrefectError):
    """A process returned what cannot be stored."""


def store_return(
    store: ResultStore,
    folder: str,
    media_type: Any,
    value: Any,
    declared_outputs: Sequence[str],
    *,
    requested_outputs: Any = None,
) -> dict[str, Any]:
    """
    Store what a process returned.

    Args:
        store: The result store.
        folder: Of the claim: ``<job id>/<claim number>``.
        media_type: As returned; None is JSON.
        value: As returned: text, bytes, or anything that JSON can hold.
        declared_outputs: Ids of the outputs in the process description.
        requested_outputs: The selection that the processor was given; None where it takes none.

    Returns:
        The manifest.

    Raises:
        UnusableReturnError: The value is neither text nor bytes nor JSON.
        ResultStoreError: The store cannot be written.
    """
    stored = store_value(store, folder, "return", media_type, value)
    outputs = list(declared_outputs)
    meaning = _meaning(value, outputs)
    if meaning == "whole" and isinstance(requested_outputs, Mapping | list) and len(requested_outputs) == 1:
        outputs = [output_id for output_id in requested_outputs if output_id in outputs] or outputs
        meaning = _meaning(value, outputs)
    return {"return": stored.to_json(), "outputs": outputs, "meaning": meaning}


def store_value(store: ResultStore, folder: str, name: str, media_type: Any, value: Any) -> StoredValue:
    """
    Store one value: text, bytes, anything that JSON can hold, or the content of a file that a :class:`Path` names.

    The arguments and errors are those of :func:`store_return`.
    """
    media_type = str(media_type or JSON_MEDIA_TYPE)
    if isinstance(value, Path):
        if not value.is_file():
            raise UnusableReturnError(
                user_msg=f"The output {name!r} should be a file, but there is none.",
                msg=f"The output {name!r} names the file {value}, which does not exist. Write it before returning it.",
            )
        with value.open("rb") as file:
            return store.copy_in(folder, name, media_type, file)
    form, encoded = _encode(value)
    return store.write(folder, name, media_type, encoded, form)


def outputs_manifest(values: Mapping[str, StoredValue]) -> dict[str, Any]:
    """The manifest of outputs that were stored each by itself, by their ids."""
    return {"values": {name: value.to_json() for name, value in values.items()}}


def media_type_of(manifest: Mapping[str, Any]) -> str:
    """The media type of the whole result: of its one value, or JSON."""
    values = [manifest["return"]] if "return" in manifest else list(manifest["values"].values())
    return str(values[0]["media_type"]) if len(values) == 1 else JSON_MEDIA_TYPE


def _encode(value: Any) -> tuple[Form, Any]:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UnusableReturnError(user_msg=f"The process returned a text that is no Unicode: {error}") from error
        return "text", value
    if isinstance(value, bytes | bytearray | memoryview):
        return "binary", value
    try:
        return "json", json.dumps(value, default=json_serial)
    except (TypeError, ValueError) as error:
        raise UnusableReturnError(
            user_msg=f"The process returned a {type(value).__name__} that cannot be written as JSON: {error}"
        ) from error


def _meaning(value: Any, declared_outputs: Sequence[str]) -> str:
    if len(declared_outputs) == 1:
        is_wrapped = isinstance(value, Mapping) and set(value) == {"id", "value"} and value["id"] == declared_outputs[0]
        return "wrapped" if is_wrapped else "output"
    if isinstance(value, Mapping) and value and set(value) <= set(declared_outputs):
        return "outputs"
    return "whole"
