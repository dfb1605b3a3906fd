"""The terrain example: its numbers, its errors, its description and the origin of its data."""

import base64
import hashlib
import importlib
import json
import math
import pickle
import re
from itertools import pairwise
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import rasterio
from pygeoapi.config import validate_config
from pygeoapi.process.base import ProcessorExecuteError
from pygeoapi.util import yaml_load
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from referencing import Registry, Resource

from pygeoapi_prefect.process.processor import load_processor

EXAMPLE = Path(__file__).parents[1] / "examples" / "terrain"
DEM = EXAMPLE / "data" / "jacksboro_dem.tif"
SCHEMAS = Path(__file__).parent / "ogc_schemas"
VALLEY = [-84.30, 36.16, -84.16, 36.25]


@pytest.fixture
def terrain(monkeypatch):
    """The module ``terrain``, found the way the example's configuration tells pygeoapi to find it."""
    monkeypatch.syspath_prepend(EXAMPLE)
    return importlib.import_module("terrain")


@pytest.fixture
def process(terrain):
    """The process over the real grid."""
    return terrain.TerrainProcessor({"name": "terrain.TerrainProcessor"})


def plane(rows=7, columns=9, *, east=0.0, north=0.0, dx_m=30.0, dy_m=20.0):
    """Elevation that rises by *east* and *north* metres per metre; rows run from north to south."""
    row, column = np.mgrid[:rows, :columns]
    return 500 + east * column * dx_m - north * row * dy_m


def write_grid(path, elevation, *, crs="EPSG:32616", west=700_000, north=4_000_000, cell=30.0, nodata=-9999):
    """Write *elevation* to *path* as the grid of a process, and return the path."""
    rows, columns = elevation.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype="float64",
        count=1,
        height=rows,
        width=columns,
        crs=crs,
        transform=from_origin(west, north, cell, cell),
        nodata=nodata,
    ) as grid:
        grid.write(elevation.astype("float64"), 1)
    return path


def statistics_of(process, **inputs):
    """The output ``statistics`` alone."""
    return process.execute(inputs, ["statistics"])[1]


def raster_of(process, **inputs):
    """Values (NaN without data) and profile of the output ``raster`` alone."""
    _, content = process.execute(inputs, ["raster"])
    with MemoryFile(content) as memory, memory.open() as raster:
        return raster.read(1, masked=True).astype("float64").filled(np.nan), raster.profile, raster.bounds


@pytest.mark.parametrize(("east", "north"), [(0, 0), (1, 0), (0, -1), (0.3, 0.4), (-2.5, 1.7)])
def test_slope_of_a_plane(terrain, east, north):
    """The slope of a tilted plane is the arc tangent of its steepest rise, also where cells are not square."""
    slope = terrain.slope_degrees(plane(east=east, north=north), 30.0, 20.0)
    expected = math.degrees(math.atan(math.hypot(east, north)))
    np.testing.assert_allclose(slope[1:-1, 1:-1], expected, atol=1e-9)


def test_gradient_has_a_sign(terrain):
    """Ground that rises towards east and north has a positive gradient in both directions."""
    east, north = terrain.gradient(plane(east=0.3, north=0.4), 30.0, 20.0)
    np.testing.assert_allclose([east[3, 3], north[3, 3]], [0.3, 0.4])


@pytest.mark.parametrize("altitude", [0, 10, 45, 90])
@pytest.mark.parametrize("azimuth", [0, 123, 360])
def test_hillshade_of_flat_ground(terrain, altitude, azimuth):
    """Flat ground is as bright as the sine of the light's altitude, wherever the light comes from."""
    shade = terrain.hillshade(plane(), 30.0, 20.0, azimuth, altitude)
    np.testing.assert_allclose(shade[1:-1, 1:-1], 255 * math.sin(math.radians(altitude)), atol=1e-9)


