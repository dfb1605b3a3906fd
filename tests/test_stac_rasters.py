"""Laws of footprints and of what is read from rasters."""

import datetime
import itertools

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import rasterio.vrt
from rasterio.transform import from_bounds, from_origin

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.handlers.stac_footprint import footprint
from pygeoapi_prefect.handlers.stac_rasters import COG, GEOTIFF, raster_facts


def box(west, south, east, north):
    return [(west, south), (east, south), (east, north), (west, north)]


def closed(ring):
    return [[*map(list, ring), list(ring[0])]]


def write(path, *, crs="EPSG:4326", transform=None, tags=None, imagery=None, data=None, **profile):
    data = np.arange(6, dtype="int16").reshape(1, 2, 3) if data is None else data
    profile = {"driver": "GTiff", "dtype": data.dtype, "count": data.shape[0], **profile}
    with rasterio.open(
        path,
        "w",
        height=data.shape[1],
        width=data.shape[2],
        crs=crs,
        transform=transform or from_origin(8, 48, 1, 1),
        **profile,
    ) as raster:
        raster.write(data)
        raster.update_tags(**(tags or {}))
        if imagery:
            raster.update_tags(ns="IMAGERY", **imagery)
    return path


class TestFootprint:
    def test_box(self):
        """An outline is a polygon, counter-clockwise and closed."""
        geometry, bbox = footprint(list(reversed(box(8, 46, 11, 48))))
        assert bbox == [8, 46, 11, 48]
        assert geometry["type"] == "Polygon"
        ring = geometry["coordinates"][0]
        assert ring[0] == ring[-1]
        assert sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in itertools.pairwise(ring)) > 0

    @pytest.mark.parametrize("east", [-170, 190])
    def test_antimeridian(self, east):
        """What crosses the antimeridian is cut there, and its box begins east of where it ends."""
        geometry, bbox = footprint(box(170, -20, east, -10))
        assert bbox == [170, -20, -170, -10]
        assert geometry["type"] == "MultiPolygon"
        sides = sorted((min(x for x, _ in ring), max(x for x, _ in ring)) for (ring,) in geometry["coordinates"])
        assert sides == [(-180, -170), (170, 180)]

    @pytest.mark.parametrize("side", [(170, 180), (-180, -170)])
    def test_beside_the_antimeridian(self, side):
        """What only touches the antimeridian is not cut."""
        west, east = side
        geometry, bbox = footprint(box(west, 0, east, 10))
        assert (geometry["type"], bbox) == ("Polygon", [west, 0, east, 10])

    @pytest.mark.parametrize("pole", [90, -90])
    def test_pole(self, pole):
        """An outline around a pole encloses it, and its box goes all around."""
        latitude = pole - 10 if pole > 0 else pole + 10
        geometry, bbox = footprint([(longitude, latitude) for longitude in range(-175, 180, 10)])
        assert bbox == [-180, min(latitude, pole), 180, max(latitude, pole)]
        points = [point for one in geometry["coordinates"] for ring in one for point in ring]
        assert {x for x, y in points if y == pole} == {-180, -175, 180}

    def test_from_zero_to_360(self):
        """A grid of the whole globe in longitudes from 0 is the whole globe."""
        edge = [(x, -90) for x in range(0, 361, 20)] + [(x, 90) for x in range(360, -1, -20)]
        geometry, bbox = footprint(edge)
        assert bbox == [-180, -90, 180, 90]
        assert len(geometry["coordinates"]) == 2


