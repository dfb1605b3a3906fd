"""The Echo process: what OGC's executable test suite reads in its description, and what it answers."""

import base64
import time
from typing import Any

import pytest
from pygeoapi.process.base import ProcessorExecuteError

from ogc_schema import validate
from pygeoapi_prefect.examples.echo import GEOJSON, GEOTIFF, XML, EchoProcessor


@pytest.fixture
def echo() -> EchoProcessor:
    return EchoProcessor({"name": "echo"})


def members(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """A schema and those that its ``allOf`` and ``oneOf`` hold."""
    return [schema, *schema.get("allOf", []), *schema.get("oneOf", [])]


def test_the_description_satisfies_the_schema(echo):
    """OGC's schema, which takes no unknown keyword, takes the description."""
    validate(echo.metadata, "process")


def test_each_input_has_an_output_of_the_same_schema(echo):
    """What goes in comes out."""
    inputs = {name: value["schema"] for name, value in echo.metadata["inputs"].items()}
    assert {name: value["schema"] for name, value in echo.metadata["outputs"].items()} == inputs


def test_the_first_input_is_a_plain_string_and_the_only_mandatory_one(echo):
    """The test suite sends its test string there, and leaves out what it cannot build."""
    first, *others = echo.metadata["inputs"].values()
    assert first["schema"] == {"type": "string"}
    assert (first["minOccurs"], {one["minOccurs"] for one in others}) == (1, {0})


def test_no_other_input_gets_a_plain_string_from_the_test_suite(echo):
    """The suite sends a string for every plain string, and for a list of them, and an odd object for every object."""
    _, *others = echo.metadata["inputs"].values()
    for schema in [one["schema"] for one in others]:
        assert schema.get("type") != "object"
        assert schema.get("items", {}).get("type") != "string"
        for member in members(schema):
            assert member.get("type") != "string" or {"format", "contentMediaType"} & set(member)
        if any(member.get("type") == "object" for member in schema.get("oneOf", [])):
            assert "string" in {member.get("type") for member in schema["oneOf"]}


def test_the_test_suite_can_read_each_all_of(echo):
    """It asks each member for its format, and knows a bounding box by the first one."""
    schemas = [one["schema"] for one in echo.metadata["inputs"].values()]
    assert all("format" in member for schema in schemas for member in schema.get("allOf", []))
    assert echo.metadata["inputs"]["boundingBox"]["schema"]["allOf"][0] == {"format": "ogc-bbox"}


@pytest.mark.parametrize(
    ("name", "value", "output"),
    [
        ("measure", 1.5, 1.5),
        ("date", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("array", [3, 1, 2], [3, 1, 2]),
        ("array", [], []),
        ("boundingBox", {"bbox": [1, 2, 3, 4]}, {"bbox": [1, 2, 3, 4]}),
        ("complexObject", {"name": "a"}, {"value": {"name": "a"}, "mediaType": "application/json"}),
        ("complexObject", "<a/>", {"value": "<a/>", "mediaType": XML}),
        (
            "geometry",
            {"type": "Point", "coordinates": [1, 2]},
            {"value": {"type": "Point", "coordinates": [1, 2]}, "mediaType": GEOJSON},
        ),
        (
            "image",
            base64.b64encode(bytes(range(256))).decode(),
            {"value": base64.b64encode(bytes(range(256))).decode(), "encoding": "base64", "mediaType": GEOTIFF},
        ),
    ],
)
def test_it_answers_what_it_is_given(echo, name, value, output):
    """Each output is its input, with a media type where the description offers one; others are left out."""
    assert echo.execute({"string": "s", name: value}) == ("application/json", {"string": "s", name: output})


@pytest.mark.parametrize("pause", [1, 0.2])
def test_it_sleeps(echo, pause):
    """Whole and fractional seconds are both slept."""
    started = time.monotonic()
    echo.execute({"string": "s", "pause": pause})
    assert time.monotonic() - started >= pause


@pytest.mark.parametrize("inputs", [{}, {"string": 1}, {"string": "s", "pause": "long"}])
def test_it_refuses_what_it_cannot_use(echo, inputs):
    """Under a manager that validates nothing the process refuses by itself."""
    with pytest.raises(ProcessorExecuteError):
        echo.execute(inputs)