def test_hillshade_faces_the_light(terrain):
    """A slope that meets the light at a right angle has full brightness; the opposite one lies in the dark."""
    falls_to_west = plane(east=1.0)
    np.testing.assert_allclose(terrain.hillshade(falls_to_west, 30.0, 20.0, 270, 45)[3, 3], 255)
    np.testing.assert_allclose(terrain.hillshade(falls_to_west, 30.0, 20.0, 90, 45)[3, 3], 0, atol=1e-9)
    falls_to_north = plane(north=-1.0)
    np.testing.assert_allclose(terrain.hillshade(falls_to_north, 30.0, 20.0, 0, 45)[3, 3], 255)


def test_nodata_spreads_to_neighbours_only(terrain):
    """A cell has a slope exactly when it and its eight neighbours have an elevation."""
    elevation = plane(east=0.5)
    elevation[3, 4] = np.nan
    expected = np.zeros(elevation.shape, dtype=bool)
    expected[1:-1, 1:-1] = True
    expected[2:5, 3:6] = False
    np.testing.assert_array_equal(~np.isnan(terrain.slope_degrees(elevation, 30.0, 20.0)), expected)


@pytest.mark.parametrize(
    ("latitude", "lon_m", "lat_m"), [(0, 111319.491, 110574.276), (45, 78846.835, 111131.778), (90, 0, 111693.980)]
)
def test_metres_per_degree(terrain, latitude, lon_m, lat_m):
    """The length of a degree is that of the WGS 84 ellipsoid at this latitude."""
    np.testing.assert_allclose(terrain.metres_per_degree(latitude), (lon_m, lat_m), atol=0.01)


def test_slope_in_degrees_of_a_geographic_grid(terrain, tmp_path):
    """At 60° north, where a degree of longitude is half as long, a rise to the east is twice as steep as in degrees."""
    cell = 1 / 1200
    lon_m, lat_m = terrain.metres_per_degree(60.0)
    column = np.arange(9) * cell * lon_m
    grid = write_grid(
        tmp_path / "dem.tif", np.tile(column, (7, 1)), crs="EPSG:4326", west=10, north=60 + 3.5 * cell, cell=cell
    )
    process = terrain.TerrainProcessor({"name": "terrain", "data": str(grid)})
    assert lon_m / lat_m == pytest.approx(0.5, abs=0.002)
    assert raster_of(process)[0][3, 4] == pytest.approx(45, abs=1e-4)


def test_projected_grid_is_measured_in_its_units(terrain, tmp_path):
    """In a projected CRS the cells have the size that the CRS gives them, and their areas add up."""
    grid = write_grid(tmp_path / "dem.tif", plane(12, 12, east=1.0, dx_m=30.0))
    statistics = statistics_of(terrain.TerrainProcessor({"name": "terrain", "data": str(grid)}))
    assert (statistics["min"], statistics["max"]) == pytest.approx((45, 45))
    assert statistics["area_km2"] == pytest.approx(10 * 10 * 0.03 * 0.03)


def test_nodata_of_the_grid_is_left_out(terrain, tmp_path):
    """Cells marked as nodata enter neither the statistics nor the area, and are nodata in the raster."""
    elevation = plane(12, 12, east=1.0, dx_m=30.0)
    elevation[5, 5] = -9999
    process = terrain.TerrainProcessor({"name": "terrain", "data": str(write_grid(tmp_path / "dem.tif", elevation))})
    statistics = statistics_of(process)
    assert (statistics["cells"], statistics["nodata_cells"]) == (100 - 9, 44 + 9)
    assert statistics["max"] == pytest.approx(45)
    assert np.isnan(raster_of(process)[0]).sum() == 44 + 9


def test_statistics_count_the_cells_of_the_bbox(process):
    """Exactly the cells whose centres lie in the bbox, or on its west or north side, are counted."""
    west, south, east, north = VALLEY
    with rasterio.open(DEM) as grid:
        rows, columns = np.mgrid[: grid.height, : grid.width]
        lon = grid.bounds.left + (columns + 0.5) / 1200
        lat = grid.bounds.top - (rows + 0.5) / 1200
    inside = (lon > west - 1e-9) & (lon < east - 1e-9) & (lat > south + 1e-9) & (lat < north + 1e-9)
    edge = (rows == 0) | (rows == rows.max()) | (columns == 0) | (columns == columns.max())
    statistics = statistics_of(process, bbox=VALLEY)
    assert statistics["cells"] == (inside & ~edge).sum()
    assert statistics["cells"] + statistics["nodata_cells"] == inside.sum()


