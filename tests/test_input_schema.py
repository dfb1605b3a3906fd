"""The schemas of descriptions, in whatever dialect they are written, and what is never done for their sake."""

import json
import logging
import re
import socket
import sys
import threading
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pygeoapi_prefect.process.description import FunctionSignature
from pygeoapi_prefect.process.types import Geometry
from pygeoapi_prefect.validation import RequestValidator
from pygeoapi_prefect.validation.input_schema import InputSchema
from pygeoapi_prefect.validation.keywords import Validator
from pygeoapi_prefect.validation.known_schemas import known_reference, known_schemas

GEOJSON = "https://geojson.org/schema"
FEATURES = "https://schemas.opengis.net/ogcapi/features/part1/1.0/openapi"
PROCESSES = "http://schemas.opengis.net/ogcapi/processes/part1/1.0/openapi/schemas"


def buffered(geometry: Geometry) -> Geometry:
    """Buffer a geometry."""
    return geometry


SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
FEATURE = {"type": "Feature", "geometry": SQUARE, "properties": None}


def fits(schema: Any, value: Any) -> bool:
    return InputSchema(schema, "input 'x'").fits(value)


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        # OpenAPI 3.0
        ({"type": "integer", "nullable": True}, [1, None], ["a"]),
        ({"type": "string", "enum": ["a"], "nullable": True}, ["a", None], ["b"]),
        ({"allOf": [{"type": "integer"}], "nullable": True}, [1, None], ["a"]),
        ({"$ref": "#/definitions/n", "nullable": True, "definitions": {"n": {"type": "integer"}}}, [1, None], ["a"]),
        ({"minimum": 1, "exclusiveMinimum": True}, [2], [1]),
        ({"maximum": 1, "exclusiveMaximum": False}, [1], [2]),
        ({"maximum": 3, "exclusiveMaximum": True, "minimum": 1}, [1, 2], [0, 3]),
        ({"exclusiveMinimum": True}, [-1], []),
        ({"type": "string", "example": 5, "title": {"en": "Name"}, "examples": {"a": 1}}, ["a"], [5]),
        ({"items": {"$ref": "#/components/schemas/n"}, "components": {"schemas": {"n": {"type": "integer"}}}},
         [[1]], [["b"]]),
        # JSON Schema 2020-12
        ({"type": ["integer", "null"]}, [1, None, 1.0], ["a", True]),
        ({"exclusiveMinimum": 1}, [2], [1]),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, [[1]], [["a"], [1, 2]]),
        ({"$id": "https://example.org/a", "$ref": "https://example.org/a#/$defs/n", "$defs": {"n": {"maximum": 1}}},
         [1], [2]),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "const": 1}, [1], [2]),
        ({"uniqueItems": True}, [[1, True], [{"a": 1, "b": [2]}, {"a": 1}], ["1", 1], [], "aa"],
         [[1, 1.0], [{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], [None, None], [[1], [1]]]),
        ({"uniqueItems": False}, [[1, 1]], []),
        # before it
        ({"type": "array", "items": [{"type": "integer"}], "additionalItems": False}, [[1]], [["a"], [1, 2]]),
        # alternatives that differ by what a validator does not see
        ({"oneOf": [{"type": "string", "contentMediaType": "a/b"}, {"type": "string", "contentMediaType": "c/d"}]},
         ["a"], [1]),
        ({"oneOf": [{"type": "string", "format": "x"}, {"type": "string"}], "anyOf": [{"minLength": 1}]}, ["a"], [""]),
        ({"oneOf": [{"multipleOf": 3}, {"multipleOf": 5}]}, [3, 5], [15]),
        # words that look like keywords, where they are none
        ({"properties": {"nullable": {"type": "integer"}, "items": {"type": "string"}}},
         [{"items": "a"}], [{"items": 1}]),
        ({"enum": [{"nullable": True, "title": "a"}]}, [{"nullable": True, "title": "a"}], [{"nullable": True}]),
        (True, [1, None], []),
        ({}, [1, None], []),
        (None, [1, None], []),
    ],
    ids=lambda value: json.dumps(value)[:60],
)  # fmt: skip
def test_dialects(schema: Any, valid: list[Any], invalid: list[Any]) -> None:
    """Descriptions are written as OpenAPI 3.0 or as JSON Schema, and mean the same here as there."""
    assert [fits(schema, value) for value in valid] == [True] * len(valid)
    assert [fits(schema, value) for value in invalid] == [False] * len(invalid)


