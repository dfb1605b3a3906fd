"""Manifest and execute request → what the client gets."""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pygeoapi_prefect.exceptions import ResultNotAvailableError
from pygeoapi_prefect.results.returns import JSON_MEDIA_TYPE
from pygeoapi_prefect.results.store import ResultStore, StoredValue
from pygeoapi_prefect.schemas import ResponseForm


@dataclass(frozen=True, slots=True)
class Response:
    """*content* is bytes, text, or for ``application/json`` anything that JSON can hold."""

    media_type: str
    content: Any


def respond(
    store: ResultStore, manifest: Mapping[str, Any] | None, request: Mapping[str, Any], *, as_returned: bool
) -> Response:
    """
    Make the response of an execute request from the stored result.

    Args:
        store: Where the values are.
        manifest: From the job's row.
        request: The execute request; ``outputs`` selects, ``response`` says in which form.
        as_returned: Answer what the process returned, as pygeoapi's own managers do.

    Raises:
        ResultNotAvailableError: There is no result, or its file is gone.
        ResultStoreError: The store cannot be read.

    Source:
        OGC 18-062r2, requirements ``sync-raw-value-one``, ``sync-document``.
    """
    if manifest is None:
        raise ResultNotAvailableError()
    if "values" in manifest:
        return _respond_with_values(store, manifest["values"], request)
    stored = StoredValue.from_json(manifest["return"])
    value = store.read(stored)
    meaning = manifest["meaning"]
    is_document = request.get("response") == ResponseForm.DOCUMENT
    if as_returned:
        return Response(stored.media_type, value)
    if meaning == "whole":
        if is_document and stored.form != "json":
            return Response(JSON_MEDIA_TYPE, {"return": _in_document(value, stored)})
        return Response(stored.media_type, value)
    if meaning == "outputs":
        outputs = _select(value, request.get("outputs"))
    else:
        (output_id,) = manifest["outputs"]
        outputs = {output_id: value["value"] if meaning == "wrapped" else value}
    if is_document:
        return Response(JSON_MEDIA_TYPE, {name: _in_document(value, stored) for name, value in outputs.items()})
    if len(outputs) != 1:
        return Response(stored.media_type, outputs)
    (value,) = outputs.values()
    return _unqualified(value) or Response(stored.media_type, value)


def _respond_with_values(store: ResultStore, values: Mapping[str, Any], request: Mapping[str, Any]) -> Response:
    selected = {name: StoredValue.from_json(value) for name, value in _select(values, request.get("outputs")).items()}
    if len(selected) == 1 and request.get("response") != ResponseForm.DOCUMENT:
        (stored,) = selected.values()
        return Response(stored.media_type, store.read(stored))
    document = {name: _in_document(store.read(stored), stored) for name, stored in selected.items()}
    return Response(JSON_MEDIA_TYPE, document)


def _select(outputs: Mapping[str, Any], wanted: Any) -> dict[str, Any]:
    if not isinstance(wanted, Iterable) or isinstance(wanted, str) or not wanted:
        return dict(outputs)
    names = set(wanted)
    return {name: value for name, value in outputs.items() if name in names} or dict(outputs)


def _in_document(value: Any, stored: StoredValue) -> Any:
    if isinstance(value, bytes):
        with suppress(ValueError):
            if stored.media_type == JSON_MEDIA_TYPE or stored.media_type.endswith("+json"):
                return json.loads(value)
            if stored.media_type == "text/plain":
                return value.decode()
        return {"value": base64.b64encode(value).decode(), "encoding": "base64", "mediaType": stored.media_type}
    if stored.form == "text" and stored.media_type not in (JSON_MEDIA_TYPE, "text/plain"):
        return {"value": value, "mediaType": stored.media_type}
    return value


def _unqualified(value: Any) -> Response | None:
    """A raw response of a qualified value (``qualifiedInputValue.yaml``) is the value in its media type."""
    if not isinstance(value, Mapping) or "value" not in value or "mediaType" not in value:
        return None
    if not set(value) <= {"value", "mediaType", "encoding", "schema"}:
        return None
    content = value["value"]
    if value.get("encoding") == "base64" and isinstance(content, str):
        try:
            content = base64.b64decode(content, validate=True)
        except binascii.Error:
            return None
    return Response(str(value["mediaType"]), content)