class TestFacts:
    def test_geographic(self, tmp_path):
        """Place, projection and bands of a raster in degrees."""
        facts = raster_facts(write(tmp_path / "a.tif", nodata=-1))
        assert facts.bbox == [8, 46, 11, 48]
        assert facts.geometry["coordinates"] == closed([(8, 48), (8, 46), (11, 46), (11, 48)])
        assert facts.projection == {
            "proj:code": "EPSG:4326",
            "proj:shape": [2, 3],
            "proj:transform": [1, 0, 8, 0, -1, 48],
            "proj:bbox": [8, 46, 11, 48],
        }
        assert facts.bands == [{"name": "band1", "data_type": "int16", "nodata": -1, "raster:sampling": "area"}]

    def test_projected(self, tmp_path):
        """The edges of a projected raster are followed, and pixels have a size in metres."""
        transform = from_origin(300000, 5300000, 10000, 10000)
        data = np.zeros((1, 20, 20), "float32")
        facts = raster_facts(write(tmp_path / "a.tif", crs="EPSG:32632", transform=transform, data=data, nodata=np.nan))
        assert facts.projection["proj:code"] == "EPSG:32632"
        assert len(facts.geometry["coordinates"][0]) == 81
        assert facts.bands[0]["raster:spatial_resolution"] == 10000
        assert facts.bands[0]["nodata"] == "nan"
        west, south, east, north = facts.bbox
        assert (round(west, 1), round(south, 1), round(east, 1), round(north, 1)) == (6.3, 46.0, 9.0, 47.9)

    def test_antimeridian(self, tmp_path):
        """A raster in a projection crosses the antimeridian."""
        transform = from_origin(700000, 8000000, 10000, 10000)
        facts = raster_facts(
            write(tmp_path / "a.tif", crs="EPSG:32760", transform=transform, data=np.zeros((1, 20, 20), "uint8"))
        )
        west, _, east, _ = facts.bbox
        assert (west > 178, east < -178) == (True, True)
        assert facts.geometry["type"] == "MultiPolygon"

    def test_pole(self, tmp_path):
        """A polar raster has the pole in it."""
        transform = from_bounds(-1e6, -1e6, 1e6, 1e6, 10, 10)
        facts = raster_facts(
            write(tmp_path / "a.tif", crs="EPSG:3031", transform=transform, data=np.zeros((1, 10, 10), "uint8"))
        )
        assert (facts.bbox[0], facts.bbox[1], facts.bbox[2]) == (-180, -90, 180)

    def test_own_projection(self, tmp_path):
        """A reference system without a code is told in WKT."""
        laea = "+proj=laea +lat_0=47 +lon_0=8 +datum=WGS84 +units=m"
        facts = raster_facts(write(tmp_path / "a.tif", crs=laea, transform=from_origin(0, 0, 10, 10)))
        assert facts.projection["proj:code"] is None
        assert facts.projection["proj:wkt2"].startswith("PROJCRS[")

    @pytest.mark.parametrize(
        ("tags", "imagery", "moment"),
        [
            ({"TIFFTAG_DATETIME": "2024:05:06 07:08:09"}, None, datetime.datetime(2024, 5, 6, 7, 8, 9)),
            (
                {"TIFFTAG_DATETIME": "2024:05:06 07:08:09"},
                {"ACQUISITIONDATETIME": "2023-01-02 03:04:05"},
                datetime.datetime(2023, 1, 2, 3, 4, 5),
            ),
            ({"TIFFTAG_DATETIME": "yesterday"}, None, None),
            ({}, None, None),
        ],
    )
    def test_moment(self, tmp_path, tags, imagery, moment):
        """The acquisition is told before the time of the file; what cannot be read is passed over."""
        facts = raster_facts(write(tmp_path / "a.tif", tags=tags, imagery=imagery))
        assert facts.moment == (moment and moment.replace(tzinfo=datetime.UTC))

    def test_statistics(self, tmp_path):
        """Statistics are those of valid pixels, and only there when they are asked for."""
        data = np.array([[[0, 2, 4], [-1, -1, -1]]], "float32")
        path = write(tmp_path / "a.tif", data=data, nodata=-1)
        assert "statistics" not in raster_facts(path).bands[0]
        numbers = raster_facts(path, statistics=True).bands[0]["statistics"]
        expected = {"minimum": 0, "maximum": 4, "mean": 2, "valid_percent": 50, "stddev": pytest.approx(1.632993)}
        assert numbers == expected
        assert [one.name for one in tmp_path.iterdir()] == ["a.tif"]

    def test_cloud_optimized(self, tmp_path):
        """A cloud-optimized GeoTIFF is told from another one."""
        data = np.zeros((1, 600, 600), "uint8")
        assert raster_facts(write(tmp_path / "a.tif", data=data)).media_type == GEOTIFF
        tiled = write(tmp_path / "b.tif", data=data, tiled=True, blockxsize=256, blockysize=256)
        assert raster_facts(tiled).media_type == GEOTIFF
        assert raster_facts(write(tmp_path / "c.tif", data=data, driver="COG")).media_type == COG

    def test_no_raster(self, tmp_path):
        """What is no raster has no facts, nor has one that does not say where it is, nor one that names other files."""
        (tmp_path / "a.txt").write_text("hello")
        assert raster_facts(tmp_path / "a.txt") is None
        assert raster_facts(write(tmp_path / "b.tif", crs=None, transform=rasterio.Affine.identity())) is None
        real = write(tmp_path / "c.tif")
        with rasterio.open(real) as source, rasterio.vrt.WarpedVRT(source) as virtual:
            rasterio.shutil.copy(virtual, tmp_path / "d.vrt", driver="VRT")
        assert raster_facts(tmp_path / "d.vrt") is None

    def test_without_rasterio(self, tmp_path, monkeypatch):
        """Where rasterio is missing, the log says what to install."""
        monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
        with pytest.raises(ConfigurationError, match=r"pygeoapi-prefect\[stac\]"):
            raster_facts(tmp_path / "a.tif")
