"""Any typed function is a process: its description, its arguments and its outputs."""

import base64
import dataclasses
import enum
import inspect
import json
import mimetypes
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict
from uuid import UUID

import geojson_pydantic
import numpy as np
import pystac
import pytest
import shapely.geometry
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from prefect import flow
from pydantic import AfterValidator, AnyUrl, BaseModel, Field, SecretStr

import typed_flows
from factories import label
from ogc_schema import validate
from pygeoapi_prefect.exceptions import ConfigurationError, InvalidInputsError, MissingJobParameterError
from pygeoapi_prefect.process.description import FunctionSignature, Output, UnusableOutputError, describe
from pygeoapi_prefect.process.json_form import JsonForm
from pygeoapi_prefect.process.types import (
    CRS84,
    CRS84H,
    BBox,
    Feature,
    FeatureCollection,
    Geometry,
    LineString,
    MediaType,
    Point,
    Polygon,
    SingleOutput,
)
from pygeoapi_prefect.schemas.media_types import media_type_of_file

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
POINT = {"type": "Point", "coordinates": [7.5, 50.25]}
GEOTIFF = "image/tiff; application=geotiff"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Window(BaseModel):
    """A window of time."""

    start: date
    days: int = Field(5, ge=1)
    inner: "Corner | None" = None


@dataclasses.dataclass
class Corner:
    row: int
    content: bytes = b""


class Tile(TypedDict):
    zoom: int
    name: NotRequired[str]


class Measured(BaseModel):
    value: float
    unit: str = "m"


class Tree(BaseModel):
    branches: list["Tree"] = []


Window.model_rebuild()


def taking(annotation: Any, default: Any = inspect.Parameter.empty) -> FunctionSignature:
    """The signature of a function with one parameter ``x`` of a type."""

    def function(x): ...

    function.__annotations__["x"] = annotation
    if default is not inspect.Parameter.empty:
        function.__defaults__ = (default,)
    return FunctionSignature(function)


def returning(annotation: Any) -> FunctionSignature:
    """The signature of a function that returns a type."""

    def function(): ...

    function.__annotations__["return"] = annotation
    return FunctionSignature(function)


def is_valid(schema: dict[str, Any], value: Any) -> bool:
    return Draft202012Validator(schema, format_checker=FormatChecker()).is_valid(value)


