"""What a raster file says of itself, in the words of STAC."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.handlers.stac_footprint import footprint
from pygeoapi_prefect.schemas.media_types import media_type_of_file

PROJECTION: Final = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
RASTER: Final = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
COG: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
GEOTIFF: Final = "image/tiff; application=geotiff"

# none that reads whatever a file names, as that of VRT does: what a process writes may have its client's words in it
_DRIVERS: Final = {
    ".asc": "AAIGrid",
    ".hgt": "SRTMHGT",
    ".img": "HFA",
    ".jp2": "JP2OpenJPEG",
    ".nc": "netCDF",
    ".tif": "GTiff",
    ".tiff": "GTiff",
}
_DATA_TYPES: Final = {"complex_int16": "cint16", "complex64": "cfloat32", "complex128": "cfloat64"}
_POINTS_PER_EDGE: Final = 20
_LARGEST_STATISTICS: Final = 1024
"""Of a larger raster, statistics are those of an overview with so many rows and columns."""


@dataclass(frozen=True, slots=True)
class RasterFacts:
    """
    Attributes:
        geometry: In EPSG:4326; None: the raster does not say where it is.
        bbox: West, south, east, north in degrees.
        projection: Fields of the projection extension.
        bands: As in STAC 1.1, with fields of the raster extension.
        moment: When it was taken or, where only that is told, made; None: it does not say.
        media_type: A cloud-optimized GeoTIFF is told apart.
    """

    geometry: dict[str, Any] | None
    bbox: list[float] | None
    projection: dict[str, Any]
    bands: list[dict[str, Any]]
    moment: datetime | None
    media_type: str
    extensions: tuple[str, ...] = field(default=(PROJECTION, RASTER))


def raster_facts(path: Path, *, statistics: bool = False) -> RasterFacts | None:
    """
    Read what a raster file says of itself.

    Args:
        path: The file.
        statistics: Whether its pixels are read for the statistics of each band.

    Returns:
        The facts; None where the file is no raster with a place on earth.

    Raises:
        ConfigurationError: rasterio is not installed.
    """
    driver = _DRIVERS.get(path.suffix.lower())
    if driver is None:
        return None
    rasterio = _rasterio()
    try:
        opened = rasterio.open(path, driver=driver, sharing=False)
    except rasterio.errors.RasterioIOError:
        return None
    with opened as raster:
        crs, transform = raster.crs, raster.transform
        if crs is None:
            points, crs = raster.gcps
            if crs is None or len(points) < 3:
                return None
            transform = rasterio.transform.from_gcps(points)
        geometry, bbox = _place(crs, transform, raster.width, raster.height)
        return RasterFacts(
            geometry=geometry,
            bbox=bbox,
            projection=_projection(crs, transform, raster.width, raster.height),
            bands=[_band(raster, crs, index, statistics=statistics) for index in raster.indexes],
            moment=_moment(raster),
            media_type=_media_type(raster, path),
        )


def _rasterio() -> Any:
    try:
        import rasterio
        import rasterio.crs
        import rasterio.errors
        import rasterio.transform
        import rasterio.warp
    except ImportError as error:
        raise ConfigurationError(
            "StacHandler reads rasters with rasterio, which is not installed where the job runs. Install it: "
            "pip install 'pygeoapi-prefect[stac]'"
        ) from error
    return rasterio


def _corners(transform: Any, width: int, height: int) -> list[tuple[float, float]]:
    return [transform @ corner for corner in ((0, 0), (0, height), (width, height), (width, 0))]


def _place(crs: Any, transform: Any, width: int, height: int) -> tuple[dict[str, Any] | None, list[float] | None]:
    corners = _corners(transform, width, height)
    outline = []
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        # edges of a projection are no straight lines in degrees, and even those must not be too long
        is_straight = crs.is_geographic and abs(x2 - x1) < 90
        points = 1 if is_straight else _POINTS_PER_EDGE
        outline += [(x1 + (x2 - x1) * step / points, y1 + (y2 - y1) * step / points) for step in range(points)]
    rasterio = _rasterio()
    longitudes, latitudes = rasterio.warp.transform(
        crs, rasterio.crs.CRS.from_epsg(4326), [x for x, _ in outline], [y for _, y in outline]
    )
    found = [
        (x, max(-90.0, min(90.0, y)))
        for x, y in zip(longitudes, latitudes, strict=True)
        if math.isfinite(x) and math.isfinite(y)
    ]
    return footprint(found) if len(found) >= 3 else (None, None)


def _projection(crs: Any, transform: Any, width: int, height: int) -> dict[str, Any]:
    corners = _corners(transform, width, height)
    authority = crs.to_authority()
    code: dict[str, Any] = (
        {"proj:code": ":".join(authority)} if authority else {"proj:code": None, "proj:wkt2": _wkt2(crs)}
    )
    horizontal, vertical = [x for x, _ in corners], [y for _, y in corners]
    return code | {
        "proj:shape": [height, width],
        "proj:transform": list(transform)[:6],
        "proj:bbox": [min(horizontal), min(vertical), max(horizontal), max(vertical)],
    }


def _wkt2(crs: Any) -> str:
    return str(crs.to_wkt(version="WKT2_2019"))


def _band(raster: Any, crs: Any, index: int, *, statistics: bool) -> dict[str, Any]:
    data_type = raster.dtypes[index - 1]
    band: dict[str, Any] = {
        "name": raster.descriptions[index - 1] or f"band{index}",
        "data_type": _DATA_TYPES.get(data_type, data_type),
    }
    nodata = raster.nodatavals[index - 1]
    if nodata is not None:
        band["nodata"] = _number(nodata)
    if unit := raster.units[index - 1]:
        band["unit"] = unit
    scale, offset = raster.scales[index - 1], raster.offsets[index - 1]
    if (scale, offset) != (1, 0):
        band |= {"raster:scale": scale, "raster:offset": offset}
    if (sampling := str(raster.tags().get("AREA_OR_POINT", "")).lower()) in ("area", "point"):
        band["raster:sampling"] = sampling
    if crs.is_projected and raster.crs is not None:
        metres = sum(raster.res) / 2 * crs.linear_units_factor[1]
        band["raster:spatial_resolution"] = round(metres, 6)
    if statistics and (numbers := _statistics(raster, index)):
        band["statistics"] = numbers
    return band


def _number(value: float) -> float | int | str:
    """JSON has no word for these. Source: STAC 1.1, data values."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if float(value).is_integer() else value


