"""Execute requests are held against the process description, whatever form their inputs are sent in."""

import json
import logging
import math
from typing import Any

import pytest
from pygeoapi.process.hello_world import PROCESS_METADATA as HELLO_WORLD

from pygeoapi_prefect.exceptions import InvalidInputsError, MissingJobParameterError, Violation
from pygeoapi_prefect.process.description import FunctionSignature
from pygeoapi_prefect.process.input_values import execute_request, input_values
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.process.processor import load_processor, requests_described
from pygeoapi_prefect.process.types import BBox
from pygeoapi_prefect.schemas import QualifiedInputValue
from pygeoapi_prefect.validation import RequestValidator

INTEGER = {"type": "integer"}
STRING = {"type": "string"}
NUMBERS = {"type": "array", "items": {"type": "number"}}
MEASURED = {"type": "object", "properties": {"value": {"type": "integer"}}, "required": ["value"]}
LINKED = {"type": "object", "properties": {"href": STRING, "checksum": STRING}, "required": ["href"]}
TIFF = {"type": "string", "contentEncoding": "binary", "contentMediaType": "image/tiff; application=geotiff"}
GML_OR_JSON = {"oneOf": [{"type": "string", "contentMediaType": "application/gml+xml"}, {"type": "object"}]}
BBOX_SCHEMA = {"allOf": [{"format": "ogc-bbox"}, {"$ref": "https://schemas.opengis.net/ogcapi/processes/bbox.yaml"}]}
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
HREF = "https://example.org/data"


def taking(schema: Any, *, strict: bool = True, **occurs: Any) -> RequestValidator:
    """A process with the input ``x``."""
    return RequestValidator("p", {"inputs": {"x": {"schema": schema, **occurs}}, "outputs": {}}, strict=strict)


def violations(validator: RequestValidator, body: Any) -> list[tuple[str, str]]:
    """Pointer and detail of each."""
    try:
        validator.check(body)
    except InvalidInputsError as error:
        return [(one.pointer, one.detail) for one in error.violations]
    return []


def refused(schema: Any, value: Any, **occurs: Any) -> list[tuple[str, str]]:
    return violations(taking(schema, **occurs), {"inputs": {"x": value}})


def unwrapped(schema: Any, value: Any, **occurs: Any) -> Any:
    return taking(schema, **occurs).values({"x": value}, fetch=None)["x"]


# ---------------------------------------------------------------- the body


def test_a_request_is_completed() -> None:
    """Inputs stay as they were sent, defaults are filled in, and every member of the request has its place."""
    assert RequestValidator("hello-world", HELLO_WORLD).check({"inputs": {"name": {"value": "Ada"}}}) == {
        "inputs": {"name": {"value": "Ada"}, "as_bytes": False, "media_type": "application/json"},
        "outputs": None,
        "response": "raw",
        "subscriber": None,
    }