# annotation, values that it takes, values that it does not take
INPUTS: list[tuple[Any, list[Any], list[Any]]] = [
    (str, ["", "a", "1"], [1, None, True, ["a"], {}]),
    (int, [0, -3, 2.0, 10**20], [1.5, "1", True, None]),
    (float, [0, 1.5, -2], ["1.5", True, None, []]),
    (bool, [True, False], [0, 1, "true", None]),
    (int | None, [1, None], ["1", 1.5]),
    (int | str | None, [1, "a", None], [1.5, [], True]),
    (Literal["a", "b"], ["a", "b"], ["c", None, 1]),
    (Literal["a", 1, None], ["a", 1, None], ["b", 2]),
    (Literal["only"], ["only"], ["other", None]),
    (Colour, ["red", "blue"], ["RED", "green", None]),
    (Annotated[float, Field(gt=0, le=5)], [0.1, 5], [0, 0.0, -1, 5.1]),
    (Annotated[float, Field(gt=0, lt=5)], [0.1, 4.9], [0, 5]),
    (Annotated[int, Field(gt=0, lt=5)], [1, 4], [0, 5]),
    (Annotated[float | None, Field(gt=0)], [None, 1], [0, "1"]),
    (Annotated[int, Field(multiple_of=3)], [3, -6], [4]),
    (Annotated[str, Field(min_length=2, max_length=3)], ["ab", "abc"], ["a", "abcd"]),
    (Annotated[str, Field(pattern="^[a-z]+$")], ["ab"], ["a1", ""]),
    (list[int], [[], [1], [1, 2.0]], [1, ["1"], {}, None]),
    (Annotated[list[str], Field(min_length=1, max_length=2)], [["a"], ["a", "b"]], [[], ["a", "b", "c"]]),
    (set[str], [["a"], ["a", "a"]], ["a", [1]]),
    (tuple[float, float], [[1, 2.5]], [[1], [1, 2, 3], ["1", 2]]),
    (tuple[int, ...], [[], [1, 2]], [["1"], 1]),
    (dict[str, int], [{}, {"a": 1}], [{"a": "1"}, [], None]),
    (dict[str, Any], [{"a": [1, None]}], [[], "a"]),
    (date, ["2024-02-29"], ["2023-02-29", "yesterday", 5]),
    (datetime, ["2024-02-29T10:00:00Z", "2024-02-29T10:00:00+02:00"], ["now", 5, None]),
    (timedelta, ["PT5S", "P1DT2H"], [5, None]),
    (time, ["10:00:00"], [10, None]),
    (UUID, ["7aa02609-dcba-4892-ba71-41cdd886b14e"], ["7aa0", 5]),
    (AnyUrl, ["https://example.org/a"], [5, None]),
    (Decimal, [1.5, 2, "1.50"], [None, True, []]),
    (SecretStr, ["hush"], [5, None]),
    (bytes, ["YWJj", ""], [5, None, ["YWJj"]]),
    (Annotated[bytes, MediaType("image/png")], ["YWJj"], [5]),
    (Corner, [{"row": 1}, {"row": 1, "content": "YQ=="}], [{}, {"row": "1"}, [1]]),
    (Tile, [{"zoom": 3}, {"zoom": 3, "name": "a"}], [{"name": "a"}, {"zoom": 3, "name": None}]),
    (
        Window,
        [{"start": "2024-01-01"}, {"start": "2024-01-01", "days": 1, "inner": {"row": 2}}],
        [{}, {"start": "2024-01-01", "days": 0}, {"start": "2024-01-01", "inner": {"row": "2"}}],
    ),
    (list[Window], [[], [{"start": "2024-01-01"}]], [[{}], {}]),
    (
        BBox,
        [[1, 2, 3, 4], [1, 2, 0, 3, 4, 9], {"bbox": [1, 2, 3, 4]}, {"bbox": [1, 2, 3, 4], "crs": CRS84}],
        [[1, 2, 3], [1, 2, 3, 4, 5], ["1", 2, 3, 4], {"crs": CRS84}, {"bbox": [1, 2, 3, 4], "crs": "EPSG:3857"}, None],
    ),
    (BBox | None, [[1, 2, 3, 4], None], ["1,2,3,4", [1]]),
    (
        Point,
        [POINT, POINT | {"bbox": [1, 2, 3, 4]}],
        [SQUARE, {"type": "Point"}, {"type": "Point", "coordinates": [1]}],
    ),
    (
        LineString,
        [{"type": "LineString", "coordinates": [[1, 2], [3, 4, 5]]}],
        [{"type": "LineString", "coordinates": []}],
    ),
    (Polygon, [SQUARE], [POINT, {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}]),
    (
        Geometry,
        [POINT, SQUARE, {"type": "GeometryCollection", "geometries": [POINT, SQUARE]}],
        [{"type": "Circle", "coordinates": [1, 2]}, {"coordinates": [1, 2]}, None, "POINT (1 2)"],
    ),
    (
        Feature,
        [
            {"type": "Feature", "geometry": POINT, "properties": {"a": 1}, "id": "f"},
            {"type": "Feature", "geometry": None, "properties": None, "id": 7},
        ],
        [{"type": "Feature", "geometry": POINT}, {"type": "Feature", "geometry": {}, "properties": {}}, POINT],
    ),
    (
        FeatureCollection,
        [{"type": "FeatureCollection", "features": []}],
        [{"type": "FeatureCollection"}, {"type": "FeatureCollection", "features": [POINT]}],
    ),
    (geojson_pydantic.Point, [POINT], [SQUARE, {"type": "Point", "coordinates": [1]}]),
    (geojson_pydantic.Polygon, [SQUARE], [POINT]),
    (Any, [1, None, "a", {"b": [1]}], []),
]


@pytest.mark.parametrize(("annotation", "good", "bad"), INPUTS, ids=[label(row[0]) for row in INPUTS])
def test_schema_and_arguments_agree(annotation, good, bad):
    """A value is taken exactly when it is valid against the schema, which OGC's and JSON Schema's rules allow."""
    signature = taking(annotation)
    schema = signature.inputs["x"]["schema"]
    validate(describe("p", signature), "process")
    Draft202012Validator.check_schema(schema)
    assert "$ref" not in json.dumps(schema)
    for value in good:
        assert is_valid(schema, value), value
        assert signature.arguments({"x": value}).keys() == {"x"}
    for value in bad:
        assert not is_valid(schema, value), value
        with pytest.raises(InvalidInputsError):
            signature.arguments({"x": value})


