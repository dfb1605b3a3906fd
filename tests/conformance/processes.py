"""Processes with which conformance is tested, beside the Echo process that is shipped."""

import time
from typing import Any, ClassVar

from pygeoapi.process.base import BaseProcessor, ProcessorExecuteError

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
"""Starts like a PNG file, and has every byte in it."""


class Described(BaseProcessor):
    """Takes its description from the class."""

    inputs: ClassVar[dict[str, Any]] = {}
    outputs: ClassVar[dict[str, Any]] = {"result": {"title": "result", "schema": {"type": "string"}}}
    options: tuple[str, ...] = ("sync-execute", "async-execute", "dismiss")

    def __init__(self, processor_def: dict[str, Any]) -> None:
        metadata = {
            "id": type(self).__name__,
            "version": "1.0.0",
            "title": type(self).__name__,
            "description": type(self).__doc__,
            "jobControlOptions": list(self.options),
            "outputTransmission": ["value", "reference"],
            "inputs": self.inputs,
            "outputs": self.outputs,
        }
        super().__init__(processor_def, metadata)


class Greeting(Described):
    """Greets, after some seconds."""

    inputs: ClassVar = {
        "name": {"title": "name", "schema": {"type": "string", "minLength": 1}},
        "seconds": {"title": "seconds", "minOccurs": 0, "schema": {"type": "number"}},
    }

    def execute(self, data, outputs=None):
        time.sleep(data.get("seconds", 0))
        return "application/json", f"Hello {data['name']}"


class SyncOnly(Greeting):
    """Greets those who wait."""

    options = ("sync-execute",)


class AsyncOnly(Greeting):
    """Greets those who come back."""

    options = ("async-execute", "dismiss")


class Fail(Described):
    """Refuses its inputs, or breaks."""

    inputs: ClassVar = {"how": {"title": "how", "schema": {"type": "string", "enum": ["refuse", "break"]}}}

    def execute(self, data, outputs=None):
        if data["how"] == "refuse":
            raise ProcessorExecuteError(user_msg="The depth is above the ground.")
        raise RuntimeError("node 7 is full")


class Picture(Described):
    """Answers bytes."""

    outputs: ClassVar = {
        "picture": {
            "title": "picture",
            "schema": {"type": "string", "contentEncoding": "binary", "contentMediaType": "image/png"},
        }
    }

    def execute(self, data, outputs=None):
        return "image/png", PICTURE


class Two(Described):
    """Answers two outputs that have no media type of their own."""

    outputs: ClassVar = {
        "first": {"title": "first", "schema": {"type": "string"}},
        "second": {"title": "second", "schema": {"type": "number"}},
    }

    def execute(self, data, outputs=None):
        return "application/json", {"first": "one", "second": 2}


class Repeated(Described):
    """Counts the values of an input that may be repeated."""

    inputs: ClassVar = {
        "names": {"title": "names", "minOccurs": 1, "maxOccurs": 3, "schema": {"type": "string", "maxLength": 5}},
        "unit": {"title": "unit", "minOccurs": 0, "schema": {"type": "string", "enum": ["m", "km"], "default": "m"}},
    }
    outputs: ClassVar = {"count": {"title": "count", "schema": {"type": "string"}}}

    def execute(self, data, outputs=None):
        names = data["names"]
        count = len(names) if isinstance(names, list) else 1
        return "application/json", f"{count} {data.get('unit')}"
