"""
Slope and hillshade of an elevation grid, as a plain pygeoapi process.

Nothing in here knows which process manager runs it. A request for the slopes of a valley, both outputs::

    curl -X POST http://127.0.0.1:5000/processes/terrain/execution \\
         -H 'Content-Type: application/json' \\
         -d '{"inputs": {"product": "slope", "bbox": [-84.30, 36.16, -84.16, 36.25]}}'
"""

import base64
import itertools
import math
from http import HTTPStatus
from pathlib import Path

import numpy as np
import rasterio
from pygeoapi.process.base import BaseProcessor, ProcessorExecuteError
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.transform import array_bounds, from_origin
from rasterio.warp import transform_bounds
from rasterio.windows import Window

GEOTIFF = "image/tiff; application=geotiff"
LON_LAT = "OGC:CRS84"
DEFAULT_DATA = Path(__file__).parent / "data" / "jacksboro_dem.tif"
UNITS = {"slope": "degree", "hillshade": "1"}
OUTPUTS = ("statistics", "raster")
OUTPUT_NODATA = -9999.0
SLOPE_CLASS_LIMITS = (0, 2, 5, 10, 15, 30, 45, 90)
PERCENTILES = (5, 25, 50, 75, 95)

# WGS 84. Source: NIMA TR8350.2.
SEMI_MAJOR_AXIS_M = 6378137.0
ECCENTRICITY_SQUARED = 6.69437999014e-3

PROCESS_METADATA = {
    "id": "terrain",
    "version": "1.0.0",
    "title": "Slope and hillshade",
    "description": (
        "Computes slope or hillshade from an elevation grid by Horn's method, with statistics and the area of each "
        "slope class. A cell counts when its centre lies within the bounding box. The outermost cells of the grid and "
        "the neighbours of cells without data have no value."
    ),
    "keywords": ["terrain", "elevation", "slope", "hillshade"],
    "jobControlOptions": ["sync-execute", "async-execute", "dismiss"],
    "outputTransmission": ["value", "reference"],
    "links": [
        {
            "type": "text/html",
            "rel": "about",
            "title": "Horn, B. K. P. (1981): Hill shading and the reflectance map",
            "href": "https://doi.org/10.1109/PROC.1981.11918",
            "hreflang": "en",
        }
    ],
    "inputs": {
        "bbox": {
            "title": "Bounding box",
            "description": "West, south, east, north in degrees (WGS 84 longitude, latitude). Default: the whole grid.",
            "minOccurs": 0,
            "maxOccurs": 1,
            "schema": {"type": "array", "minItems": 4, "maxItems": 4, "items": {"type": "number"}},
        },
        "product": {
            "title": "Product",
            "description": "Slope in degrees (0 to 90), or hillshade as brightness (0 to 255).",
            "minOccurs": 0,
            "maxOccurs": 1,
            "schema": {"type": "string", "enum": ["slope", "hillshade"], "default": "slope"},
        },
        "azimuth": {
            "title": "Azimuth of the light",
            "description": "Degrees clockwise from north; only for hillshade.",
            "minOccurs": 0,
            "maxOccurs": 1,
            "schema": {"type": "number", "minimum": 0, "maximum": 360, "default": 315},
        },
        "altitude": {
            "title": "Altitude of the light",
            "description": "Degrees above the horizon; only for hillshade.",
            "minOccurs": 0,
            "maxOccurs": 1,
            "schema": {"type": "number", "minimum": 0, "maximum": 90, "default": 45},
        },
    },
    "outputs": {
        "statistics": {
            "title": "Statistics",
            "description": "Minimum, maximum, mean, standard deviation and percentiles of the product; area by slope.",
            "schema": {"type": "object", "contentMediaType": "application/json"},
        },
        "raster": {
            "title": "Raster",
            "description": "The product as GeoTIFF, float32, in the CRS of the elevation grid.",
            "schema": {"type": "string", "contentEncoding": "binary", "contentMediaType": GEOTIFF},
        },
    },
    "example": {"inputs": {"product": "slope", "bbox": [-84.30, 36.16, -84.16, 36.25]}},
}


class InvalidInputError(ProcessorExecuteError):
    """A fault of the request, not of the server; the message names the input."""

    http_status_code = HTTPStatus.BAD_REQUEST
    ogc_exception_code = "InvalidParameterValue"