@pytest.mark.parametrize(
    ("annotation", "value", "reason"),
    [
        (bytes, "??", "base64"),
        (BBox, [1, 9, 3, 4], "south"),
        (BBox, [1, 2, 9, 3, 4, 0], "lower"),
        (Polygon, {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}, "at coordinates/0: a ring"),
        (float, float("nan"), "not finite"),
        (list[float], [1, float("inf")], "not finite"),
        (AnyUrl, "no url", "URL"),
        (tuple[int, str], ["a", 1], "at 0: "),
    ],
)
def test_what_a_schema_cannot_say_is_checked_all_the_same(annotation, value, reason):
    """Values that are valid against the schema may still be refused, with the reason."""
    with pytest.raises(InvalidInputsError) as refused:
        taking(annotation).arguments({"x": value})
    assert reason in refused.value.client_message


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (float, 1, 1.0),
        (int, 2.0, 2),
        (bytes, base64.b64encode(b"\xfb\xff").decode(), b"\xfb\xff"),
        (bytes, base64.urlsafe_b64encode(b"\xfb\xff").decode(), b"\xfb\xff"),
        (date, "2024-02-29", date(2024, 2, 29)),
        (datetime, "2024-02-29T10:00:00Z", datetime(2024, 2, 29, 10, tzinfo=UTC)),
        (timedelta, "PT5S", timedelta(seconds=5)),
        (Decimal, 0.1, Decimal("0.1")),
        (Colour, "red", Colour.RED),
        (set[str], ["a", "a"], {"a"}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (Corner, {"row": 1, "content": "YQ=="}, Corner(1, b"a")),
        (Window, {"start": "2024-01-01"}, Window(start=date(2024, 1, 1))),
        (dict[int, float], {"1": 2}, {1: 2.0}),
        (Any, [1.0, {"a": None}], [1.0, {"a": None}]),
        (Point, POINT | {"note": "kept"}, POINT | {"note": "kept"}),
    ],
)
def test_arguments_have_their_types(annotation, value, expected):
    """JSON arrives as what the parameter's annotation says."""
    argument = taking(annotation).arguments({"x": value})["x"]
    assert argument == expected
    assert type(argument) is type(expected)


def test_geometries_are_plain_geojson():
    """shapely takes a geometry as it arrives."""
    assert shapely.geometry.shape(taking(Geometry).arguments({"x": SQUARE})["x"]).area == 0.5


def test_types_of_geojson_pydantic_are_its_own():
    """A parameter of geojson-pydantic's types is an instance of them."""
    assert taking(geojson_pydantic.Polygon).arguments({"x": SQUARE})["x"] == geojson_pydantic.Polygon(**SQUARE)


# ---------------------------------------------------------------- bounding boxes


def test_a_bounding_box_has_names_and_items():
    """A box of 4 or 6 numbers names its corners and is the tuple of its numbers."""
    flat = BBox([1, 2, 3, 4])
    assert (flat.west, flat.south, flat.east, flat.north, flat.lower, flat.upper) == (1, 2, 3, 4, None, None)
    assert (tuple(flat), flat[2], flat.crs) == ((1, 2, 3, 4), 3, CRS84)
    high = BBox([1, 2, -5, 3, 4, 9])
    assert (high.west, high.south, high.lower, high.east, high.north, high.upper) == (1, 2, -5, 3, 4, 9)
    assert (len(high), high.crs) == (6, CRS84H)


def test_a_bounding_box_survives_pickling():
    """Workers get the same box, with its CRS."""
    box = BBox([1, 2, 3, 4], CRS84H)
    again = pickle.loads(pickle.dumps(box))
    assert (again, again.crs, type(again)) == (box, CRS84H, BBox)


def test_both_forms_of_a_bounding_box_are_one_value():
    """The plain array and the object around it mean the same box."""
    signature = taking(BBox)
    plain = signature.arguments({"x": [170, -10, -170, 10]})["x"]
    qualified = signature.arguments({"x": {"bbox": [170, -10, -170, 10], "crs": CRS84}})["x"]
    assert plain == qualified == BBox([170, -10, -170, 10])
    assert type(qualified) is BBox


# ---------------------------------------------------------------- the description


def test_a_description_of_a_whole_function():
    """Signature, docstring and Field make the whole description, of a module with postponed annotations."""
    description = describe("ndvi", FunctionSignature(typed_flows.vegetation_index), version="2.1.0")
    validate(description, "process")
    inputs, outputs = description.pop("inputs"), description.pop("outputs")
    assert description == {
        "id": "ndvi",
        "title": "Vegetation index of an area",
        "description": "Computed from red and near infrared,\nover all scenes.",
        "version": "2.1.0",
        "jobControlOptions": ["sync-execute", "async-execute", "dismiss"],
        "outputTransmission": ["value", "reference"],
        "links": [],
    }
    assert {key: (one["title"], one.get("description"), one["minOccurs"]) for key, one in inputs.items()} == {
        "area": ("Area", "Where.", 1),
        "start": ("Start", "First day of the period.", 1),
        "clouds": ("Clouds", None, 1),
        "token": ("Token", "For the catalogue.", 1),
        "scale": ("Scale", None, 0),
    }
    assert inputs["token"]["schema"] == {"type": "string", "format": "password", "writeOnly": True, "minLength": 8}
    assert inputs["scale"]["schema"] == {"type": "integer", "minimum": 1, "default": 2}
    assert inputs["clouds"]["schema"]["properties"]["cover"] == {
        "type": "number",
        "minimum": 0,
        "maximum": 100,
        "not": {"enum": [0]},
        "description": "Percent.",
    }
    assert outputs == {
        "mean": {"title": "Mean", "description": "Mean of the index.", "schema": {"type": "number"}},
        "raster": {
            "title": "Raster",
            "schema": {"type": "string", "contentEncoding": "binary", "contentMediaType": GEOTIFF},
        },
        "note": {"title": "Note", "schema": {"type": "string", "contentMediaType": "text/plain"}},
    }


