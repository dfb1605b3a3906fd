"""Rules for the content of a raster."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, PositiveInt

from pygeoapi_prefect.handlers.options import Range
from pygeoapi_prefect.settings.section import Section

if TYPE_CHECKING:
    from rasterio import DatasetReader

_LON_LAT = "OGC:CRS84"
_ROUNDING_DEGREES = 1e-9

Bounds = tuple[float, float, float, float]
"""West, south, east, north in degrees (WGS 84 longitude, latitude)."""


def _checked_bounds(bounds: Bounds) -> Bounds:
    west, south, east, north = bounds
    if west >= east or south >= north:
        raise ValueError("must be west, south, east, north in degrees, with west < east and south < north")
    return bounds


class RasterRules(Section):
    """
    Rules for a raster.

    Attributes:
        bands: How many it has.
        width: Range of its width in cells.
        height: Range of its height in cells.
        crs: Its coordinate reference system, in any form that GDAL reads, such as ``EPSG:4326``.
        bounds: What it must lie within: west, south, east, north in degrees (WGS 84).
        max_nodata_share: Largest share of cells without data, of all bands together, 0 to 1. NaN is no data.
        values: Range that all cells with data lie in.
    """

    bands: PositiveInt | None = None
    width: Range | None = None
    height: Range | None = None
    crs: str | None = None
    bounds: Annotated[Bounds, AfterValidator(_checked_bounds)] | None = None
    max_nodata_share: float | None = Field(default=None, ge=0, le=1)
    values: Range | None = None


def raster_violations(dataset: "DatasetReader", rules: RasterRules) -> Iterator[str]:
    """
    What a raster lacks, as ends of sentences about it.

    Its cells are read block by block, and only where a rule is about them.

    Raises:
        RasterioError: They cannot be read.
    """
    if rules.bands is not None and dataset.count != rules.bands:
        yield f"has {dataset.count} bands, not {rules.bands}"
    for name, cells, limits in (("width", dataset.width, rules.width), ("height", dataset.height, rules.height)):
        if limits is not None and not limits.holds(cells):
            yield f"has a {name} of {cells} cells, which is not {limits}"
    yield from _place_violations(dataset, rules)
    if rules.max_nodata_share is None and rules.values is None:
        return
    cells = _Cells.of(dataset)
    if rules.max_nodata_share is not None and cells.nodata_share > rules.max_nodata_share:
        yield f"has no data in {cells.nodata_share:.1%} of its cells, more than {rules.max_nodata_share:.1%}"
    if rules.values is not None:
        for word, value in (("smallest", cells.least), ("greatest", cells.greatest)):
            if value is not None and not rules.values.holds(value):
                yield f"has a {word} value of {value:.6g}, which is not {rules.values}"


def _place_violations(dataset: "DatasetReader", rules: RasterRules) -> Iterator[str]:
    from rasterio.crs import CRS
    from rasterio.warp import transform_bounds

    if rules.crs is None and rules.bounds is None:
        return
    if dataset.crs is None:
        yield "has no coordinate reference system"
        return
    if rules.crs is not None and dataset.crs != CRS.from_user_input(rules.crs):
        yield f"does not have the coordinate reference system {rules.crs}"
    if rules.bounds is not None:
        west, south, east, north = rules.bounds
        own = transform_bounds(dataset.crs, _LON_LAT, *dataset.bounds)
        outside = (west - own[0], south - own[1], own[2] - east, own[3] - north)
        if max(outside) > _ROUNDING_DEGREES:
            yield "lies outside of the bounds " + ", ".join(f"{side:.9g}" for side in rules.bounds)


@dataclass
class _Cells:
    """
    What the cells of a raster come to.

    Attributes:
        nodata_share: 0 to 1.
        least: None where no cell has data.
        greatest: Likewise.
    """

    nodata_share: float
    least: float | None
    greatest: float | None

    @classmethod
    def of(cls, dataset: "DatasetReader") -> "_Cells":
        import numpy as np

        with_data = 0
        least: Any = None
        greatest: Any = None
        for band in dataset.indexes:
            for _, window in dataset.block_windows(band):
                valid = np.ma.masked_invalid(dataset.read(band, window=window, masked=True)).compressed()
                if valid.size:
                    with_data += valid.size
                    least = valid.min() if least is None else min(least, valid.min())
                    greatest = valid.max() if greatest is None else max(greatest, valid.max())
        share = 1 - with_data / (dataset.count * dataset.width * dataset.height)
        return cls(share, None if least is None else float(least), None if greatest is None else float(greatest))