def test_every_violation_is_told_at_once() -> None:
    """Nobody has to send a request five times to learn of five mistakes; a pointer leads to each."""
    body = {
        "inputs": {"message": 5, "nam/e~": "Ada"},
        "outputs": {"echo": {"transmissionMode": "mail"}, "other": {}},
        "response": "xml",
        "subscriber": {"successUri": "ftp://example.org"},
    }
    with pytest.raises(InvalidInputsError) as error:
        RequestValidator("hello-world", HELLO_WORLD).check(body)
    assert [one.pointer for one in error.value.violations] == [
        "#/inputs/name",
        "#/inputs/message",
        "#/inputs/nam~1e~0",
        "#/outputs/echo/transmissionMode",
        "#/outputs/other",
        "#/response",
        "#/subscriber/successUri",
    ]
    assert error.value.violations[1].detail == "Input 'message' must be a string, not 5."
    assert error.value.client_message.startswith("Input 'name' is missing. Input 'message' must be a string")
    assert error.value.client_message.endswith("And 2 more: see 'errors'.")
    assert "5" not in str(error.value), "values are no matter of the log"


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ([], ["#"]),
        (None, ["#"]),
        ({"inputs": None}, ["#/inputs"]),
        ({"inputs": [1]}, ["#/inputs"]),
        ({"outputs": 1}, ["#/outputs"]),
        ({"outputs": [1]}, ["#/outputs"]),
        ({"outputs": ["a", "z"]}, ["#/outputs/1"]),
        ({"outputs": {"a": None}}, ["#/outputs/a"]),
        ({"outputs": {"a": {"format": "text"}}}, ["#/outputs/a/format"]),
        ({"outputs": {"a": {"format": {"mediaType": 1}}}}, ["#/outputs/a/format/mediaType"]),
        ({"outputs": {"a": {"format": {"mediaType": "image/png"}}}}, ["#/outputs/a/format/mediaType"]),
        ({"outputs": {"a": {"transmissionMode": ["value"]}}}, ["#/outputs/a/transmissionMode"]),
        ({"response": None}, ["#/response"]),
        ({"response": ["raw"]}, ["#/response"]),
        ({"subscriber": []}, ["#/subscriber"]),
        ({"subscriber": {}}, ["#/subscriber"]),
        ({"subscriber": {"successUri": None}}, ["#/subscriber"]),
        (
            {"subscriber": {"failedUri": "http:///a", "successUri": "/a"}},
            ["#/subscriber/successUri", "#/subscriber/failedUri"],
        ),
        ({"inputs": {"x": math.inf}, "other": [math.nan]}, ["#/other/0", "#/inputs/x"]),
    ],
    ids=json.dumps,
)
def test_the_shape_of_a_request(body: Any, pointers: list[str]) -> None:
    """What is not shaped as the standard's request is refused, also where inputs are not checked."""
    offered = {"oneOf": [{"type": "string", "contentMediaType": "image/tiff"}, {"type": "object"}]}
    description = {"inputs": {}, "outputs": {"a": {"schema": offered}, "b": {"schema": STRING}}}
    validator = RequestValidator("p", description, strict=False)
    assert sorted(pointer for pointer, _ in violations(validator, body)) == sorted(pointers)


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({}, {}),
        (["b"], {"b": {}}),
        ({"a": {"format": {"mediaType": "image/tiff"}}}, {"a": {"format": {"mediaType": "image/tiff"}}}),
        ({"b": {"transmissionMode": "reference", "more": 1}}, {"b": {"transmissionMode": "reference"}}),
        ({"b": {"format": {"mediaType": "text/html"}}}, {"b": {"format": {"mediaType": "text/html"}}}),
    ],
    ids=json.dumps,
)
def test_outputs_are_selected(sent: Any, stored: Any) -> None:
    """As an object or as a list of ids; an empty object stays one, and an output without media types has any."""
    outputs = {"a": {"schema": TIFF}, "b": {"schema": STRING}}
    description = {"inputs": {}, "outputs": outputs, "outputTransmission": ["value", "reference"]}
    assert RequestValidator("p", description).check({"outputs": sent})["outputs"] == stored


def test_members_that_nobody_knows_are_ignored() -> None:
    """Clients of other versions send more than version 1.0 has."""
    body = {"id": "urn:x", "mode": "auto", "subscriber": {"inProgressUri": "https://example.org/p"}}
    assert taking(STRING, minOccurs=0).check(body)["subscriber"] == body["subscriber"]


def test_nesting_that_breaks_python_is_refused() -> None:
    """Whatever is nested deeper than anything real is refused before anybody recurses into it."""
    deep: Any = 0
    for _ in range(50_000):
        deep = [deep]
    assert refused({}, deep) == [("#/inputs/x", "Input 'x' is nested too deeply.")]
    nested: Any = 0
    for _ in range(60):
        nested = {"a": [nested]}
    tree = {"type": "object", "properties": {"a": {"type": "array", "items": {"anyOf": [{"$ref": "#"}, INTEGER]}}}}
    assert refused(tree, nested) == [("#/inputs/x", "Input 'x' is nested too deeply.")]


def test_numbers_and_texts_at_the_edge_are_no_error_of_ours() -> None:
    """An integer that no float holds, half a character and a value like a recursive schema are answered, too."""
    for beyond in (10**400, -(10**400), [10**400]):
        assert refused({}, beyond)[0][1] == "Input 'x' must be a finite number."
    assert refused({"multipleOf": 0.5}, 10**308) == []
    ((_, detail),) = refused({"enum": ["a"]}, "\ud800")
    assert detail.encode().decode() == detail
    assert violations(RequestValidator("p", {"inputs": {}}), {"inputs": {"\ud800": 1}})[0][0] == "#/inputs/%ED%A0%80"
    nested: Any = 0
    for _ in range(90):
        nested = {"value": nested}
    tree = {"type": "object", "properties": {"value": {"anyOf": [{"$ref": "#"}, INTEGER]}}}
    assert [pointer for pointer, _ in refused(tree, nested)] in ([], ["#/inputs/x/value"])


