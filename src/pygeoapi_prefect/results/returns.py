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
from pygeoapi_prefect.results.linked_files import copied_files, folder_beside
from pygeoapi_prefect.results.store import Form, ResultStore, StoredValue, is_inside
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE


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
    meaning, outputs = meaning_of(value, declared_outputs, requested_outputs)
    return {"return": stored.to_json(), "outputs": outputs, "meaning": meaning}


def meaning_of(value: Any, declared_outputs: Sequence[str], requested_outputs: Any) -> tuple[str, list[str]]:
    """
    Which of the cases a return is: ``output``, ``wrapped``, ``outputs`` or ``whole``; and the ids of its outputs.

    The arguments are those of :func:`store_return`.
    """
    outputs = list(declared_outputs)
    meaning = _meaning(value, outputs)
    if meaning == "whole" and isinstance(requested_outputs, Mapping | list) and len(requested_outputs) == 1:
        outputs = [output_id for output_id in requested_outputs if output_id in outputs] or outputs
        meaning = _meaning(value, outputs)
    return meaning, outputs


def store_value(store: ResultStore, folder: str, name: str, media_type: Any, value: Any) -> StoredValue:
    """
    Store one value: text, bytes, anything that JSON can hold, or the content of a file that a :class:`Path` names.

    The arguments and errors are those of :func:`store_return`.
    """
    media_type = str(media_type or JSON_MEDIA_TYPE)
    if isinstance(value, Path):
        if value.is_dir():
            raise UnusableReturnError(
                f"The output {name!r} names the folder {value}. Pack it into one file, or have a handler make "
                "something of it.",
                user_msg=f"The process returned a folder as its output {name!r}.",
            )
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


def copy_values(
    manifest: Mapping[str, Any], source: ResultStore, target: ResultStore, folder: str, *, allowed: str
) -> dict[str, Any]:
    """
    Take a result that stands in another store into *target*.

    Args:
        manifest: Of the result, as the place where the job ran wrote it.
        source: Its store. Where it is the same as *target*, the files stay where they are.
        target: The result store.
        folder: Of the claim, in *target*.
        allowed: The folder of *source* that the result may name, for a work pool is not trusted with others.

    Returns:
        The manifest in *target*.

    Raises:
        UnusableReturnError: The manifest names a file outside of *allowed*, or is none.
        ResultNotAvailableError: A file is gone.
        ResultStoreError: A store cannot be read or written.
    """

    def copied(name: str, values: Mapping[str, Any], beside: str | None = None) -> dict[str, Any]:
        stored = StoredValue.from_json(values)
        if stored.location is None:
            return stored.to_json()
        is_safe = is_inside(stored.location) and (beside is None or is_inside(beside))
        if not is_safe or not stored.location.startswith(f"{allowed}/"):
            raise UnusableReturnError(
                f"Output {name!r} is said to be at {stored.location!r}, which is outside of {allowed!r}",
                user_msg=f"The output {name!r} is at a place that is not the job's.",
            )
        if source.url == target.url:
            return stored.to_json()
        with source.open(stored.location) as file:
            if beside is not None:
                return target.copy_to(beside, stored.media_type, stored.form, file).to_json()
            return target.copy_in(folder, name, stored.media_type, file, stored.form).to_json()

    def copied_file(output_id: str, path: str, values: Mapping[str, Any]) -> dict[str, Any]:
        return copied(output_id, values, f"{folder_beside(folder, output_id)}/{path}")

    try:
        files = dict(copied_files(manifest, copied_file))
        rest = {"files": files} if files else {}
        if "values" in manifest:
            values = {str(name): copied(str(name), value) for name, value in manifest["values"].items()}
            return {"values": values, **rest}
        return {**manifest, "return": copied("return", manifest["return"]), **rest}
    except (KeyError, TypeError, AttributeError) as error:
        raise UnusableReturnError(user_msg="The process left a result that cannot be read.") from error


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
