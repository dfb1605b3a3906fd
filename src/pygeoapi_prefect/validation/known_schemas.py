"""
The published schemas that descriptions refer to, as copies: bounding boxes, links, formats and GeoJSON.

Sources: OGC 18-062r2 (``bbox.yaml``, ``link.yaml``, ``format.yaml``); RFC 7946 and https://geojson.org/schema/, whose
names OGC API - Features repeats as ``geometryGeoJSON.yaml`` and so on.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

from referencing import Registry
from referencing.jsonschema import DRAFT202012

_BASE: Final = "urn:x-pygeoapi-prefect:schemas:"
_HOSTS: Final = frozenset({"schemas.opengis.net", "geojson.org", "www.geojson.org", "raw.githubusercontent.com"})
_OGC_REPOSITORIES: Final = "/opengeospatial/"
_GEOJSON_TYPES: Final = (
    *("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"),
    *("GeometryCollection", "Geometry", "Feature", "FeatureCollection", "GeoJSON"),
)
_NAMES: Final = {
    "bbox": "processes#/$defs/bbox",
    "link": "processes#/$defs/link",
    "format": "processes#/$defs/format",
    **{name.lower(): f"geojson#/$defs/{name}" for name in _GEOJSON_TYPES},
    **{f"{name.lower()}geojson": f"geojson#/$defs/{name}" for name in _GEOJSON_TYPES},
}
"""By the name of the published file, or of the component in a bundle, in lower case."""


def known_reference(reference: str) -> str | None:
    """
    Where the copy of a published schema is, as a ``$ref`` into :func:`known_schemas`; None for any other.

    Args:
        reference: A ``$ref`` to another document: the file itself, or a component of OGC's bundles.
    """
    try:
        url = urlsplit(reference)
    except ValueError:
        return None
    if url.scheme not in ("http", "https") or url.hostname not in _HOSTS:
        return None
    if url.hostname == "raw.githubusercontent.com" and not url.path.startswith(_OGC_REPOSITORIES):
        return None
    if url.fragment:
        pointer, _, name = url.fragment.rpartition("/")
        if pointer != "/components/schemas":
            return None
    else:
        name = url.path.rpartition("/")[2].removesuffix(".yaml").removesuffix(".json")
    found = _NAMES.get(name.lower())
    return found and _BASE + found


@cache
def known_schemas() -> Registry[Any]:
    """The copies. What is not among them cannot be retrieved."""
    folder = files(__package__) / "known"
    return Registry().with_resources(
        (_BASE + name, DRAFT202012.create_resource(json.loads((folder / f"{name}.json").read_text())))
        for name in ("processes", "geojson")
    )