@pytest.mark.parametrize("product", ["slope", "hillshade"])
def test_a_part_equals_the_same_part_of_the_whole(process, product):
    """A bbox changes which cells are returned, never their values."""
    whole, whole_profile, _ = raster_of(process, product=product)
    part, part_profile, _ = raster_of(process, product=product, bbox=VALLEY)
    column = round((part_profile["transform"].c - whole_profile["transform"].c) * 1200)
    row = round((whole_profile["transform"].f - part_profile["transform"].f) * 1200)
    np.testing.assert_array_equal(part, whole[row : row + part.shape[0], column : column + part.shape[1]])


def test_boxes_that_share_a_side_share_no_cell(process):
    """The areas of two halves add up to the area of the whole, also when the cut runs through cell centres."""
    west, south, east, north = VALLEY
    centre = -84.41375 + 200.5 / 1200
    halves = [[west, south, centre, north], [centre, south, east, north]]
    whole = statistics_of(process, bbox=VALLEY)
    parts = [statistics_of(process, bbox=half) for half in halves]
    assert sum(part["cells"] for part in parts) == whole["cells"]
    assert sum(part["area_km2"] for part in parts) == pytest.approx(whole["area_km2"])


def test_slope_classes_are_a_partition(process):
    """Each slope falls into one class: the classes join without gaps, and their areas add up to the whole."""
    statistics = statistics_of(process)
    classes = statistics["slope_classes"]
    assert all(lower["to_degrees"] == upper["from_degrees"] for lower, upper in pairwise(classes))
    assert (classes[0]["from_degrees"], classes[-1]["to_degrees"]) == (0, 90)
    assert sum(each["area_km2"] for each in classes) == pytest.approx(statistics["area_km2"])


def test_statistics_describe_the_raster(process):
    """Minimum, maximum, mean, deviation and percentiles are those of the raster of the same request."""
    statistics = statistics_of(process, product="hillshade", bbox=VALLEY)
    raster = raster_of(process, product="hillshade", bbox=VALLEY)[0]
    valid = raster[~np.isnan(raster)]
    expected = [valid.min(), valid.max(), valid.mean(), valid.std(), np.percentile(valid, 95)]
    actual = [statistics[key] for key in ("min", "max", "mean", "std")] + [statistics["percentiles"]["95"]]
    np.testing.assert_allclose(actual, expected, rtol=1e-4)
    assert 0 <= statistics["min"] <= statistics["max"] <= 255


def test_raster_is_a_georeferenced_geotiff(process, terrain):
    """The raster alone comes as GeoTIFF bytes, with the CRS of the grid and bounds within a cell of the bbox."""
    media_type, content = process.execute({"bbox": VALLEY}, ["raster"])
    _, profile, bounds = raster_of(process, bbox=VALLEY)
    assert media_type == terrain.GEOTIFF
    assert isinstance(content, bytes)
    assert (profile["crs"], profile["dtype"], profile["nodata"]) == ("EPSG:4326", "float32", -9999)
    with rasterio.open(DEM) as grid:
        south = max(VALLEY[1], grid.bounds.bottom)
    np.testing.assert_allclose(bounds, [VALLEY[0], south, *VALLEY[2:]], atol=1 / 1200)
    np.testing.assert_allclose(statistics_of(process, bbox=VALLEY)["bbox"], bounds, atol=1e-9)