# ---------------------------------------------------------------- occurrences


@pytest.mark.parametrize(
    ("schema", "occurs", "value", "expected"),
    [
        (INTEGER, {}, 1, []),
        (INTEGER, {}, [1], ["#/inputs/x"]),
        (INTEGER, {"maxOccurs": 2}, 1, []),
        (INTEGER, {"maxOccurs": 2}, [1, 2], []),
        (INTEGER, {"maxOccurs": 2}, [1, 2, 3], ["#/inputs/x"]),
        (INTEGER, {"maxOccurs": "unbounded"}, [1] * 1000, []),
        (INTEGER, {"maxOccurs": "unbounded"}, [1, "a"], ["#/inputs/x/1"]),
        (INTEGER, {"maxOccurs": 5}, [], ["#/inputs/x"]),
        (INTEGER, {"minOccurs": 0, "maxOccurs": 5}, [], []),
        (INTEGER, {"minOccurs": 2, "maxOccurs": 5}, 1, ["#/inputs/x"]),
        (INTEGER, {"minOccurs": "2", "maxOccurs": "5"}, [1], ["#/inputs/x"]),
        (NUMBERS, {}, [1], []),
        (NUMBERS, {}, [[1]], ["#/inputs/x/0"]),
        (NUMBERS, {"maxOccurs": 2}, [1, 2, 3], []),
        (NUMBERS, {"maxOccurs": 2}, [[1, 2, 3], [4]], []),
        (NUMBERS, {"maxOccurs": 2}, [[1], [2], [3]], ["#/inputs/x"]),
        (NUMBERS, {"maxOccurs": 2}, [[1], ["a"]], ["#/inputs/x/1/0"]),
        (NUMBERS, {"minOccurs": 2, "maxOccurs": 2}, [1, 2], ["#/inputs/x"]),
        ({"type": "array", "items": NUMBERS}, {"maxOccurs": 2}, [[1], [2], [3]], []),
        ({"type": "array", "items": NUMBERS}, {"maxOccurs": 2}, [[[1]], [[2]]], []),
        (NUMBERS, {"maxOccurs": 2}, [{"value": [1, 2]}, [3]], []),
        (INTEGER, {"maxOccurs": 2}, [{"value": 1}, {"href": HREF}], []),
    ],
    ids=json.dumps,
)
def test_occurrences_are_counted(schema: Any, occurs: Any, value: Any, expected: list[str]) -> None:
    """An array schema takes an array as one value; beyond one occurrence a list is one of values."""
    assert [pointer for pointer, _ in refused(schema, value, **occurs)] == expected


@pytest.mark.parametrize(
    ("described", "is_missing"),
    [
        ({"schema": STRING}, True),
        ({"schema": STRING, "minOccurs": 1}, True),
        ({"schema": STRING, "minOccurs": 0}, False),
        ({"schema": {"type": "string", "default": "a"}, "minOccurs": 1}, False),
        ({"schema": {"type": "string", "nullable": True, "default": None}}, False),
    ],
)
def test_inputs_that_must_be_given(described: Any, is_missing: bool) -> None:
    """An input with a default is never missing. A request that lacks inputs is a mistake of its own kind."""
    validator = RequestValidator("p", {"inputs": {"x": described}, "outputs": {}})
    if is_missing:
        with pytest.raises(MissingJobParameterError) as error:
            validator.check({})
        assert error.value.violations == (Violation("#/inputs/x", "Input 'x' is missing."),)
    else:
        default = described["schema"].get("default")
        assert validator.check({})["inputs"] == ({} if default is None else {"x": default})


def test_defaults_are_copies() -> None:
    """A process that changes its inputs does not change the description."""
    validator = taking({"type": "array", "default": [1]})
    validator.check({})["inputs"]["x"].append(2)
    assert validator.check({})["inputs"] == {"x": [1]}