@pytest.mark.parametrize("function", [typed_flows.google, typed_flows.numpy, typed_flows.rest])
def test_docstrings_of_three_styles_say_the_same(function):
    """Google's, NumPy's and reST's docstrings give title, description, inputs and output alike."""
    signature = FunctionSignature(function)
    assert (signature.title, signature.description) == ("Measure it", "With care.")
    assert signature.inputs["size"]["description"] == "How large."
    assert signature.outputs["result"]["description"] == "The measure: in metres."


def test_a_function_without_texts_is_titled_by_its_name():
    """Names become titles; nothing needs an annotation."""

    def zonal_mean(cell_size, kind="a"): ...

    description = describe("p", FunctionSignature(zonal_mean))
    validate(description, "process")
    assert (description["title"], description["version"]) == ("Zonal mean", "1.0.0")
    assert "description" not in description
    assert description["inputs"]["cell_size"] == {"title": "Cell size", "schema": {}, "minOccurs": 1, "maxOccurs": 1}
    assert description["inputs"]["kind"]["schema"] == {"default": "a"}
    assert description["outputs"] == {"result": {"title": "Result", "schema": {}}}


def test_a_summary_of_two_lines_is_one_title():
    """The title ends with the first paragraph."""

    def function():
        """Mean
        of cells.

        The rest.
        """

    signature = FunctionSignature(function)
    assert (signature.title, signature.description) == ("Mean of cells", "The rest.")


def test_field_speaks_before_the_docstring():
    """Title, description, example and OGC's descriptive keywords come from Field."""

    def function(
        x: Annotated[
            int,
            Field(title="T", description="D", examples=[3, 4], json_schema_extra={"keywords": ["k"], "x-unit": "m"}),
        ],
    ):
        """Do.

        Args:
            x: Not this.
        """

    signature = FunctionSignature(function)
    validate(describe("p", signature), "process")
    assert signature.inputs["x"] == {
        "title": "T",
        "description": "D",
        "keywords": ["k"],
        "schema": {"type": "integer", "example": 3},
        "minOccurs": 1,
        "maxOccurs": 1,
    }


def test_metadata_overrides_deeply():
    """Objects merge, lists and values are replaced, the id stays, and the signature is not touched."""
    signature = FunctionSignature(typed_flows.google)
    metadata = {
        "id": "other",
        "title": "Larger",
        "keywords": ["size"],
        "jobControlOptions": ["async-execute"],
        "inputs": {"size": {"title": "Breadth", "schema": {"maximum": 9}}},
    }
    description = describe("p", signature, metadata, version="2")
    validate(description, "process")
    assert (description["id"], description["title"], description["version"]) == ("p", "Larger", "2")
    assert description["jobControlOptions"] == ["async-execute"]
    assert description["inputs"]["size"] == {
        "title": "Breadth",
        "description": "How large.",
        "schema": {"type": "integer", "maximum": 9},
        "minOccurs": 1,
        "maxOccurs": 1,
    }
    assert signature.inputs["size"]["title"] == "Size"
    describe("p", signature)["inputs"]["size"]["schema"].clear()
    assert describe("p", signature)["inputs"]["size"]["schema"] == {"type": "integer"}


@pytest.mark.parametrize("part", ["inputs", "outputs"])
def test_metadata_of_unknown_parts_is_refused(part):
    """A misspelt input or output in the metadata is an error that names it and the known ones."""
    with pytest.raises(ConfigurationError, match=f"metadata.{part} describes sise. The function has (size|result)"):
        describe("p", FunctionSignature(typed_flows.google), {part: {"sise": {"title": "T"}}})


def test_a_flow_is_described_by_its_function():
    """Prefect's decorator changes nothing of what is described."""
    made = flow(persist_result=True)(typed_flows.vegetation_index)
    assert describe("p", FunctionSignature(made.fn)) == describe("p", FunctionSignature(typed_flows.vegetation_index))


# ---------------------------------------------------------------- what cannot be described


def positional(size, /): ...


def variadic(*sizes: int): ...


def keywords(**sizes: int): ...


def callback(size: Callable[[], int]): ...


def callback_or_number(size: int | Callable[[], int]): ...


def arbitrary(size: inspect.Signature): ...


def path(size: Path): ...


def paths(size: dict[str, list[Path]]): ...


def recursive(size: Tree): ...