@pytest.mark.parametrize("outputs", [None, {}, [], ["statistics", "raster"], {"raster": {}, "statistics": {}}])
def test_both_outputs_come_as_a_document(process, terrain, outputs):
    """Without a choice of outputs, or with both, the answer is JSON that holds the very bytes of the raster."""
    media_type, document = process.execute({"bbox": VALLEY}, outputs)
    assert media_type == "application/json"
    assert set(document) == {"statistics", "raster"}
    assert (document["raster"]["encoding"], document["raster"]["mediaType"]) == ("base64", terrain.GEOTIFF)
    assert base64.b64decode(document["raster"]["value"]) == process.execute({"bbox": VALLEY}, {"raster": {}})[1]
    assert json.loads(json.dumps(document, allow_nan=False)) == document


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        ({"bbox": [10, 50, 11, 51]}, "bbox"),
        ({"bbox": [-84.2003, 36.3003, -84.2001, 36.3005]}, "bbox"),
        ({"bbox": [-84.41375, 36.4459, -84.0, 36.5]}, "bbox"),
        ({"bbox": [-84.3, 36.2, -84.2]}, "bbox"),
        ({"bbox": "-84.3,36.2,-84.2,36.3"}, "bbox"),
        ({"bbox": [-84.3, 36.2, "-84.2", 36.3]}, "bbox"),
        ({"bbox": [-84.3, 36.2, True, 36.3]}, "bbox"),
        ({"bbox": [-84.3, 36.2, math.nan, 36.3]}, "bbox"),
        ({"bbox": [-84.2, 36.2, -84.3, 36.3]}, "bbox"),
        ({"bbox": [-84.3, 36.3, -84.2, 36.2]}, "bbox"),
        ({"bbox": [-84.3, 36.2, -84.2, 136.3]}, "bbox"),
        ({"product": "aspect"}, "product"),
        ({"product": ["slope"]}, "product"),
        ({"azimuth": 361}, "azimuth"),
        ({"azimuth": "north"}, "azimuth"),
        ({"altitude": -1}, "altitude"),
        ({"altitude": True}, "altitude"),
    ],
)
def test_errors_name_the_input(process, inputs, name):
    """A wrong input is a fault of the client, and the message shown to the client names the input."""
    with pytest.raises(ProcessorExecuteError) as caught:
        process.execute(inputs)
    assert f"'{name}'" in caught.value.message
    assert caught.value.http_status_code == 400


@pytest.mark.parametrize("outputs", [["aspect"], {"raster": {}, "aspect": {}}])
def test_unknown_output_is_named(process, outputs):
    """An output that does not exist is refused by name."""
    with pytest.raises(ProcessorExecuteError) as caught:
        process.execute({}, outputs)
    assert "'aspect'" in caught.value.message


@pytest.mark.parametrize("outputs", ["raster", [{"id": "raster"}], 1])
def test_malformed_outputs_are_refused(process, outputs):
    """Outputs that are neither a list of names nor an object are refused, not guessed."""
    with pytest.raises(ProcessorExecuteError) as caught:
        process.execute({}, outputs)
    assert "'outputs'" in caught.value.message
    assert caught.value.http_status_code == 400


def test_errors_survive_a_process_boundary(process):
    """A manager that runs the process elsewhere gets the same error back: it can be pickled."""
    with pytest.raises(ProcessorExecuteError) as caught:
        process.execute({"product": "aspect"})
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), copy.message) == (type(caught.value), caught.value.message)


def test_missing_grid_is_not_the_clients_fault(terrain, tmp_path):
    """A grid that cannot be read is a fault of the server; the client does not learn its path, the log does."""
    process = terrain.TerrainProcessor({"name": "terrain", "data": str(tmp_path / "absent.tif")})
    with pytest.raises(ProcessorExecuteError) as caught:
        process.execute({})
    assert caught.value.http_status_code == 500
    assert "absent.tif" in str(caught.value)
    assert "absent.tif" not in caught.value.message


def test_progress_is_reported_where_the_manager_listens(process):
    """Progress rises within 0 to 100 and each step has a message; without a listener nothing is missed."""
    heard = []
    process.report_progress = lambda percent, message: heard.append((percent, message))
    process.execute({"product": "hillshade", "bbox": VALLEY})
    percents = [percent for percent, _ in heard]
    assert percents == sorted(set(percents))
    assert 0 < percents[0] < percents[-1] < 100
    assert all(message for _, message in heard)