def test_unknown_inputs() -> None:
    """No inputs described at all: any are taken. Described as empty: none are."""
    assert violations(RequestValidator("p", {}), {"inputs": {"x": 1}}) == []
    detail = "Input 'x' is not an input of this process. It takes none."
    assert violations(RequestValidator("p", {"inputs": {}}), {"inputs": {"x": 1}}) == [("#/inputs/x", detail)]


def test_inputs_may_be_left_to_the_process() -> None:
    """Where its description is not trusted, a process gets what was sent, unwrapped."""
    validator = taking(INTEGER, strict=False)
    body = {"inputs": {"x": "a", "y": {"value": 1}}}
    assert validator.check(body)["inputs"] == body["inputs"]
    assert validator.values(body["inputs"], fetch=None) == {"x": "a", "y": 1}
    assert validator.check({})["inputs"] == {}


# ---------------------------------------------------------------- kinds of values


@pytest.mark.parametrize(
    ("schema", "sent", "expected"),
    [
        (INTEGER, {"value": 3}, 3),
        (INTEGER, {"value": 3, "mediaType": "application/json"}, 3),
        (TIFF, {"value": "YQ==", "encoding": "base64", "mediaType": "IMAGE/tiff"}, "YQ=="),
        (TIFF, {"value": "YQ==", "format": {"mediaType": "image/tiff", "encoding": "binary"}}, "YQ=="),
        ({"type": "object"}, {"value": {"a": 1}, "mediaType": "application/json"}, {"a": 1}),
        ({"type": "object"}, {"value": {"value": 1}}, {"value": 1}),
        ({"type": "object"}, {"value": 1, "unit": "m"}, {"value": 1, "unit": "m"}),
        (GML_OR_JSON, {"value": {"a": 1}, "mediaType": "application/geo+json"}, {"a": 1}),
        (GML_OR_JSON, {"value": "<a/>", "mediaType": "application/gml+xml"}, "<a/>"),
        (NUMBERS, [{"value": 3, "mediaType": "application/json"}, 4], [3, 4]),
        (NUMBERS, [{"value": 3}, 4], [3, 4]),
        (NUMBERS, {"value": [3]}, [3]),
        ({"type": "array", "items": {"type": "object"}}, [{"value": 3}], [{"value": 3}]),
        ({"type": "array", "items": MEASURED}, [{"value": 3, "mediaType": "m"}], [{"value": 3, "mediaType": "m"}]),
        (MEASURED, {"value": 3}, {"value": 3}),
        (MEASURED, {"value": {"value": 3}}, {"value": 3}),
        (LINKED, {"href": "a"}, {"href": "a"}),
        ({}, {"bbox": [1, 2, 3, 4]}, {"bbox": [1, 2, 3, 4]}),
    ],
    ids=json.dumps,
)
def test_qualified_values_are_unwrapped(schema: Any, sent: Any, expected: Any) -> None:
    """What stands in ``{"value": …}`` is the value, unless the schema takes an object with such a member itself."""
    assert refused(schema, sent) == []
    assert unwrapped(schema, sent) == expected


def test_values_of_a_list_are_unwrapped() -> None:
    """So is each of several occurrences."""
    assert unwrapped(INTEGER, [{"value": 1}, 2], maxOccurs=5) == [1, 2]
    assert unwrapped(INTEGER, {"value": 1}, maxOccurs=5) == 1
    assert unwrapped(NUMBERS, [{"value": [1, 2]}, [3]], maxOccurs=5) == [[1, 2], [3]]
    assert unwrapped(NUMBERS, [1, {"value": 2}], maxOccurs=5) == [1, 2]