def _statistics(raster: Any, index: int) -> dict[str, float] | None:
    shape = tuple(min(side, _LARGEST_STATISTICS) for side in raster.shape)
    pixels = raster.read(index, out_shape=shape, masked=True)
    if pixels.dtype.kind == "c":
        return None
    values = pixels.compressed().astype("float64")
    values = values[abs(values) < math.inf]  # a NaN need not be the nodata value
    if values.size == 0:
        return None
    return {
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "mean": float(values.mean()),
        "stddev": float(values.std()),
        "valid_percent": 100 * values.size / pixels.size,
    }


def _moment(raster: Any) -> datetime | None:
    # an acquisition is what the raster shows, TIFF's own tag often only when the file was written
    for tags, name in [
        (raster.tags(ns="IMAGERY"), "ACQUISITIONDATETIME"),
        (raster.tags(), "ACQUISITIONDATETIME"),
        (raster.tags(), "TIFFTAG_DATETIME"),
    ]:
        if (found := _parsed(tags, name)) is not None:
            return found
    return None


def _parsed(tags: Mapping[str, str], name: str) -> datetime | None:
    """Neither tag has a time zone as a rule: UTC."""
    text = tags.get(name, "").strip()
    for layout in ("%Y:%m:%d %H:%M:%S", None):
        try:
            found = datetime.fromisoformat(text) if layout is None else datetime.strptime(text, layout)
        except ValueError:
            continue
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return None


def _media_type(raster: Any, path: Path) -> str:
    if raster.driver != "GTiff":
        return media_type_of_file(path)
    # GDAL's COG driver leaves this word; a tiled GeoTIFF with overviews may still have them in the wrong order
    return COG if raster.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG" else GEOTIFF