@pytest.mark.parametrize(
    ("function", "remedy"),
    [
        (positional, "remove the '/'"),
        (variadic, "take a list"),
        (keywords, "take a dict"),
        (callback, "Take a type that can"),
        (callback_or_number, "Take a type that can"),
        (arbitrary, "Take a type that can"),
        (path, "Take bytes"),
        (paths, "Take bytes"),
        (recursive, "Tree contains itself"),
    ],
)
def test_parameters_that_cannot_be_inputs_are_refused(function, remedy):
    """The error names function and parameter and says what to do."""
    with pytest.raises(ConfigurationError) as refused:
        FunctionSignature(function)
    assert str(refused.value).startswith(f"{function.__name__}: parameter 'size")
    assert remedy in str(refused.value)


@pytest.mark.parametrize(
    ("annotation", "remedy"),
    [
        (tuple[int, str], "NamedTuple"),
        (tuple, "NamedTuple"),
        (Iterator[int], "Return str, bytes"),
        (inspect.Signature, "Return str, bytes"),
        (pystac.Asset, "only Item, ItemCollection, Collection and Catalog"),
        (Annotated[Tree, SingleOutput], "Tree contains itself"),
    ],
)
def test_returns_that_cannot_be_outputs_are_refused(annotation, remedy):
    """The error names the function and the return and says what to do."""
    with pytest.raises(ConfigurationError, match="return annotation") as refused:
        returning(annotation)
    assert remedy in str(refused.value)


def test_annotations_that_cannot_be_resolved_are_refused():
    """A name that exists for type checkers alone is an error that names function and name."""

    def function(x: "Nowhere"): ...  # noqa: F821

    with pytest.raises(ConfigurationError, match=r"function: .*Nowhere.*TYPE_CHECKING"):
        FunctionSignature(function)


def test_a_media_type_has_a_slash():
    """A marker that is no media type is refused where it is written."""
    with pytest.raises(ConfigurationError, match="geotiff"):
        MediaType("geotiff")


# ---------------------------------------------------------------- arguments


def test_defaults_are_left_to_the_function():
    """Inputs that are not given are no arguments; their defaults are described."""
    day = taking(date, date(2024, 1, 1))
    assert day.arguments({}) == {}
    assert day.inputs["x"]["schema"]["default"] == "2024-01-01"
    assert day.inputs["x"]["minOccurs"] == 0
    assert taking(BBox, BBox([1, 2, 3, 4])).inputs["x"]["schema"]["default"] == {"bbox": [1, 2, 3, 4], "crs": CRS84}
    assert taking(int | None, None).inputs["x"]["schema"]["default"] is None


def test_defaults_in_a_field_are_filled_in():
    """A plain call would not find the default that a Field holds, so it becomes an argument."""
    made = Field(default_factory=lambda: [1])
    assert taking(int, Field(7, ge=1)).arguments({}) == {"x": 7}
    assert taking(Annotated[int, Field(default=8)]).arguments({}) == {"x": 8}
    assert taking(list[int], made).arguments({}) == {"x": [1]}
    assert "default" not in taking(list[int], made).inputs["x"]["schema"]
    with pytest.raises(MissingJobParameterError):
        taking(int, Field(title="needed")).arguments({})


def test_an_alias_is_the_inputs_id():
    """Clients use the alias, the function gets its parameter."""
    signature = taking(Annotated[int, Field(alias="max-size", ge=1)])
    assert signature.inputs.keys() == {"max-size"}
    assert signature.arguments({"max-size": 3}) == {"x": 3}
    with pytest.raises(InvalidInputsError, match="Input 'max-size'"):
        signature.arguments({"max-size": 0})


def test_a_context_is_no_input():
    """A parameter whose type says that it is a process context is neither described nor an argument."""
    signature = FunctionSignature(typed_flows.vegetation_index)
    assert signature.context_parameters == ("context",)
    assert "context" not in signature.inputs
    given = {"area": [1, 2, 3, 4], "start": "2024-01-01", "clouds": {"cover": 5}, "token": "long enough"}
    arguments = signature.arguments(given)
    assert arguments.keys() == {"area", "start", "clouds", "token"}
    with pytest.raises(InvalidInputsError, match="Input 'context' is not an input"):
        signature.arguments(given | {"context": {}})


def test_every_violation_is_named_at_once():
    """One answer names all missing, unknown and wrong inputs, and where in them the fault is."""
    with pytest.raises(InvalidInputsError) as refused:
        FunctionSignature(typed_flows.vegetation_index).arguments(
            {"area": [1, 2, 3], "clouds": {"cover": 0, "sensors": ["a", 1]}, "scale": "2", "sise": 1}
        )
    assert type(refused.value) is InvalidInputsError
    assert refused.value.client_message.split(". ") == [
        "Input 'start' is missing",
        "Input 'token' is missing",
        "Input 'sise' is not an input of this process",
        "Input 'area': a bounding box has 4 or 6 numbers, not 3",
        "Input 'clouds' at cover: Input should be greater than 0",
        "Input 'clouds' at sensors/1: Input should be a valid string",
        "Input 'scale': Input should be a valid integer.",
    ]