@pytest.mark.parametrize(
    ("format_", "valid", "invalid"),
    [
        ("date-time", ["2026-01-31T12:00:00Z", "2026-01-31t12:00:00.123456789+01:00", "1998-12-31T23:59:60Z", 5],
         ["2026-01-31", "2026-02-30T12:00:00Z", "2026-01-31T12:00:00", "2026-01-31T12:60:00Z", ""]),
        ("date", ["2026-01-31", 5], ["2026-02-30", "20260131", "2026-1-31", "٢٠٢٦-01-31"]),
        ("time", ["12:00:00Z", "12:00:00", "12:00:00.5-05:00"], ["12:00", "25:00:00", "noon"]),
        ("uri", ["https://example.org/a?b#c", "urn:ogc:def:crs:OGC:1.3:CRS84"], ["a", "//b/c", "http://a b", ""]),
        ("email", ["a@example.org"], ["a", "@", "a b@c", "a@"]),
        ("uuid", ["3e4666bf-d5e5-4aa7-b8ce-cefe41c7568a", "3E4666BF-D5E5-4AA7-B8CE-CEFE41C7568A"],
         ["3e4666bfd5e54aa7b8cecefe41c7568a", "a", "{3e4666bf-d5e5-4aa7-b8ce-cefe41c7568}"]),
        ("geojson-geometry", [SQUARE, "<gml/>"], [{"type": "Polygon"}, {"type": ["Polygon"]}, FEATURE]),
        ("geojson-feature", [FEATURE], [SQUARE]),
        ("geojson-feature-collection", [{"type": "FeatureCollection", "features": []}], [FEATURE]),
        ("wkt", ["POINT (1 2)", "anything", 5], []),
        ("byte", ["*"], []),
    ],
)  # fmt: skip
def test_formats(format_: str, valid: list[Any], invalid: list[Any]) -> None:
    """Formats that are sure are asserted; one that nobody here knows never is."""
    assert [value for value in valid if not fits({"format": format_}, value)] == []
    assert [value for value in invalid if fits({"format": format_}, value)] == []


@pytest.mark.parametrize(
    ("reference", "valid", "invalid"),
    [
        (f"{GEOJSON}/Polygon.json", SQUARE, {"type": "Polygon", "coordinates": [[[0, 0], [1, 0]]]}),
        (f"{GEOJSON}/Geometry.json", SQUARE, FEATURE),
        (f"{GEOJSON}/Feature.json", FEATURE, SQUARE),
        (f"{GEOJSON}/FeatureCollection.json", {"type": "FeatureCollection", "features": [FEATURE]}, {"features": []}),
        (f"{GEOJSON}/GeoJSON.json", FEATURE, {"type": "Other"}),
        (f"{FEATURES}/schemas/geometryGeoJSON.yaml", {"type": "GeometryCollection", "geometries": [SQUARE]}, FEATURE),
        (f"{FEATURES}/ogcapi-features-1.yaml#/components/schemas/pointGeoJSON",
         {"type": "Point", "coordinates": [1, 2]}, SQUARE),
        (f"{PROCESSES}/bbox.yaml", {"bbox": [1, 2, 3, 4]}, {"bbox": [1, 2, 3]}),
        (f"{PROCESSES}/link.yaml", {"href": "a"}, {"rel": "a"}),
        (f"{PROCESSES}/format.yaml", {"schema": {}}, {"schema": 1}),
        ("https://raw.githubusercontent.com/opengeospatial/ogcapi-processes/master/core/openapi/schemas/bbox.yaml",
         {"bbox": [1, 2, 3, 4]}, {}),
    ],
)  # fmt: skip
def test_published_schemas_are_known(reference: str, valid: Any, invalid: Any) -> None:
    """What OGC and GeoJSON publish is asserted without being fetched."""
    assert fits({"$ref": reference}, valid)
    assert not fits({"$ref": reference}, invalid)


@pytest.mark.parametrize(
    "reference",
    [
        *("https://example.org/bbox.yaml", "bbox.yaml", "file:///bbox.yaml", "http://[::1/bbox.yaml"),
        "https://raw.githubusercontent.com/somebody/else/bbox.yaml",
        "https://geojson.org/schema/Other.json",
        "https://geojson.org/schema/Feature.json#/properties/id",
    ],
)
def test_other_schemas_are_not(reference: str) -> None:
    """A name alone is no reason to believe that it is OGC's."""
    assert known_reference(reference) is None