class TerrainProcessor(BaseProcessor):
    """
    The process ``terrain``.

    ``processor.data`` in pygeoapi's configuration names the elevation grid: a north-up raster that rasterio can
    open, heights in metres in band 1, in a geographic or a projected CRS. Default: the grid beside this module.
    """

    def __init__(self, processor_def):
        super().__init__(processor_def, PROCESS_METADATA)
        self.supports_outputs = True
        self.data = processor_def.get("data", DEFAULT_DATA)

    def execute(self, data, outputs=None):
        """
        Compute the product.

        Args:
            data: The inputs by name.
            outputs: Names of the outputs wanted, as a list or as the keys of a dict; all when empty.

        Returns:
            Media type and value. One output alone comes as itself: the statistics as dict, the raster as bytes.
            Both come as a dict, with the raster as an OGC qualified value in base64.

        Raises:
            InvalidInputError: An input or the name of an output is wrong.
            ProcessorExecuteError: The elevation grid cannot be read.
        """
        # Managers that track progress put this method on the instance; pygeoapi's own do not.
        report_progress = getattr(self, "report_progress", None) or (lambda percent, message: None)

        wanted = _check_outputs(outputs)
        product = _check_product(data.get("product"))
        azimuth = _check_number(data, "azimuth")
        altitude = _check_number(data, "altitude")
        bbox = _check_bbox(data.get("bbox"))

        report_progress(5, "Reading elevation")
        try:
            elevation, cells, profile = read_elevation(self.data, bbox)
        except RasterioError as error:
            # The path is for the log; the client must not learn it.
            raise ProcessorExecuteError(
                f"Elevation grid {self.data} cannot be read: {error}", user_msg="The elevation grid cannot be read."
            ) from error
        dx_m, dy_m = cell_size_with_halo_m(elevation, cells, profile)

        report_progress(20, "Computing slope")
        slope = slope_degrees(elevation, dx_m, dy_m)[cells]
        values = slope
        if product == "hillshade":
            report_progress(50, "Computing hillshade")
            values = hillshade(elevation, dx_m, dy_m, azimuth, altitude)[cells]
        if np.isnan(values).all():
            raise InvalidInputError(user_msg="Input 'bbox' covers only cells without a value.")

        if wanted == {"raster"}:
            report_progress(90, "Writing GeoTIFF")
            return GEOTIFF, encode_geotiff(values, product, profile)
        report_progress(70, "Computing statistics")
        statistics = {
            "product": product,
            "unit": UNITS[product],
            "bbox": lon_lat_bounds(profile),
            **describe(values),
            **slope_areas(slope, (dx_m * dy_m)[cells[0]]),
        }
        if wanted == {"statistics"}:
            return "application/json", statistics
        report_progress(90, "Writing GeoTIFF")
        raster = {
            "value": base64.b64encode(encode_geotiff(values, product, profile)).decode("ascii"),
            "encoding": "base64",
            "mediaType": GEOTIFF,
        }
        return "application/json", {"statistics": statistics, "raster": raster}

    def __repr__(self):
        return f"<TerrainProcessor> {self.name}"


# The computation -----------------------------------------------------------------------------------------------------


def gradient(elevation, dx_m, dy_m):
    """
    Rise per metre towards east and towards north, by Horn's 3 × 3 weights.

    Args:
        elevation: Metres, rows from north to south; NaN where there is no data.
        dx_m: Width of a cell in metres: a number, or one for each row with shape (rows, 1).
        dy_m: Height of a cell in metres, likewise.

    Returns:
        Two arrays of the shape of *elevation*, NaN at its border and wherever one of the nine cells is NaN.
    """
    # A NaN in any of the nine cells must spread, also one in the centre, which Horn's weights leave out.
    padded = np.pad(np.asarray(elevation, dtype="float64"), 1, constant_values=np.nan)
    rows, columns = np.shape(elevation)
    north_west, north, north_east, west, centre, east, south_west, south, south_east = (
        padded[row : row + rows, column : column + columns] for row in range(3) for column in range(3)
    )
    hole = centre * 0 + (north + south + east + west) * 0
    to_east = (north_east + 2 * east + south_east) - (north_west + 2 * west + south_west)
    to_north = (north_west + 2 * north + north_east) - (south_west + 2 * south + south_east)
    return to_east / (8 * dx_m) + hole, to_north / (8 * dy_m) + hole


def slope_degrees(elevation, dx_m, dy_m):
    """Angle of the ground against the horizontal, 0 to 90 degrees; arguments and NaN as in :func:`gradient`."""
    east, north = gradient(elevation, dx_m, dy_m)
    return np.degrees(np.arctan(np.hypot(east, north)))


