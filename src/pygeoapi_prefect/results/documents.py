"""An output as a member of a results document."""

import base64
import json
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from pygeoapi_prefect.results.outputs import Output
from pygeoapi_prefect.schemas import BoundingBox
from pygeoapi_prefect.schemas.execution import CRS84, CRS84H
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE, essence, is_json


def in_document(output: Output, encoding: str | None = None) -> Any:
    """
    The output's value as JSON.

    JSON stands for itself and plain text is a string. Objects, and values of other media types, are qualified: to a
    reader of the schema an object with a ``value`` or an ``href`` is something else than the object that it is.

    Args:
        output: The output.
        encoding: That the client wants; only ``base64`` counts.

    Raises:
        ResultNotAvailableError: Its file is gone.
        ResultStoreError: The store cannot be read.

    Source:
        OGC 18-062r2, ``results.yaml`` and ``inlineOrRefData.yaml``.
    """
    if encoding == "base64" and not output.is_link:
        return _base64(output.data(), output.media_type)
    if output.as_made is not None:
        return dict(output.as_made)
    value = _readable(output)
    if isinstance(value, bytes):
        return _base64(value, output.media_type)
    is_plain = essence(output.media_type) == JSON_MEDIA_TYPE and (not isinstance(value, dict) or _is_bbox(value))
    is_plain_text = essence(output.media_type) == "text/plain" and isinstance(value, str)
    return value if is_plain or is_plain_text else {"value": value, "mediaType": output.media_type}


def _base64(data: bytes, media_type: str) -> dict[str, str]:
    return {"value": base64.b64encode(data).decode(), "encoding": "base64", "mediaType": media_type}


def _readable(output: Output) -> Any:
    """Files of JSON and of text are read as what they are; those that are not what they say stay bytes or text."""
    value = output.loaded()
    if isinstance(value, bytes) or (isinstance(value, str) and output.media_type != JSON_MEDIA_TYPE):
        with suppress(ValueError):
            if is_json(output.media_type):
                return json.loads(value)
            if isinstance(value, bytes) and essence(output.media_type).startswith("text/"):
                return value.decode()
    return value


def _is_bbox(value: dict[str, Any]) -> bool:
    try:
        return BoundingBox.model_validate(value).crs in (CRS84, CRS84H)
    except ValidationError:
        return False