def test_missing_inputs_alone_have_their_own_error():
    """When inputs are missing and nothing else is wrong, the error is that of missing parameters."""
    with pytest.raises(MissingJobParameterError) as refused:
        taking(int).arguments({})
    assert refused.value.client_message == "Input 'x' is missing."


@pytest.mark.parametrize("depth", [300, 3_000, 100_000])
def test_values_nested_too_deeply_are_violations(depth):
    """Depth is refused like any other fault, never an error of the server."""
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    with pytest.raises(InvalidInputsError, match="Input 'x'"):
        taking(list[Any]).arguments({"x": nested})


def test_branches_of_unions_are_not_locations():
    """The path of a violation holds what the client sent, not pydantic's names for alternatives."""
    with pytest.raises(InvalidInputsError) as refused:
        taking(list[int | Tile]).arguments({"x": [1, {"zoom": "a"}]})
    assert "at 1/zoom: " in refused.value.client_message
    assert "Tile" not in refused.value.client_message


def reject(value: SecretStr) -> SecretStr:
    raise ValueError(f"{value.get_secret_value()} is no token")


class Login(BaseModel):
    user: str
    password: Annotated[SecretStr, AfterValidator(reject)]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Annotated[SecretStr, Field(min_length=20)], "sesame"),
        (Annotated[SecretStr, AfterValidator(reject)], "sesame"),
        (SecretStr, ["sesame"]),
        (SecretStr, {"sesame": 1}),
        (Literal["a"] | SecretStr, ["sesame"]),
        (Login, {"user": "u", "password": "sesame"}),
        (Annotated[Literal["a"], Field(json_schema_extra={"writeOnly": True})], "sesame"),
    ],
)
def test_secrets_are_never_quoted(annotation, value):
    """The value of a secret input stands neither in the answer nor in the log's traceback."""
    with pytest.raises(InvalidInputsError) as refused:
        taking(annotation).arguments({"x": value})
    assert "Input 'x'" in refused.value.client_message
    assert "sesame" not in "".join(traceback.format_exception(refused.value))


def test_defaults_of_secrets_are_not_described():
    """A secret's default is not published."""
    signature = taking(SecretStr, SecretStr("sesame"))
    assert "default" not in signature.inputs["x"]["schema"]
    assert signature.inputs["x"]["minOccurs"] == 0


# ---------------------------------------------------------------- outputs


class Result(BaseModel):
    mean: float
    when: datetime | None = None
    picture: Annotated[bytes, MediaType("image/png")] = Field(b"", description="A picture.")


@dataclasses.dataclass
class Pair:
    text: str
    count: int | None = None


class Row(NamedTuple):
    text: str
    box: BBox


ITEM = pystac.Item("scene", POINT, None, datetime(2024, 1, 1, tzinfo=UTC), {})
COLLECTION = pystac.Collection(
    "c", "d", pystac.Extent(pystac.SpatialExtent([[0, 0, 1, 1]]), pystac.TemporalExtent([[None, None]]))
)