def hillshade(elevation, dx_m, dy_m, azimuth, altitude):
    """
    Brightness of a matt surface under parallel light, 0 to 255; without cast shadows.

    Args:
        elevation: See :func:`gradient`, also for *dx_m*, *dy_m* and NaN.
        azimuth: Where the light comes from, degrees clockwise from north.
        altitude: How high it stands, degrees above the horizon.
    """
    east, north = gradient(elevation, dx_m, dy_m)
    azimuth, altitude = math.radians(azimuth), math.radians(altitude)
    # The cosine between the light and the normal of the ground, (-east, -north, 1).
    towards_light = (
        math.sin(altitude) - math.cos(altitude) * (east * math.sin(azimuth) + north * math.cos(azimuth))
    ) / np.sqrt(1 + east**2 + north**2)
    return 255 * np.clip(towards_light, 0, 1)


def metres_per_degree(latitude):
    """Length of one degree of longitude and one of latitude at *latitude* (degrees, WGS 84), in metres."""
    phi = np.radians(latitude)
    root = np.sqrt(1 - ECCENTRICITY_SQUARED * np.sin(phi) ** 2)
    prime_vertical_m = SEMI_MAJOR_AXIS_M / root
    meridional_m = SEMI_MAJOR_AXIS_M * (1 - ECCENTRICITY_SQUARED) / root**3
    return np.radians(prime_vertical_m * np.cos(phi)), np.radians(meridional_m)


def cell_size_m(crs, transform, rows):
    """Width and height of the cells in metres, one for each row, each with shape (rows, 1)."""
    if crs.is_geographic:
        latitude = transform.f + transform.e * (np.arange(rows) + 0.5)
        lon_m, lat_m = metres_per_degree(latitude)
    else:
        metres_per_unit = crs.linear_units_factor[1]
        lon_m = lat_m = np.full(rows, metres_per_unit)
    return (transform.a * lon_m)[:, np.newaxis], (-transform.e * lat_m)[:, np.newaxis]


def cell_size_with_halo_m(elevation, cells, profile):
    """Width and height of the cells that :func:`read_elevation` read, as :func:`cell_size_m`."""
    rows, columns = cells
    halo_transform = _moved(profile["transform"], -columns.start, -rows.start)
    return cell_size_m(profile["crs"], halo_transform, len(elevation))


def describe(values):
    """Statistics of the cells that are not NaN, of which there must be one."""
    valid = values[~np.isnan(values)]
    return {
        "cells": int(valid.size),
        "nodata_cells": int(values.size - valid.size),
        "min": float(valid.min()),
        "max": float(valid.max()),
        "mean": float(valid.mean()),
        "std": float(valid.std()),
        "percentiles": {
            str(percent): float(value)
            for percent, value in zip(PERCENTILES, np.percentile(valid, PERCENTILES), strict=True)
        },
    }


def slope_areas(slope, cell_area_m2):
    """Area in km² of all cells with a slope, and of each slope class; a class holds its lower limit, not its upper."""
    area_km2 = np.where(np.isnan(slope), 0, cell_area_m2 / 1e6)
    limits = itertools.pairwise(SLOPE_CLASS_LIMITS)
    return {
        "area_km2": float(area_km2.sum()),
        "slope_classes": [
            {
                "from_degrees": lower,
                "to_degrees": upper,
                "area_km2": float(area_km2[(slope >= lower) & (slope < upper)].sum()),
            }
            for lower, upper in limits
        ],
    }


# Reading and writing -------------------------------------------------------------------------------------------------


