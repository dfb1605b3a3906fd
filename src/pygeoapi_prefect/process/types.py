"""
Annotations for the parameters and returns of flows: bounding boxes, GeoJSON, media types.

GeoJSON values are plain dictionaries, so that ``shapely.geometry.shape`` and its like take them as they are; the types
here are what checkers, validation and process descriptions need to know of them.

Sources: GeoJSON: RFC 7946. Bounding boxes: OGC 18-062r2, ``bbox.yaml``. The ``format`` words: OGC 18-062r2, table 13.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NotRequired, Self, TypedDict

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    with_config,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from pygeoapi_prefect.exceptions import ConfigurationError

CRS84: Final = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
"""Longitude and latitude in degrees, WGS 84."""

CRS84H: Final = "http://www.opengis.net/def/crs/OGC/0/CRS84h"
"""Longitude and latitude in degrees and ellipsoidal height in metres, WGS 84."""

GEOJSON_MEDIA_TYPE: Final = "application/geo+json"


@dataclass(frozen=True, slots=True)
class MediaType:
    """
    The media type of a text, of bytes or of a file: ``Annotated[Path, MediaType("image/png")]``.

    Attributes:
        value: As in the header ``Content-Type``, parameters included.

    Raises:
        ConfigurationError: *value* has no slash.
    """

    value: str

    def __post_init__(self) -> None:
        if "/" not in self.value:
            raise ConfigurationError(f"MediaType({self.value!r}) is no media type. Write it as in 'image/tiff'.")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "contentMediaType": self.value}


class SingleOutput:
    """
    Marks a model that is one JSON output instead of one output for each field: ``Annotated[Model, SingleOutput]``.

    Also for dataclasses, typed dictionaries and named tuples.
    """


class _QualifiedBBox(TypedDict):
    bbox: list[float]
    crs: NotRequired[
        Literal["http://www.opengis.net/def/crs/OGC/1.3/CRS84", "http://www.opengis.net/def/crs/OGC/0/CRS84h"]
    ]


def _form_of_bbox(value: Any) -> str:
    return "object" if isinstance(value, dict) else "array"


type _BBoxForm = Annotated[
    Annotated[list[float], Tag("array")] | Annotated[_QualifiedBBox, Tag("object")], Discriminator(_form_of_bbox)
]


class BBox(tuple[float, ...]):
    """
    A bounding box: a tuple of its 4 or 6 numbers that also has names for them.

    In JSON: ``[west, south, east, north]``, ``[west, south, lower, east, north, upper]``, or ``{"bbox": [...], "crs":
    "..."}`` around one of them. *west* may exceed *east*: the box then crosses the antimeridian (RFC 7946, 5.2).

    Attributes:
        crs: :data:`CRS84` or :data:`CRS84H`; by default the one for the count of numbers.
    """

    crs: str

    def __new__(cls, numbers: Iterable[float], crs: str | None = None) -> Self:
        """
        Args:
            numbers: Degrees, heights in metres.
            crs: A URI.

        Raises:
            ValueError: There are neither 4 nor 6 numbers, or a lower bound exceeds its upper one.
        """
        box = super().__new__(cls, (float(number) for number in numbers))
        if len(box) not in (4, 6):
            raise ValueError(f"a bounding box has 4 or 6 numbers, not {len(box)}")
        if box.south > box.north:
            raise ValueError("the south of a bounding box must not exceed its north")
        if box.lower is not None and box.upper is not None and box.lower > box.upper:
            raise ValueError("the lower height of a bounding box must not exceed its upper one")
        box.crs = crs or (CRS84 if len(box) == 4 else CRS84H)
        return box

    @property
    def west(self) -> float:
        """Longitude in degrees."""
        return self[0]

    @property
    def south(self) -> float:
        """Latitude in degrees."""
        return self[1]

    @property
    def east(self) -> float:
        """Longitude in degrees."""
        return self[len(self) // 2]

    @property
    def north(self) -> float:
        """Latitude in degrees."""
        return self[len(self) // 2 + 1]

    @property
    def lower(self) -> float | None:
        """Height in metres; None in a box of 4 numbers."""
        return self[2] if len(self) == 6 else None

    @property
    def upper(self) -> float | None:
        """Height in metres; None in a box of 4 numbers."""
        return self[5] if len(self) == 6 else None

    @classmethod
    def _from_form(cls, form: Any) -> Self:
        return cls(form["bbox"], form.get("crs")) if isinstance(form, dict) else cls(form)

    def _to_form(self) -> dict[str, Any]:
        return {"bbox": list(self), "crs": self.crs}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from_form = core_schema.no_info_after_validator_function(
            cls._from_form, handler.generate_schema(_BBoxForm.__value__)
        )
        return core_schema.json_or_python_schema(
            json_schema=from_form,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), from_form]),
            serialization=core_schema.plain_serializer_function_ser_schema(cls._to_form),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        def corners(count: int) -> JsonSchemaValue:
            return {"type": "array", "minItems": count, "maxItems": count, "items": {"type": "number"}}

        qualified = {
            "type": "object",
            "required": ["bbox"],
            "properties": {
                "bbox": {"oneOf": [corners(4), corners(6)]},
                "crs": {"type": "string", "format": "uri", "enum": [CRS84, CRS84H]},
            },
        }
        # the format first and alone: OGC's executable test suite looks for it there
        return {"allOf": [{"format": "ogc-bbox"}, {"oneOf": [corners(4), corners(6), qualified]}]}


def _closed(ring: list[list[float]]) -> list[list[float]]:
    if ring[0] != ring[-1]:
        raise ValueError("a ring must end at the position where it begins")
    return ring


type Position = Annotated[list[float], Field(min_length=2)]
"""Longitude, latitude and perhaps height. Source: RFC 7946, 3.1.1."""

type _Line = Annotated[list[Position], Field(min_length=2)]
type _Ring = Annotated[list[Position], Field(min_length=4), AfterValidator(_closed)]

# members that RFC 7946 does not name are kept: "foreign members", 6.1
_GEOMETRY = ConfigDict(extra="allow", json_schema_extra={"format": "geojson-geometry"})
_FEATURE = ConfigDict(extra="allow", json_schema_extra={"format": "geojson-feature"})
_FEATURE_COLLECTION = ConfigDict(extra="allow", json_schema_extra={"format": "geojson-feature-collection"})


@with_config(_GEOMETRY)
class Point(TypedDict):
    """A GeoJSON point."""

    type: Literal["Point"]
    coordinates: Position


@with_config(_GEOMETRY)
class MultiPoint(TypedDict):
    """GeoJSON points."""

    type: Literal["MultiPoint"]
    coordinates: list[Position]


@with_config(_GEOMETRY)
class LineString(TypedDict):
    """A GeoJSON line of at least two positions."""

    type: Literal["LineString"]
    coordinates: _Line


@with_config(_GEOMETRY)
class MultiLineString(TypedDict):
    """GeoJSON lines."""

    type: Literal["MultiLineString"]
    coordinates: list[_Line]


@with_config(_GEOMETRY)
class Polygon(TypedDict):
    """A GeoJSON polygon: its outer ring, then its holes. A ring ends at the position where it begins."""

    type: Literal["Polygon"]
    coordinates: list[_Ring]


@with_config(_GEOMETRY)
class MultiPolygon(TypedDict):
    """GeoJSON polygons."""

    type: Literal["MultiPolygon"]
    coordinates: list[list[_Ring]]


type _PlainGeometry = Annotated[
    Point | MultiPoint | LineString | MultiLineString | Polygon | MultiPolygon, Field(discriminator="type")
]


@with_config(_GEOMETRY)
class GeometryCollection(TypedDict):
    """GeoJSON geometries. Collections in collections, from which RFC 7946 advises, are refused."""

    type: Literal["GeometryCollection"]
    geometries: list[_PlainGeometry]


type Geometry = Annotated[
    Point | MultiPoint | LineString | MultiLineString | Polygon | MultiPolygon | GeometryCollection,
    Field(discriminator="type", json_schema_extra={"format": "geojson-geometry"}),
]
"""Any GeoJSON geometry, told apart by its member ``type``."""


@with_config(_FEATURE)
class Feature(TypedDict):
    """A GeoJSON feature."""

    type: Literal["Feature"]
    geometry: Geometry | None
    properties: dict[str, Any] | None
    id: NotRequired[str | float]


@with_config(_FEATURE_COLLECTION)
class FeatureCollection(TypedDict):
    """GeoJSON features."""

    type: Literal["FeatureCollection"]
    features: list[Feature]


GEOJSON_TYPES: Final[frozenset[Any]] = frozenset(
    {
        Point,
        MultiPoint,
        LineString,
        MultiLineString,
        Polygon,
        MultiPolygon,
        GeometryCollection,
        Feature,
        FeatureCollection,
    }
)