# annotation, what is returned, the outputs
RETURNS: list[tuple[Any, Any, dict[str, Output]]] = [
    (str, "a", {"result": Output("a", "text/plain")}),
    (Annotated[str, MediaType("text/html")], "<p>", {"result": Output("<p>", "text/html")}),
    (bytes, b"a", {"result": Output(b"a", "application/octet-stream")}),
    (Annotated[bytes, MediaType("image/png")], bytearray(b"a"), {"result": Output(b"a", "image/png")}),
    (int, 3, {"result": Output(3, "application/json")}),
    (bool, True, {"result": Output(True, "application/json")}),
    (float, np.float32(1.5), {"result": Output(1.5, "application/json")}),
    (float, float("nan"), {"result": Output(None, "application/json")}),
    (list[date], [date(2024, 1, 1)], {"result": Output(["2024-01-01"], "application/json")}),
    (dict[str, Any], {"a": np.arange(2)}, {"result": Output({"a": [0, 1]}, "application/json")}),
    (Annotated[dict[str, int], Field(title="T")], {"a": 1}, {"result": Output({"a": 1}, "application/json")}),
    (Literal["a", "b"], "a", {"result": Output("a", "application/json")}),
    (Colour, Colour.RED, {"result": Output("red", "application/json")}),
    (None, None, {}),
    (str | None, None, {}),
    (str | None, "a", {"result": Output("a", "text/plain")}),
    (str | bytes | list[int], b"a", {"result": Output(b"a", "application/octet-stream")}),
    (str | bytes | list[int], [1], {"result": Output([1], "application/json")}),
    (Any, "a", {"result": Output("a", "text/plain")}),
    (Any, b"a", {"result": Output(b"a", "application/octet-stream")}),
    (Any, {"a": date(2024, 1, 1)}, {"result": Output({"a": "2024-01-01"}, "application/json")}),
    (Any, ITEM, {"result": Output(ITEM.to_dict(transform_hrefs=False), "application/geo+json")}),
    (Point, POINT, {"result": Output(POINT, "application/geo+json")}),
    (Geometry | None, POINT, {"result": Output(POINT, "application/geo+json")}),
    (
        geojson_pydantic.Polygon,
        geojson_pydantic.Polygon(**SQUARE),
        {"result": Output(SQUARE, "application/geo+json")},
    ),
    (BBox, BBox([1, 2, 3, 4]), {"result": Output({"bbox": [1, 2, 3, 4], "crs": CRS84}, "application/json")}),
    (pystac.Item, ITEM, {"result": Output(ITEM.to_dict(transform_hrefs=False), "application/geo+json")}),
    (
        pystac.ItemCollection,
        pystac.ItemCollection([ITEM]),
        {"result": Output(pystac.ItemCollection([ITEM]).to_dict(transform_hrefs=False), "application/geo+json")},
    ),
    (pystac.Collection, COLLECTION, {"result": Output(COLLECTION.to_dict(transform_hrefs=False), "application/json")}),
    (
        pystac.Catalog,
        pystac.Catalog("c", "d"),
        {"result": Output(pystac.Catalog("c", "d").to_dict(transform_hrefs=False), "application/json")},
    ),
    (
        Result,
        Result(mean=1, picture=b"p"),
        {"mean": Output(1.0, "application/json"), "picture": Output(b"p", "image/png")},
    ),
    (
        Result,
        {"mean": 2, "when": datetime(2024, 1, 1, tzinfo=UTC)},
        {"mean": Output(2.0, "application/json"), "when": Output("2024-01-01T00:00:00Z", "application/json")},
    ),
    (Pair, Pair("a", 1), {"text": Output("a", "text/plain"), "count": Output(1, "application/json")}),
    (Pair | None, None, {}),
    (Tile, {"zoom": 1}, {"zoom": Output(1, "application/json")}),
    (
        Row,
        Row("a", BBox([1, 2, 3, 4])),
        {
            "text": Output("a", "text/plain"),
            "box": Output({"bbox": [1, 2, 3, 4], "crs": CRS84}, "application/json"),
        },
    ),
    (Annotated[Pair, SingleOutput], Pair("a"), {"result": Output({"text": "a", "count": None}, "application/json")}),
    (Annotated[Tile, SingleOutput()], {"zoom": 1}, {"result": Output({"zoom": 1}, "application/json")}),
    (list[Pair], [Pair("a", 1)], {"result": Output([{"text": "a", "count": 1}], "application/json")}),
]


@pytest.mark.parametrize(("annotation", "returned", "expected"), RETURNS, ids=[label(row[0]) for row in RETURNS])
def test_returns_become_outputs(annotation, returned, expected):
    """The outputs are those that are described, JSON is plain JSON that fits its schema, and None is absent."""
    signature = returning(annotation)
    description = describe("p", signature)
    validate(description, "process")
    assert "$ref" not in json.dumps(description)
    outputs = signature.outputs_of(returned)
    assert outputs == expected
    assert outputs.keys() <= signature.outputs.keys()
    for output_id, output in outputs.items():
        schema = signature.outputs[output_id]["schema"]
        Draft202012Validator.check_schema(schema)
        if not isinstance(output.value, bytes):
            json.dumps(output.value)
            # a number that is not finite has no JSON
            assert output.value is None or is_valid(schema, output.value)


@pytest.mark.parametrize(
    ("annotation", "returned", "reason"),
    [
        (str, 3, "returned a int as its output 'result', not a str"),
        (bytes, "a", "not a bytes"),
        (Path, "a.tif", "not a Path"),
        (int, "3", "valid integer"),
        (int, 3.5, "valid integer"),
        (list[int], [1, "a"], "at 1: "),
        (Annotated[float, Field(gt=0)], -1.0, "greater than 0"),
        (None, 3, "declares no output"),
        (Any, object(), "Unable to serialize"),
        (pystac.Item, pystac.Catalog("c", "d"), "returned a Catalog as its output 'result', not a Item"),
        (Point, SQUARE, "'Point'"),
        (Result, {"when": None}, "did not return its output mean"),
        (Result, {"mean": 1, "sum": 2}, "returned sum. Its outputs are mean, when, picture"),
        (Result, Pair("a"), "returned a Pair, not a Result"),
        (Result, None, "returned a NoneType, not a Result"),
        (Pair, Pair(3), "returned a int as its output 'text', not a str"),
        (Row, ("a", [1, 2, 3, 4]), "returned a tuple, not a Row"),
        (str | bytes, 3, "not a str or bytes"),
    ],
)
def test_returns_that_do_not_fit_are_refused(annotation, returned, reason):
    """The error says which output does not fit, and how."""
    with pytest.raises(UnusableOutputError) as refused:
        returning(annotation).outputs_of(returned)
    assert reason in refused.value.client_message