def read_elevation(path, bbox):
    """
    Read the cells whose centres lie in *bbox*, with one more row and column on each side where the grid has them.

    The extra cells let a part of the grid have the same slopes as the whole. Of two boxes that share a side, no
    cell is in both: a box holds the centres on its west and north sides, not those on its east and south sides.
    On a projected grid the box is the rectangle of grid axes around *bbox*, which is a little larger.

    Args:
        path: A raster.
        bbox: West, south, east, north in degrees, or None for the whole grid.

    Returns:
        The elevation with the extra cells (float64, NaN without data), the slices that cut them off again, and
        ``crs``, ``transform``, ``width`` and ``height`` of what remains.
    """
    with rasterio.open(path) as grid:
        transform = grid.transform
        if grid.crs is None or transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
            raise ProcessorExecuteError(
                f"Elevation grid {path} must have a CRS and be north up.", user_msg="The elevation grid is not usable."
            )
        top, bottom, left, right = 0, grid.height, 0, grid.width
        if bbox is not None:
            west, south, east, north = bbox if grid.crs.is_geographic else transform_bounds(LON_LAT, grid.crs, *bbox)
            left = max(left, _first_centre_from(west, transform.c, transform.a))
            right = min(right, _first_centre_from(east, transform.c, transform.a))
            top = max(top, _first_centre_from(north, transform.f, transform.e))
            bottom = min(bottom, _first_centre_from(south, transform.f, transform.e))
        if left >= right or top >= bottom:
            extent = ", ".join(f"{side:.6f}" for side in transform_bounds(grid.crs, LON_LAT, *grid.bounds))
            raise InvalidInputError(
                user_msg=f"Input 'bbox' holds no cell centre of the grid, whose extent is [{extent}]."
            )
        halo_top, halo_left = max(top - 1, 0), max(left - 1, 0)
        halo_bottom, halo_right = min(bottom + 1, grid.height), min(right + 1, grid.width)
        window = Window.from_slices((halo_top, halo_bottom), (halo_left, halo_right))
        elevation = grid.read(1, window=window, masked=True).astype("float64").filled(np.nan)
        cells = np.s_[top - halo_top : bottom - halo_top, left - halo_left : right - halo_left]
        profile = {
            "crs": grid.crs,
            "transform": _moved(transform, left, top),
            "width": right - left,
            "height": bottom - top,
        }
    return elevation, cells, profile


def _moved(transform, columns, rows):
    return from_origin(transform.c + columns * transform.a, transform.f + rows * transform.e, transform.a, -transform.e)


def _first_centre_from(side, origin, step):
    # Round coordinates often hit a centre exactly; without rounding the last bit would decide whether it counts.
    return math.ceil(round((side - origin) / step - 0.5, 6))


def encode_geotiff(values, product, profile):
    """The bytes of a compressed, tiled GeoTIFF of *values*; NaN becomes the nodata value."""
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            dtype="float32",
            count=1,
            nodata=OUTPUT_NODATA,
            tiled=True,
            blockxsize=256,
            blockysize=256,
            compress="deflate",
            predictor=3,
            **profile,
        ) as target:
            target.write(np.where(np.isnan(values), OUTPUT_NODATA, values).astype("float32"), 1)
            target.set_band_description(1, product)
            target.set_band_unit(1, UNITS[product])
        return memory.read()


def lon_lat_bounds(profile):
    """West, south, east and north of a grid in degrees (WGS 84)."""
    bounds = array_bounds(profile["height"], profile["width"], profile["transform"])
    return [round(side, 9) for side in transform_bounds(profile["crs"], LON_LAT, *bounds)]


# The request ---------------------------------------------------------------------------------------------------------


def _check_outputs(outputs):
    if outputs and not (isinstance(outputs, (list, dict)) and all(isinstance(name, str) for name in outputs)):
        raise InvalidInputError(user_msg="'outputs' must name outputs, as the keys of an object or as a list.")
    wanted = set(outputs or OUTPUTS)
    for name in sorted(wanted - set(OUTPUTS)):
        raise InvalidInputError(user_msg=f"Output '{name}' is unknown; there are {' and '.join(OUTPUTS)}.")
    return wanted


def _check_product(product):
    schema = PROCESS_METADATA["inputs"]["product"]["schema"]
    if product is None:
        return schema["default"]
    if product not in schema["enum"]:
        raise InvalidInputError(user_msg=f"Input 'product' must be one of {', '.join(schema['enum'])}.")
    return product


def _check_number(data, name):
    schema = PROCESS_METADATA["inputs"][name]["schema"]
    value = data.get(name)
    if value is None:
        return schema["default"]
    if not _is_number(value) or not schema["minimum"] <= value <= schema["maximum"]:
        raise InvalidInputError(
            user_msg=f"Input '{name}' must be a number from {schema['minimum']} to {schema['maximum']}."
        )
    return value


def _check_bbox(bbox):
    if bbox is None:
        return None
    if not isinstance(bbox, (list, tuple)) or len(bbox) != 4 or not all(_is_number(side) for side in bbox):
        raise InvalidInputError(user_msg="Input 'bbox' must be four numbers: west, south, east, north.")
    west, south, east, north = bbox
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise InvalidInputError(user_msg="Input 'bbox' must be in degrees: longitude -180 to 180, latitude -90 to 90.")
    if west >= east or south >= north:
        raise InvalidInputError(
            user_msg="Input 'bbox' must have west < east and south < north; crossing the antimeridian is not supported."
        )
    return bbox


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
