"""A process that writes slope into the workspace of its user, as a GeoTIFF and a STAC Item."""

import json
import os
from datetime import UTC, datetime

import fsspec
import pystac
from pygeoapi.process.base import BaseProcessor

from terrain import (
    DEFAULT_DATA,
    GEOTIFF,
    cell_size_with_halo_m,
    encode_geotiff,
    lon_lat_bounds,
    read_elevation,
    slope_degrees,
)

ITEM_NAME, RASTER_NAME = "item.json", "slope.tif"
FLOWN = datetime(2000, 2, 11, tzinfo=UTC), datetime(2000, 2, 22, 23, 59, 59, tzinfo=UTC)

PROCESS_METADATA = {
    "id": "slope",
    "version": "1.0.0",
    "title": "Slope in a workspace",
    "description": "Computes slope from an elevation grid, and writes it into the workspace of the user.",
    "jobControlOptions": ["sync-execute", "async-execute", "dismiss"],
    "outputTransmission": ["value", "reference"],
    "inputs": {
        "bbox": {
            "title": "Bounding box",
            "description": "West, south, east, north in degrees (WGS 84 longitude, latitude). Default: the whole grid.",
            "minOccurs": 0,
            "schema": {"type": "array", "minItems": 4, "maxItems": 4, "items": {"type": "number"}},
        }
    },
    "outputs": {
        "stac_catalog": {
            "title": "STAC Item",
            "description": "A link to the item in the workspace; its raster stands beside it.",
            "schema": {"type": "object", "contentMediaType": "application/geo+json"},
        }
    },
}


class SlopeToWorkspace(BaseProcessor):
    """The handler has put bucket and credentials of the workspace into the environment of the job."""

    def __init__(self, processor_def):
        super().__init__(processor_def, PROCESS_METADATA)

    def set_job_id(self, job_id):
        self.job_id = job_id

    def execute(self, data, outputs=None):
        elevation, cells, profile = read_elevation(DEFAULT_DATA, data.get("bbox"))
        degrees = slope_degrees(elevation, *cell_size_with_halo_m(elevation, cells, profile))[cells]
        folder = f"s3://{os.environ['WORKSPACE_BUCKET']}/{self.job_id}"
        with fsspec.open(f"{folder}/{RASTER_NAME}", "wb") as file:
            file.write(encode_geotiff(degrees, "slope", profile))
        with fsspec.open(f"{folder}/{ITEM_NAME}", "w") as file:
            json.dump(stac_item(self.job_id, lon_lat_bounds(profile)), file)
        return "application/json", {"href": f"{folder}/{ITEM_NAME}", "type": "application/geo+json"}


def stac_item(item_id, bounds):
    """The STAC Item of the raster, as JSON has it; *bounds* are west, south, east, north in degrees."""
    west, south, east, north = bounds
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = pystac.Item(
        item_id,
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=bounds,
        datetime=None,
        start_datetime=FLOWN[0],
        end_datetime=FLOWN[1],
        properties={"title": "Slope"},
    )
    item.add_asset("slope", pystac.Asset(f"./{RASTER_NAME}", media_type=GEOTIFF, roles=["data"]))
    return item.to_dict(include_self_link=False)
