"""Processes that only the benchmark needs; the servers import this module by name (``processors.…``)."""

from typing import Any

from pygeoapi.process.base import BaseProcessor

MEBIBYTE = 1024 * 1024

PROCESS_METADATA = {
    "version": "1.0.0",
    "id": "big-output",
    "title": {"en": "Big output"},
    "description": {"en": "Returns as many mebibytes of binary data as asked for."},
    "jobControlOptions": ["sync-execute", "async-execute"],
    "keywords": ["benchmark"],
    "links": [],
    "inputs": {
        "mebibytes": {
            "title": "Size of the output in MiB",
            "schema": {"type": "integer", "minimum": 1},
            "minOccurs": 1,
            "maxOccurs": 1,
        }
    },
    "outputs": {
        "data": {
            "title": "Bytes without meaning",
            "schema": {
                "type": "string",
                "contentEncoding": "binary",
                "contentMediaType": "application/octet-stream",
            },
        }
    },
    "example": {"inputs": {"mebibytes": 1}},
}


class BigOutputProcessor(BaseProcessor):
    """A process whose one output is large and binary, as a raster would be."""

    def __init__(self, processor_def: dict[str, Any]):
        super().__init__(processor_def, PROCESS_METADATA)
        self.supports_outputs = True

    def execute(self, data: dict[str, Any], outputs: Any = None) -> tuple[str, bytes]:
        # Not ASCII: stock pygeoapi turns bytes that are all ASCII into text.
        return "application/octet-stream", b"\xff" * (int(data["mebibytes"]) * MEBIBYTE)
