"""
Make ``jacksboro_dem.tif`` from the elevation grid that matplotlib ships as sample data.

Run it only to check or repeat the conversion; the GeoTIFF is part of the example::

    pip download --no-deps matplotlib==3.11.2
    python make_dem.py matplotlib-3.11.2-*.whl

Where the grid comes from, and what is not known about it, is in ``PROVENANCE.md``.
"""

import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

GRID_IN_WHEEL = "matplotlib/mpl-data/sample_data/jacksboro_fault_dem.npz"
GRID_SHA256 = "d493f50a33e82a4420494c54d1fca1539d177bdc27ab190bc5fe6e92f62fb637"
CELLS_PER_DEGREE = 1200  # 3 arc seconds
NODATA = -32768  # what SRTM marks voids with; this grid has none
TARGET = Path(__file__).with_name("jacksboro_dem.tif")


def main(wheel: str) -> None:
    """Convert the grid inside *wheel*; no value is changed, resampled or rounded."""
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read(GRID_IN_WHEEL)
    if hashlib.sha256(packed).hexdigest() != GRID_SHA256:
        sys.exit(f"{GRID_IN_WHEEL} is not the grid this script was written for.")

    with np.load(io.BytesIO(packed)) as grid:
        elevation = grid["elevation"]
        west, east, north, wrong_south = (float(grid[key]) for key in ("xmin", "xmax", "ymax", "ymin"))

    # "ymax" is the north edge, but "ymin" lies north of it, by exactly the height of the grid: whoever wrote the
    # file added the height where it had to be subtracted. Only "ymax" as the north edge puts the highest cell on
    # Cross Mountain and the towns into their valleys (see PROVENANCE.md), so the south edge is computed here.
    rows, columns = elevation.shape
    np.testing.assert_allclose((wrong_south - north) * CELLS_PER_DEGREE, rows)
    # The numbers are outer edges, not cell centres; the centres fall on whole multiples of 3 arc seconds, where
    # SRTM has its posts.
    np.testing.assert_allclose((east - west) * CELLS_PER_DEGREE, columns)

    with rasterio.open(
        TARGET,
        "w",
        driver="GTiff",
        dtype="int16",
        count=1,
        height=rows,
        width=columns,
        crs="EPSG:4326",
        transform=from_origin(west, north, 1 / CELLS_PER_DEGREE, 1 / CELLS_PER_DEGREE),
        nodata=NODATA,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        predictor=2,
        zlevel=9,
    ) as target:
        target.write(elevation, 1)
        target.set_band_description(1, "elevation")
        target.set_band_unit(1, "metre")
        target.update_tags(AREA_OR_POINT="Area", TIFFTAG_IMAGEDESCRIPTION="SRTM elevation, Jacksboro, Tennessee, USA")

    print(f"{TARGET.name}  {TARGET.stat().st_size} bytes  sha256 {hashlib.sha256(TARGET.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main(sys.argv[1])