def test_description_is_valid(process):
    """The description satisfies OGC's schema of a process and holds what pygeoapi and the standard read."""
    contents = [json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")]
    registry = Registry().with_resources((content["$id"], Resource.from_contents(content)) for content in contents)
    root = json.loads((SCHEMAS / "process.json").read_text())
    jsonschema.Draft7Validator(root, registry=registry).validate(process.metadata)
    assert process.metadata["jobControlOptions"] == ["sync-execute", "async-execute", "dismiss"]
    assert process.metadata["outputTransmission"] == ["value", "reference"]


def test_the_example_request_works(process):
    """The example in the description is a request that succeeds, and so is a request without inputs."""
    assert set(process.execute(process.metadata["example"]["inputs"])[1]) == {"statistics", "raster"}
    assert set(process.execute({})[1]) == {"statistics", "raster"}


def test_the_process_knows_no_manager():
    """The example is a plain pygeoapi process: its source does not mention this package."""
    assert "pygeoapi_prefect" not in (EXAMPLE / "terrain.py").read_text()


def test_configuration_is_valid(monkeypatch, terrain):
    """pygeoapi accepts the configuration, its variables have defaults, and each of its processes can be loaded."""
    for variable in ("PYGEOAPI_PORT", "PYGEOAPI_PREFECT_DATA"):
        monkeypatch.delenv(variable, raising=False)
    with (EXAMPLE / "config.yml").open() as file:
        config = yaml_load(file)
    assert validate_config(config)
    assert config["server"]["bind"] == {"host": "127.0.0.1", "port": 5000}
    assert config["server"]["url"] == "http://127.0.0.1:5000"
    assert config["server"]["manager"] == {
        "name": "pygeoapi_prefect.PrefectManager",
        "connection": "data/jobs.db",
        "output_dir": "data/results",
    }
    loaded = {load_processor(name, resource).metadata["id"] for name, resource in config["resources"].items()}
    assert loaded == set(config["resources"])
    assert loaded == {
        "terrain",
        "slope-item",
        "slope-item-deployed",
        "hello-world",
        "echo",
        "shapely-functions",
    }


def test_configuration_reads_the_environment(monkeypatch):
    """Port and data folder come from the environment where it sets them."""
    monkeypatch.setenv("PYGEOAPI_PORT", "5999")
    monkeypatch.setenv("PYGEOAPI_PREFECT_DATA", "/srv/jobs")
    with (EXAMPLE / "config.yml").open() as file:
        server = yaml_load(file)["server"]
    assert (server["bind"]["port"], server["url"]) == (5999, "http://127.0.0.1:5999")
    assert server["manager"]["connection"] == "/srv/jobs/jobs.db"


def test_data_is_what_its_provenance_says():
    """The grid is the file whose checksum, extent and values PROVENANCE.md states, and is at most 2 MB."""
    provenance = (EXAMPLE / "data" / "PROVENANCE.md").read_text()
    content = DEM.read_bytes()
    assert re.search(r"^\| sha256 \| `([0-9a-f]{64})` \|$", provenance, re.M)[1] == hashlib.sha256(content).hexdigest()
    assert f"{len(content)} bytes" in provenance
    assert len(content) <= 2_000_000
    with rasterio.open(DEM) as grid:
        elevation = grid.read(1, masked=True)
        extent = "west {:.6f}, south {:.6f}, east {:.6f}, north {:.6f}".format(*grid.bounds)
        assert (grid.crs, grid.nodata, grid.units, grid.block_shapes) == ("EPSG:4326", -32768, ("metre",), [(256, 256)])
    assert extent in provenance
    assert f"{elevation.min()} to {elevation.max()}; nodata -32768, which no cell has" in provenance
    assert elevation.count() == elevation.size


def test_data_lies_where_the_ground_does():
    """The highest cell is the summit of Cross Mountain, 36.19833 N 84.23056 W, 1077 m."""
    with rasterio.open(DEM) as grid:
        elevation = grid.read(1)
        row, column = np.unravel_index(elevation.argmax(), elevation.shape)
        np.testing.assert_allclose(grid.xy(row, column), (-84.23056, 36.19833), atol=1 / 1200)
    assert elevation.max() == pytest.approx(1077, abs=3)
