"""
Slope of an elevation grid as a STAC Item and a GeoTIFF: a typed Prefect flow, which is a process as it is.

The computation is that of :mod:`terrain`. A request, answered with the item and, in base64, the raster::

    curl -X POST http://127.0.0.1:5000/processes/slope-item/execution \\
         -H 'Content-Type: application/json' \\
         -d '{"inputs": {"bbox": [-84.30, 36.16, -84.16, 36.25]}, "response": "document"}'
"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import numpy as np
import pystac
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import State
from pydantic import Field
from pystac.extensions.projection import ProjectionExtension
from pystac.utils import datetime_to_str
from rasterio.errors import RasterioError
from rasterio.transform import array_bounds

from pygeoapi_prefect import report_progress
from pygeoapi_prefect.process.types import BBox, MediaType
from terrain import (
    DEFAULT_DATA,
    GEOTIFF,
    OUTPUT_NODATA,
    UNITS,
    InvalidInputError,
    cell_size_with_halo_m,
    describe,
    encode_geotiff,
    lon_lat_bounds,
    read_elevation,
    slope_degrees,
)

RASTER_NAME = "slope.tif"
# When the ground was measured. Source: data/PROVENANCE.md.
FLOWN_FROM = datetime(2000, 2, 11, tzinfo=UTC)
FLOWN_TO = datetime(2000, 2, 22, 23, 59, 59, tzinfo=UTC)


class Slope(NamedTuple):
    """
    Slope in a piece of the elevation grid.

    Attributes:
        degrees: 0 to 90, rows from north to south; NaN where there is no value.
        profile: ``crs``, ``transform``, ``width`` and ``height`` of the piece.
    """

    degrees: np.ndarray
    profile: dict[str, Any]


class SlopeItem(TypedDict):
    """
    What the flow returns.

    Attributes:
        item: A STAC Item of the raster. Its asset is the output ``raster``, by the name slope.tif beside the item.
        raster: Slope in degrees as GeoTIFF, float32, in the CRS of the elevation grid.
    """

    item: pystac.Item
    raster: Annotated[Path, MediaType(GEOTIFF)]


def _is_unreadable(task_: Any, task_run: Any, state: State) -> bool:
    """A grid on a network drive may be back in a moment; a wrong input stays wrong."""
    return isinstance(state.result(raise_on_failure=False), RasterioError)


# Without a cache policy Prefect would hash whole arrays to find out whether it has seen them before.
@task(retries=1, retry_delay_seconds=1, retry_condition_fn=_is_unreadable, cache_policy=NO_CACHE)
def compute_slope(grid: Path, bbox: BBox | None) -> Slope:
    """Read the elevation in *bbox* (None: everywhere) and compute its slope by Horn's method."""
    elevation, cells, profile = read_elevation(grid, bbox and (bbox.west, bbox.south, bbox.east, bbox.north))
    dx_m, dy_m = cell_size_with_halo_m(elevation, cells, profile)
    degrees = slope_degrees(elevation, dx_m, dy_m)[cells]
    if np.isnan(degrees).all():
        raise InvalidInputError(user_msg="Input 'bbox' covers only cells without a value.")
    return Slope(degrees, profile)


@task(cache_policy=NO_CACHE)
def write_item(slope: Slope, folder: Path) -> SlopeItem:
    """Write the raster to *folder*, and describe it as a STAC 1.1 Item."""
    raster = folder / RASTER_NAME
    raster.write_bytes(encode_geotiff(slope.degrees, "slope", slope.profile))
    west, south, east, north = bounds = lon_lat_bounds(slope.profile)
    item = pystac.Item(
        id="slope_" + "_".join(f"{side:.5f}" for side in bounds),
        geometry={
            "type": "Polygon",
            "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
        },
        bbox=bounds,
        datetime=None,
        start_datetime=FLOWN_FROM,
        end_datetime=FLOWN_TO,
        properties={"title": "Slope", "gsd": 90, "created": datetime_to_str(datetime.now(UTC))},
    )
    height, width, transform = slope.profile["height"], slope.profile["width"], slope.profile["transform"]
    ProjectionExtension.ext(item, add_if_missing=True).apply(
        code=slope.profile["crs"].to_string(),
        bbox=list(array_bounds(height, width, transform)),
        shape=[height, width],
        transform=list(transform)[:6],
    )
    item.add_asset(
        "raster",
        pystac.Asset(
            # relative: the raster is an output of the same job, and only its client knows where it keeps the two
            href=f"./{RASTER_NAME}",
            title="Slope in degrees",
            media_type=GEOTIFF,
            roles=["data"],
            extra_fields={"bands": [_band(slope.degrees)]},
        ),
    )
    return {"item": item, "raster": raster}


def _band(degrees: np.ndarray) -> dict[str, Any]:
    """Source: STAC 1.1, common metadata, bands and data values."""
    numbers = describe(degrees)
    return {
        "name": "slope",
        "data_type": "float32",
        "nodata": OUTPUT_NODATA,
        "unit": UNITS["slope"],
        "statistics": {
            "minimum": numbers["min"],
            "maximum": numbers["max"],
            "mean": numbers["mean"],
            "stddev": numbers["std"],
            "count": numbers["cells"],
            "valid_percent": 100 * numbers["cells"] / degrees.size,
        },
    }


@flow(retries=1, retry_delay_seconds=1)
def slope_item(
    bbox: Annotated[
        BBox | None,
        Field(title="Bounding box", description="The cells whose centres lie in it. Default: the whole grid."),
    ] = None,
) -> SlopeItem:
    """
    Slope as a STAC Item.

    Computes slope from an elevation grid by Horn's method. The answer is a GeoTIFF and a STAC Item that describes it:
    where it lies, when the ground was measured, and the statistics of its one band.
    """
    report_progress(10, "Computing slope")
    slope = compute_slope(DEFAULT_DATA, bbox)
    report_progress(60, "Writing GeoTIFF and STAC Item")
    # TMPDIR is the job's scratch folder, which ends with the job; the raster is stored before
    return write_item(slope, Path(tempfile.mkdtemp()))