@pytest.mark.parametrize(
    ("schema", "sent", "expected"),
    [
        (INTEGER, {"value": "a"}, ("#/inputs/x/value", "Input 'x' at value must be a whole number, not \"a\".")),
        ({"type": "object"}, {"value": "teststring"}, ("#/inputs/x/value", "must be an object")),
        (TIFF, {"value": "YQ==", "mediaType": "image/png"}, ("#/inputs/x/mediaType", 'the media type "image/tiff"')),
        (TIFF, {"value": "YQ==", "format": {"mediaType": "a/b"}}, ("#/inputs/x/format/mediaType", "image/tiff")),
        (TIFF, {"value": "61", "encoding": "hex"}, ("#/inputs/x/encoding", '"base64" or "binary"')),
        (TIFF, {"type": "wrong/type"}, ("#/inputs/x", "must be a string")),
        (TIFF, "a", ("#/inputs/x", "must be encoded in base64")),
        (TIFF, "YQ=*", ("#/inputs/x", "must be encoded in base64")),
        (NUMBERS, [{"value": "a", "mediaType": "application/json"}], ("#/inputs/x/0", "must be a number")),
        (GML_OR_JSON, {"href": HREF, "type": "image/png"}, ("#/inputs/x/type", "application/gml+xml")),
        (STRING, {"href": "file:///etc/passwd"}, ("#/inputs/x/href", "an absolute http or https URL")),
        (STRING, {"href": "/data"}, ("#/inputs/x/href", "an absolute http or https URL")),
        (STRING, {"href": "https://exa mple.org"}, ("#/inputs/x/href", "an absolute http or https URL")),
        (STRING, {"href": "http://[::1"}, ("#/inputs/x/href", "an absolute http or https URL")),
        (STRING, {"href": HREF, "more": 1}, ("#/inputs/x", "must be a string")),
        (NUMBERS, [{"href": "ftp://a"}], ("#/inputs/x/0/href", "an absolute http or https URL")),
    ],
    ids=json.dumps,
)
def test_what_is_sent_must_fit(schema: Any, sent: Any, expected: tuple[str, str]) -> None:
    """The schema offers values, media types and encodings; a link must be one that can be followed."""
    [(pointer, detail)] = refused(schema, sent)
    assert pointer == expected[0]
    assert expected[1] in detail


@pytest.mark.parametrize("text", ["", "YQ==", "YQ", "_-8=", "YWJj\r\nZGVm\n"])
def test_base64(text: str) -> None:
    """Either alphabet, with or without padding, and with the line breaks that mail put into it."""
    assert refused(TIFF, text) == []


@pytest.mark.parametrize(
    ("schema", "value", "reason"),
    [
        (BBOX_SCHEMA, {"bbox": [1, 2, 3, 4]}, None),
        (BBOX_SCHEMA, {"bbox": [170, -10, -170, 10], "crs": CRS84}, None),
        (BBOX_SCHEMA, {"bbox": [1, 2, 3, 4, 5, 6]}, None),
        (BBOX_SCHEMA, {"bbox": [1, 2, 3, 4], "crs": "urn:other"}, "must be"),
        (BBOX_SCHEMA, {"bbox": [1, 2, 3]}, "4 or 6 numbers"),
        (BBOX_SCHEMA, {"bbox": [1, 2, 3, 4, 5]}, "4 or 6 numbers"),
        (BBOX_SCHEMA, {"bbox": [1, True, 3, 4]}, "4 or 6 numbers"),
        (BBOX_SCHEMA, {"bbox": ["1", "2", "3", "4"]}, "4 or 6 numbers"),
        (BBOX_SCHEMA, {"bbox": [1, 5, 3, 4]}, "its lower corner before its upper one"),
        (BBOX_SCHEMA, {"bbox": [1, 2, 9, 3, 4, 8]}, "its lower corner before its upper one"),
        (BBOX_SCHEMA, {"crs": CRS84}, "'bbox'"),
        (BBOX_SCHEMA, [1, 2, 3, 4], "must be an object"),
        ({"format": "ogc-bbox"}, [1, 2, 3, 4], "must be an object"),
        ({"format": "ogc-bbox"}, {"bbox": [1, 2, 3, 4], "crs": "EPSG:4326"}, None),
        ({"format": "ogc-bbox"}, {"bbox": [1, 2, 3, 4], "crs": "[EPSG:4326]"}, None),
        ({"format": "ogc-bbox"}, {"bbox": [1, 2, 3, 4], "crs": "WGS 84"}, "a URI as its crs"),
        ({"format": "ogc-bbox"}, {"bbox": [1, 2, 3, 4], "crs": 4326}, "a URI as its crs"),
        ({"type": "object", "properties": {"bbox": {}, "crs": {}}}, {"bbox": [1, 5, 3, 4]}, "its lower corner"),
        ({"type": "array", "format": "ogc-bbox"}, [1, 5, 3, 4], "its lower corner"),
        ({"type": "object", "properties": {"bbox": {}, "type": {}}}, {"bbox": [1, 5, 3, 4]}, None),
    ],
    ids=json.dumps,
)
def test_bounding_boxes(schema: Any, value: Any, reason: str | None) -> None:
    """Two corners of 2 or 3 numbers, the lower one first; only the first axis may wrap around."""
    found = refused(schema, value)
    assert (found != []) == (reason is not None)
    if reason is not None:
        assert any(reason in detail for _, detail in found)