def test_files_are_outputs_in_their_media_type(tmp_path, monkeypatch):
    """A path is the file's absolute path, in the declared media type or else in that of its name."""
    file = tmp_path / "slope.tif"
    file.write_bytes(b"II*\0")
    monkeypatch.chdir(tmp_path)
    assert returning(Path).outputs_of(Path("slope.tif")) == {"result": Output(file, GEOTIFF)}
    declared = Annotated[Path, MediaType("image/tiff")]
    assert returning(declared).outputs_of(file) == {"result": Output(file, "image/tiff")}
    store = tmp_path / "cube.zarr"
    store.mkdir()
    assert returning(Any).outputs_of(store) == {"result": Output(store, "application/vnd.zarr")}


def test_files_must_exist(tmp_path):
    """The log names the path and the remedy, the client reads neither."""
    with pytest.raises(UnusableOutputError) as refused:
        returning(Path).outputs_of(tmp_path / "nowhere.tif")
    assert str(tmp_path / "nowhere.tif") in str(refused.value)
    assert "Write the file before" in str(refused.value)
    expected = "The process returned a file that does not exist as its output 'result'."
    assert refused.value.client_message == expected


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.tif", GEOTIFF),
        ("A.TIFF", GEOTIFF),
        ("a.cog.tif", f"{GEOTIFF}; profile=cloud-optimized"),
        ("a.geojson", "application/geo+json"),
        ("a.json", "application/json"),
        ("a.parquet", "application/vnd.apache.parquet"),
        ("a.zarr", "application/vnd.zarr"),
        ("a.gpkg", "application/geopackage+sqlite3"),
        ("a.nc", "application/netcdf"),
        ("a.csv", "text/csv"),
        ("a.png", "image/png"),
        ("a b#1?.txt", "text/plain"),
        ("a.csv.gz", "application/gzip"),
        ("a.csv.xz", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("a.unheard", "application/octet-stream"),
    ],
)
def test_names_of_files_tell_their_media_type(name, media_type):
    """The media type depends on the name alone, not on the host's tables."""
    assert media_type_of_file(Path("/data") / name) == media_type


def test_the_hosts_table_of_media_types_is_not_asked(monkeypatch):
    """The same file has the same media type on every host."""
    monkeypatch.setitem(mimetypes._db.types_map[True] if mimetypes._db else mimetypes.types_map, ".unheard", "a/b")
    assert mimetypes.guess_type("a.unheard")[0] == "a/b"
    assert media_type_of_file(Path("a.unheard")) == "application/octet-stream"


def test_fields_that_need_not_be_there_may_be_missing():
    """NotRequired holds in modules whose annotations are postponed, too."""
    signature = FunctionSignature(typed_flows.vegetation_index)
    file = Path(__file__)
    assert signature.outputs_of({"mean": 1.0, "raster": file}).keys() == {"mean", "raster"}
    with pytest.raises(UnusableOutputError, match="did not return its output mean, raster"):
        signature.outputs_of({"note": "a"})


def test_sets_are_described_as_what_they_are():
    """A set that is returned has no item twice; one that is taken may have been sent so."""
    assert returning(set[int]).outputs["result"]["schema"]["uniqueItems"] is True
    assert "uniqueItems" not in taking(set[int]).inputs["x"]["schema"]


def test_optional_fields_have_the_schema_of_what_they_hold():
    """An optional output is absent or is its type: its schema knows no null."""
    assert returning(Result).outputs["when"]["schema"] == {"type": "string", "format": "date-time"}
    assert returning(Result).outputs["picture"]["description"] == "A picture."


# ---------------------------------------------------------------- schemas


def test_strange_schemas_become_ogc_schemas():
    """Keywords of somebody's json_schema_extra that OGC's rules do not know are rewritten or left out."""
    extra = {"type": ["string", "null"], "examples": ["a"], "if": {}, "exclusiveMinimum": False, "x-note": 1}
    form = JsonForm(Annotated[Any, Field(json_schema_extra=extra)], "validation")
    validate(form.schema, "schema")
    assert form.schema == {
        "anyOf": [{"type": "string"}, {"enum": [None]}],
        "nullable": True,
        "example": "a",
    }


def test_ogcs_schema_is_not_satisfied_by_everything():
    """The validator of these tests refuses a keyword of JSON Schema that OGC's schema does not know."""
    with pytest.raises(ValidationError):
        validate({"type": "string", "const": "a"}, "schema")


def test_descriptions_cost_neither_prefect_nor_pystac():
    """A web process that describes functions loads pystac only for functions that return it, and never Prefect."""
    script = (
        "import sys\n"
        "from pygeoapi_prefect.process.description import FunctionSignature\n"
        "def f(x: int) -> str: ...\n"
        "FunctionSignature(f)\n"
        "print({'prefect', 'pystac'} & {name.partition('.')[0] for name in sys.modules})"
    )
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "set()"
