"""
A process that answers what it is given: for conformance tests.

::

    resources:
      echo:
        type: process
        processor:
          name: pygeoapi_prefect.examples.echo.EchoProcessor

OGC's executable test suite builds its requests from the description of this process, so some of it is as it is for the
suite's sake:

- The first input is a plain string, and an output has the same name: the suite looks for its test string there.
- Nothing else is mandatory, because the suite leaves out what it cannot build: numbers and dates, for example.
- The item type of ``array`` is not ``string``: the suite would send a plain string for the whole array.
- ``boundingBox`` is an ``allOf`` whose first member has the format ``ogc-bbox``: for a plain object with a property
  ``bbox`` the suite sends coordinates that no bounding box has.
- No input is a plain object: the suite sends a string for one. ``complexObject`` offers a string as well.
- Every member of an ``allOf`` has a ``format``, without which the suite cannot read the description.
"""

import time
from collections.abc import Mapping
from typing import Any

from pygeoapi.process.base import BaseProcessor, ProcessorExecuteError

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
CRS84H = "http://www.opengis.net/def/crs/OGC/0/CRS84h"
GEOTIFF = "image/tiff; application=geotiff"
GEOJSON = "application/geo+json"
XML = "application/xml"

VALUES: dict[str, tuple[str, dict[str, Any]]] = {
    "string": ("Any text. The only value that must be given.", {"type": "string"}),
    "pause": (
        "How many seconds the process sleeps before it answers.",
        {"type": "number", "minimum": 0, "maximum": 3600},
    ),
    "measure": ("A number.", {"type": "number"}),
    "date": ("Date and time.", {"type": "string", "format": "date-time"}),
    "array": ("A list of integers.", {"type": "array", "items": {"type": "integer"}}),
    "boundingBox": (
        "A bounding box with its coordinate reference system.",
        {
            "allOf": [
                {"format": "ogc-bbox"},
                {
                    "format": "ogc-bbox",
                    "type": "object",
                    "required": ["bbox"],
                    "properties": {
                        "bbox": {
                            "oneOf": [
                                {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
                                {"type": "array", "items": {"type": "number"}, "minItems": 6, "maxItems": 6},
                            ]
                        },
                        "crs": {"type": "string", "format": "uri", "enum": [CRS84, CRS84H], "default": CRS84},
                    },
                },
            ]
        },
    ),
    "complexObject": (
        "An object as JSON, or a text that is XML.",
        {
            "oneOf": [
                {
                    "type": "object",
                    "contentMediaType": "application/json",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
                },
                {"type": "string", "contentMediaType": XML},
            ]
        },
    ),
    "geometry": (
        "A geometry as GeoJSON.",
        {
            "contentMediaType": GEOJSON,
            "allOf": [
                {
                    "format": "geojson-geometry",
                    "type": "object",
                    "required": ["type"],
                    "properties": {
                        "type": {
                            "type": "string",
                            "enum": [
                                "Point",
                                "MultiPoint",
                                "LineString",
                                "MultiLineString",
                                "Polygon",
                                "MultiPolygon",
                                "GeometryCollection",
                            ],
                        },
                        "coordinates": {"type": "array", "items": {}},
                        "geometries": {"type": "array", "items": {"type": "object"}},
                    },
                }
            ],
        },
    ),
    "image": (
        "A GeoTIFF, in base64.",
        {"type": "string", "contentEncoding": "binary", "contentMediaType": GEOTIFF},
    ),
}
"""Meaning and schema of each value, which is an input and an output."""

METADATA = {
    "id": "echo",
    "version": "1.0.0",
    "title": "Echo",
    "description": "Answers each input as the output of the same name, and leaves out what was not given.",
    "keywords": ["conformance", "test"],
    "jobControlOptions": ["sync-execute", "async-execute", "dismiss"],
    "outputTransmission": ["value", "reference"],
    "inputs": {
        name: {"title": name, "description": meaning, "minOccurs": int(name == "string"), "schema": schema}
        for name, (meaning, schema) in VALUES.items()
    },
    "outputs": {
        name: {"title": name, "description": meaning, "schema": schema} for name, (meaning, schema) in VALUES.items()
    },
    "example": {"inputs": {"string": "Hello", "array": [1, 2, 3], "pause": 0.5}},
}


class EchoProcessor(BaseProcessor):
    """The process ``echo``."""

    def __init__(self, processor_def: dict[str, Any]) -> None:
        """
        Args:
            processor_def: ``processor`` of the configuration.
        """
        super().__init__(processor_def, METADATA)

    def execute(self, data: dict[str, Any], outputs: Any = None) -> tuple[str, dict[str, Any]]:
        """
        Args:
            data: The inputs. ``image`` is text in base64.
            outputs: Not heeded: outputs are selected afterwards.

        Returns:
            ``application/json`` and the outputs; those with a media type as qualified values.

        Raises:
            ProcessorExecuteError: There is no ``string``, or ``pause`` is not a number.
        """
        if not isinstance(data.get("string"), str):
            raise ProcessorExecuteError(user_msg="Input 'string' must be given, as a string.")
        pause = data.get("pause") or 0
        if not isinstance(pause, int | float):
            raise ProcessorExecuteError(user_msg="Input 'pause' must be a number of seconds.")
        time.sleep(pause)
        return "application/json", {name: _output(name, data[name]) for name in VALUES if name in data}

    def __repr__(self) -> str:
        return f"<EchoProcessor> {self.name}"


def _output(name: str, value: Any) -> Any:
    if name == "image":
        return {"value": value, "encoding": "base64", "mediaType": GEOTIFF}
    if name == "geometry":
        return {"value": value, "mediaType": GEOJSON}
    if name == "complexObject":
        return {"value": value, "mediaType": "application/json" if isinstance(value, Mapping) else XML}
    return value