@pytest.mark.parametrize(
    ("items", "array"),
    [
        *(({"type": type_}, [value]) for type_ in ("number", "integer", "string", "boolean")
          for value in (1, 1.0, 1.5, True, "a", None, [], {})),
        *(({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3}, [[0, 0], value])
          for value in ([1], [1, 2], [1, 2, 3], [1, 2, 3, 4], [1, "a"], [1, True], 1, {})),
        *(({"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}, value)
          for value in ([[[1]], [[]]], [[[1]], [[1.5]]], [[[1]], [1]])),
        ({"type": "array"}, [[1], "a"]),
        ({"type": "array", "minItems": 1}, [[1], []]),
        ({"type": "array"}, [[1], []]),
        ({"type": ["number", "null"]}, [1, None]),
        ({"items": {"type": "number"}}, [[1], "a", ["a"]]),
        ({"type": "number", "minimum": 1}, [0]),
    ],
    ids=str,
)  # fmt: skip
def test_long_arrays_are_held_against_the_same_schema(items: Any, array: list[Any]) -> None:
    """The quick look at items refuses and takes what a plain validator does."""
    schema = {"type": "array", "items": items}
    assert fits(schema, array) == Draft202012Validator(schema).is_valid(array)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": f"{GEOJSON}/Geometry.json"},
        {"$ref": f"{GEOJSON}/GeoJSON.json"},
        FunctionSignature(buffered).inputs["geometry"]["schema"],
    ],
    ids=["copy", "any", "typed"],
)
def test_a_large_geometry_is_looked_at_once(schema: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as each of the geometries that it is not, and not position by position."""
    calls = 0
    iter_errors = Validator.iter_errors

    def counted(self: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return iter_errors(self, *arguments)

    monkeypatch.setattr(Validator, "iter_errors", counted)
    large = {"type": "Polygon", "coordinates": [[[number, 1.5] for number in range(5000)] + [[0, 1.5]]]}
    assert fits(schema, large)
    assert calls < 100


def test_numbers_of_one_hash_cost_no_more_than_others() -> None:
    """Items are compared in linear time whatever a client chooses: these would take the better part of an hour."""
    numbers = [factor * sys.hash_info.modulus for factor in range(1, 300_000)]
    assert fits({"uniqueItems": True}, numbers)
    assert not fits({"uniqueItems": True}, [*numbers, numbers[0]])


def test_copies_refer_to_nothing_but_themselves() -> None:
    """Whatever a copy refers to is there."""
    registry = known_schemas()
    for uri in registry:
        references = re.findall(r'"\$ref": "([^"]+)"', json.dumps(registry[uri].contents))
        for reference in references:
            assert isinstance(registry.resolver(uri).lookup(reference).contents, dict)


def test_nothing_is_fetched(caplog: pytest.LogCaptureFixture) -> None:
    """A schema elsewhere takes every value, is named once in the log, and is never asked for."""
    heard = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        schema = {
            "$schema": url,
            "type": "object",
            "properties": {"a": {"$ref": url}, "b": {"$ref": f"{url}#/$defs/b"}, "c": {"$dynamicRef": url}},
        }
        validator = RequestValidator("p", {"inputs": {"x": {"schema": schema}}, "outputs": {}})
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                validator.check({"inputs": {"x": {"a": 1, "b": 2, "c": 3, "$ref": url}}})
        try:
            server.accept()[0].close()
            heard.set()
        except TimeoutError:
            pass
    assert not heard.is_set()
    assert [record.getMessage().count(url) for record in caplog.records] == [1, 1]
    assert "input 'x' of process 'p'" in caplog.text


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "bool"},
        {"type": 5},
        {"required": True},
        {"properties": ["a"]},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"items": {"$ref": "#/$defs/nowhere"}},
        {"oneOf": 5},
        {"minimum": "5"},
        {"pattern": "("},
        {"pattern": r"\p{L}+"},
        {"patternProperties": {"(": {"type": "integer"}}, "additionalProperties": False},
        "string",
        ["string"],
        5,
    ],
    ids=str,
)
def test_a_broken_schema_takes_every_value(schema: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A process does not become unusable by its author's mistake, which is logged once."""
    broken = InputSchema(schema, "input 'x'")
    with caplog.at_level(logging.WARNING):
        assert [broken.fits(value) for value in (1, "a", [1], {"a": 1}, None) * 2] == [True] * 10
    if isinstance(schema, dict):
        assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, None),
        ({"type": "string", "contentMediaType": "Image/TIFF; application=geotiff"}, ["image/tiff"]),
        ({"allOf": [{"contentMediaType": "a/b"}, {"type": "string"}]}, ["a/b"]),
        ({"oneOf": [{"contentMediaType": "a/b"}, {"contentMediaType": "c/d"}]}, ["a/b", "c/d"]),
        ({"oneOf": [{"contentMediaType": "a/b"}, {"type": "string"}]}, None),
        ({"oneOf": [{"contentMediaType": "a/b"}, {"type": "object"}]}, ["a/b", "application/json"]),
    ],
    ids=json.dumps,
)
def test_media_types_that_are_offered(schema: Any, expected: list[str] | None) -> None:
    """Those of all alternatives; any where one of them is a string that says nothing."""
    offered = InputSchema(schema, "input 'x'")
    assert (offered.media_types is None) == (expected is None)
    assert offered.offered_media_types == (expected or [])