@pytest.mark.parametrize(
    ("value", "is_valid"), [([1, 2, 3, 4], True), ({"bbox": [1, 2, 3, 4]}, True), ([1, 5, 3, 4], False), ([1], False)]
)
def test_bounding_boxes_of_typed_functions(value: Any, is_valid: bool) -> None:
    """Our own annotation is described so that the same boxes pass here as in the function."""

    def clip(x: BBox) -> None:
        """Clip."""

    validator = RequestValidator("clip", {"inputs": FunctionSignature(clip).inputs, "outputs": {}})
    assert (violations(validator, {"inputs": {"x": value}}) == []) == is_valid


# ---------------------------------------------------------------- references


def test_references_are_replaced_where_the_job_runs() -> None:
    """By what stands there: as a value, as one of several, and as an item of an array, which has its own schema."""
    seen = []

    def fetch(input_id: str, link: Any, description: Any) -> Any:
        seen.append((input_id, link["href"], description["schema"]["type"]))
        return 7

    link = {"href": HREF, "type": "application/json"}
    assert taking(INTEGER).values({"x": link}, fetch=fetch) == {"x": 7}
    assert taking(INTEGER, maxOccurs=2).values({"x": [1, link]}, fetch=fetch) == {"x": [1, 7]}
    assert taking(NUMBERS).values({"x": [1, link, {"value": 2}]}, fetch=fetch) == {"x": [1, 7, 2]}
    assert seen == [("x", HREF, "integer"), ("x", HREF, "integer"), ("x", HREF, "number")]
    assert taking(INTEGER).values({"x": link}, fetch=None) == {"x": link}


def test_what_stands_at_a_reference_must_fit() -> None:
    """It is held against the schema as if it had been sent, and items of an array where they were sent."""
    with pytest.raises(InvalidInputsError) as error:
        taking(INTEGER).values({"x": {"href": HREF}}, fetch=lambda *_: "seven")
    assert error.value.violations == (Violation("#/inputs/x", "Input 'x' must be a whole number, not \"seven\"."),)
    with pytest.raises(InvalidInputsError) as error:
        taking(NUMBERS).values({"x": [1, {"href": HREF}]}, fetch=lambda *_: "seven")
    assert [one.pointer for one in error.value.violations] == ["#/inputs/x/1"]


# ---------------------------------------------------------------- what is told


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "writeOnly": True, "minLength": 20}, "sesame"),
        ({"type": "string", "format": "password"}, {"sesame": 1}),
        ({"type": "object", "additionalProperties": False, "writeOnly": True}, {"sesame": 1}),
        ({"enum": ["a"], "writeOnly": True}, "sesame"),
        ({"type": "object", "properties": {"p": {"type": "integer", "writeOnly": True}}}, {"p": "sesame"}),
        ({"type": "object", "writeOnly": True, "additionalProperties": INTEGER}, {"sesame": "a"}),
        ({"type": "string", "format": "password"}, {"sesame": math.nan}),
    ],
    ids=str,
)
def test_secrets_are_never_quoted(schema: Any, value: Any) -> None:
    """Neither the value of a secret input nor the names of its members stand in the answer."""
    found = refused(schema, value)
    assert found != []
    assert "sesame" not in str(found)


