"""
The formats that are asserted; every other one is an annotation, whatever it is called.

A check raises ValueError with what the client reads of it, or returns.
"""

import re
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from jsonschema import FormatChecker
from pydantic import ValidationError

from pygeoapi_prefect.schemas.execution import BoundingBox

_DATE_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.A)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.A)
# the offset may be missing: Python's and pandas' times of day rarely have one
_TIME: Final = re.compile(r"\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})?", re.A)
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`\x00-\x20]*")
_CRS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*:\S+|\[[A-Za-z][A-Za-z0-9+._-]*:[^\s\]]+\]")
_EMAIL: Final = re.compile(r"[^\s@]+@[^\s@]+")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}", re.A)
_WHITESPACE: Final = str.maketrans("", "", " \t\r\n")
_GEOMETRIES: Final = frozenset({"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"})

FORMATS: Final = FormatChecker(formats=())
"""The formats below, and none else."""


def _asserted(name: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    def register(check: Callable[[Any], None]) -> Callable[[Any], None]:
        def passes(value: Any) -> bool:
            check(value)
            return True

        FORMATS.checks(name, raises=(ValueError, OverflowError))(passes)
        return check

    return register


def _require(holds: object, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)


@_asserted("date-time")
def _check_date_time(value: Any) -> None:
    """Source: RFC 3339, 5.6."""
    if isinstance(value, str):
        _require(_DATE_TIME.fullmatch(value), "must be a time as in 2026-01-31T12:00:00Z")
        _parsed(datetime.fromisoformat, _without_leap_second(value, 17), "must be a time that there is")


@_asserted("date")
def _check_date(value: Any) -> None:
    if isinstance(value, str):
        _require(_DATE.fullmatch(value), "must be a date as in 2026-01-31")
        _parsed(date.fromisoformat, value, "must be a date that there is")


@_asserted("time")
def _check_time(value: Any) -> None:
    if isinstance(value, str):
        _require(_TIME.fullmatch(value), "must be a time of day as in 12:00:00Z")
        _parsed(time.fromisoformat, _without_leap_second(value, 6), "must be a time of day that there is")


def _without_leap_second(value: str, at: int) -> str:
    """Python knows none."""
    return f"{value[:at]}59{value[at + 2 :]}" if value[at : at + 2] == "60" else value


def _parsed(parse: Callable[[str], Any], value: str, sentence: str) -> Any:
    try:
        return parse(value)
    except ValueError:
        raise ValueError(sentence) from None


@_asserted("uri")
def _check_uri(value: Any) -> None:
    if isinstance(value, str):
        _require(_URI.fullmatch(value), "must be a URI with its scheme")
        _parsed(urlsplit, value, "must be a URI with its scheme")


@_asserted("email")
def _check_email(value: Any) -> None:
    if isinstance(value, str):
        _require(_EMAIL.fullmatch(value), "must be an email address")


@_asserted("uuid")
def _check_uuid(value: Any) -> None:
    if isinstance(value, str):
        _require(len(value) == 36, "must be a UUID")
        parsed = _parsed(UUID, value, "must be a UUID")
        _require(str(parsed) == value.lower(), "must be a UUID")


@_asserted("ogc-bbox")
def _check_bbox(value: Any) -> None:
    """An object or the array alone; which of them the schema takes is its own matter."""
    if isinstance(value, dict):
        given = {name: value[name] for name in ("bbox", "crs") if name in value}
    elif isinstance(value, list):
        given = {"bbox": value}
    else:
        return
    try:
        box = BoundingBox.model_validate(given)
    except ValidationError as error:
        places = [one["loc"][:1] for one in error.errors(include_url=False, include_input=False)]
        if "crs" in given and ("bbox",) not in places:
            raise ValueError("must have a URI as its crs") from None
        raise ValueError("must have a bbox of 4 or 6 numbers") from None
    half = len(box.bbox) // 2
    # the first axis may wrap around: such a box crosses the antimeridian
    ordered = all(box.bbox[axis] <= box.bbox[axis + half] for axis in range(1, half))
    _require(ordered, "must have its lower corner before its upper one")
    _require(_CRS.fullmatch(box.crs), "must have a URI as its crs")


@_asserted("geojson-geometry")
def _check_geometry(value: Any) -> None:
    if isinstance(value, dict):
        type_ = value.get("type")
        is_plain = isinstance(type_, str) and type_ in _GEOMETRIES and isinstance(value.get("coordinates"), list)
        is_collection = type_ == "GeometryCollection" and isinstance(value.get("geometries"), list)
        _require(is_plain or is_collection, "must be a GeoJSON geometry")


@_asserted("geojson-feature")
def _check_feature(value: Any) -> None:
    if isinstance(value, dict):
        _require(value.get("type") == "Feature" and "geometry" in value, "must be a GeoJSON feature")


@_asserted("geojson-feature-collection")
def _check_feature_collection(value: Any) -> None:
    if isinstance(value, dict):
        is_collection = value.get("type") == "FeatureCollection" and isinstance(value.get("features"), list)
        _require(is_collection, "must be a GeoJSON feature collection")


def is_base64(text: str) -> bool:
    """Either alphabet, with or without padding and line breaks: whatever a decoder can take."""
    text = text.translate(_WHITESPACE)
    return _BASE64.fullmatch(text) is not None and len(text.rstrip("=")) % 4 != 1


def is_web_url(text: Any) -> bool:
    """An absolute http or https URL."""
    if not isinstance(text, str) or not _URI.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
