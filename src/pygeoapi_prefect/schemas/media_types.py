"""Media types as descriptions, requests and responses write them."""

import mimetypes
from pathlib import Path
from typing import Final
from urllib.parse import quote

JSON_MEDIA_TYPE: Final = "application/json"
BINARY: Final = "application/octet-stream"

# Without the system's tables, so that an output's media type does not depend on the host.
# Sources: IANA where registered; else pystac.MediaType, which is what STAC clients look for.
_MEDIA_TYPES: Final = mimetypes.MimeTypes()
for _suffix, _media_type in {
    ".cog": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".copc": "application/vnd.laszip+copc",
    ".fgb": "application/vnd.flatgeobuf",
    ".geojson": "application/geo+json",
    ".geoparquet": "application/vnd.apache.parquet",
    ".gml": "application/gml+xml",
    ".gpkg": "application/geopackage+sqlite3",
    ".jp2": "image/jp2",
    ".jsonld": "application/ld+json",
    ".kml": "application/vnd.google-earth.kml+xml",
    ".laz": "application/vnd.laszip",
    ".md": "text/markdown",
    ".nc": "application/netcdf",
    ".parquet": "application/vnd.apache.parquet",
    ".pmtiles": "application/vnd.pmtiles",
    ".tif": "image/tiff; application=geotiff",
    ".tiff": "image/tiff; application=geotiff",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zarr": "application/vnd.zarr",
}.items():
    _MEDIA_TYPES.add_type(_media_type, _suffix)


def essence(media_type: str) -> str:
    """The media type without its parameters, in lower case."""
    return media_type.partition(";")[0].strip().lower()


def is_json(media_type: str | None) -> bool:
    """Whether content of this media type is one JSON value."""
    name = essence(media_type or "")
    return name == JSON_MEDIA_TYPE or name.endswith("+json")


def media_type_of_file(path: Path) -> str:
    """
    The media type of a file, by its name alone.

    A ``.tif`` is taken for a GeoTIFF, ``.cog.tif`` for a cloud-optimized one; what is compressed is
    ``application/gzip`` or unknown.
    """
    name = path.name.lower()
    if name.endswith((".cog.tif", ".cog.tiff")):
        name = "x.cog"
    guessed, compression = _MEDIA_TYPES.guess_type(f"file:///{quote(name)}")
    if compression is not None:
        return "application/gzip" if compression == "gzip" else BINARY
    return guessed or BINARY