def test_only_short_values_are_quoted() -> None:
    """A value helps to find the mistake; a long one, or a long name, only fills the answer."""
    assert refused(INTEGER, "a" * 58) == [("#/inputs/x", f"Input 'x' must be a whole number, not \"{'a' * 58}\".")]
    assert refused(INTEGER, "a" * 59) == [("#/inputs/x", "Input 'x' must be a whole number.")]
    [(pointer, detail)] = violations(RequestValidator("p", {"inputs": {}}), {"inputs": {"b" * 1000: 1}})
    assert pointer == f"#/inputs/{'b' * 1000}"
    assert len(detail) < 130


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        ({"type": ["integer", "null"]}, "a", 'must be a whole number or null, not "a"'),
        ({"enum": ["a", "b", 3]}, "c", 'must be "a", "b" or 3, not "c"'),
        ({"minimum": 1}, 0, "must be at least 1, not 0"),
        ({"minLength": 1}, "", 'must have at least 1 character, not ""'),
        ({"type": "object", "required": ["a", "b"]}, {}, "must have the members 'a' and 'b'"),
        ({"type": "object", "additionalProperties": False}, {"z": 1}, 'has members that it must not have: "z"'),
        ({"oneOf": [INTEGER, STRING]}, [], "must be a whole number or a string"),
        ({"anyOf": [{"type": "integer", "minimum": 3}, STRING]}, 2, "must be at least 3, not 2"),
        ({"oneOf": [{"multipleOf": 3}, {"multipleOf": 5}]}, 15, "fits more than one of its alternatives, not 15"),
        ({"anyOf": [{"const": "a"}, {"const": "b"}]}, "c", 'must be "a" or "b", not "c"'),
        ({"not": {"type": "string"}}, "a", 'does not fit its schema, not "a"'),
    ],
    ids=str,
)
def test_sentences(schema: Any, value: Any, told: str) -> None:
    """A client reads what must hold, in words; of alternatives, the one that it came near to."""
    assert refused(schema, value) == [("#/inputs/x", f"Input 'x' {told}.")]


def test_few_of_many_violations_are_told() -> None:
    """A request that is wrong everywhere has an answer that can be read."""
    assert len(refused(INTEGER, ["a"] * 1000, maxOccurs="unbounded")) == 100


def test_concurrent_requests_do_not_disturb_each_other(caplog: pytest.LogCaptureFixture) -> None:
    """One validator serves all threads of a web process, also while it compiles."""
    from concurrent.futures import ThreadPoolExecutor

    validator = taking({"type": "array", "items": {"$ref": "https://example.org/unknown.json"}})
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda value: violations(validator, {"inputs": {"x": value}}), [[1], "a"] * 50))
    assert found == [[], [("#/inputs/x", "Input 'x' must be an array, not \"a\".")]] * 50


# ---------------------------------------------------------------- processes


@pytest.mark.parametrize(("inputs", "is_refused"), [(None, False), ({}, False), ({"words": {"schema": STRING}}, True)])
def test_inputs_that_nobody_described(inputs: Any, is_refused: bool) -> None:
    """A process of 0.9 whose configuration describes no inputs takes any, as it did then; so it is with outputs."""
    prefect = {"deployment": {"name": "shout/by-hand"}, "metadata": {} if inputs is None else {"inputs": inputs}}
    processor = load_processor("shout", {"processor": {"prefect": prefect}})
    validator = RequestValidator("shout", requests_described(processor))
    assert (violations(validator, {"inputs": {"volume": 11, "words": "a"}}) != []) == is_refused
    assert violations(validator, {"inputs": {"words": "a"}, "outputs": {"sound": {}}}) == []


def test_flows_that_want_the_whole_request_see_the_kinds() -> None:
    """An input keeps its kind as long as its root is the value; else it is the value itself."""
    inputs = {"a": {"value": 1, "mediaType": "application/json"}, "b": {"value": 1}, "c": [{"value": 1}, 2]}
    schemas = {"a": INTEGER, "b": MEASURED, "c": NUMBERS}
    metadata = {"inputs": {name: {"schema": schema} for name, schema in schemas.items()}}
    order = JobOrder("j", "p", {"processor": {"name": "x"}}, {"inputs": inputs, "secret_inputs": []}, "j")
    seen = execute_request(order, metadata).inputs
    assert isinstance(seen["a"], QualifiedInputValue)
    assert {name: kind.root for name, kind in seen.items()} == {"a": 1, "b": {"value": 1}, "c": [1, 2]}
    assert input_values(order, metadata) == {"a": 1, "b": {"value": 1}, "c": [1, 2]}
