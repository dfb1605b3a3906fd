"""The terrain example's flow: its STAC Item, its raster, its numbers and its retries, over HTTP."""

import base64
import importlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import yaml
from jsonschema import Draft7Validator
from prefect.filesystems import RemoteFileSystem
from prefect.settings import PREFECT_API_URL, temporary_settings
from pygeoapi.util import yaml_load
from pystac.validation.local_validator import get_local_schema_cache
from rasterio.io import MemoryFile
from referencing import Registry, Resource

import ogc_schema
from prefect_seen import Prefect
from pygeoapi_prefect.deploy.deployer import Deployer
from pygeoapi_prefect.deploy.planned import planned
from pygeoapi_prefect.exceptions import ConfigurationError
from serving import NOWHERE, Server, assert_problem, eventually, running

EXAMPLE = Path(__file__).parents[1] / "examples" / "terrain"
VALLEY = [-84.30, 36.16, -84.16, 36.25]
NOWHERE_NEAR = [10.0, 50.0, 11.0, 51.0]
IN_THE_POOL = "slope-item"
GREETINGS = {
    "hi-prefect-world": {
        "name": "pygeoapi_prefect.examples.hi_prefect_world.HiPrefectWorldProcessor",
        "prefect": {"result_storage": "remote-file-system/test-sb1-results"},
    }
}


@pytest.fixture(scope="module")
def served(prefect_server, tmp_path_factory):
    """Stock ``pygeoapi serve`` with the example's own processes, and a copy of its folder in which grids can vanish."""
    folder = tmp_path_factory.mktemp("example")
    example = shutil.copytree(EXAMPLE, folder / "terrain", ignore=shutil.ignore_patterns("__pycache__"))
    with (EXAMPLE / "config.yml").open() as file:
        resources = yaml_load(file)["resources"]
    server = Server(
        folder,
        front="flask",
        manager={"sync_timeout": 60},
        processors={name: resource["processor"] for name, resource in resources.items()} | GREETINGS,
        environment={
            "PYTHONPATH": os.pathsep.join(filter(None, [str(example), os.environ.get("PYTHONPATH")])),
            "PREFECT_API_URL": prefect_server.connection.api_url,
        },
    )
    with running(server):
        yield server, Prefect(prefect_server.connection.api_url)


@pytest.fixture(scope="module")
def document(served):
    """Both outputs for the valley, as one document."""
    response = served[0].execute(IN_THE_POOL, {"bbox": VALLEY}, response="document")
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture(scope="module")
def item(document):
    """The output ``item``."""
    return document["item"]["value"] if "value" in document["item"] else document["item"]


@pytest.fixture(scope="module")
def raster(document):
    """The bytes of the output ``raster``."""
    return base64.b64decode(document["raster"]["value"])


@pytest.fixture
def terrain(monkeypatch):
    """The module whose computation the flow uses."""
    monkeypatch.syspath_prepend(EXAMPLE)
    return importlib.import_module("terrain")


def values_of(raster):
    """Values (NaN without data), profile and bounds of a raster."""
    with MemoryFile(raster) as memory, memory.open() as opened:
        return opened.read(1, masked=True).astype("float64").filled(np.nan), opened.profile, opened.bounds


def stac_errors(item):
    """What STAC 1.1's schema of an item has against *item*; a schema that pystac does not bring is an error."""
    cache = get_local_schema_cache()
    registry = Registry().with_resources((uri, Resource.from_contents(schema)) for uri, schema in cache.items())
    schema = cache["https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"]
    return [error.message for error in Draft7Validator(schema, registry=registry).iter_errors(item)]


def state_names(prefect, flow_run_id):
    """Names of all states that a flow run has had."""
    states = prefect.client.get("/flow_run_states/", params={"flow_run_id": flow_run_id}).json()
    return {state["name"] for state in states}


def test_description(served):
    """It satisfies OGC's schema of a process, and has the input and both outputs of the flow's signature."""
    description = served[0].client.get(f"/processes/{IN_THE_POOL}", params={"f": "json"}).json()
    ogc_schema.validate(description, "process")
    assert description["title"] == "Slope as a STAC Item"
    assert list(description["inputs"]) == ["bbox"]
    assert description["inputs"]["bbox"]["minOccurs"] == 0
    assert {name: output["schema"]["contentMediaType"] for name, output in description["outputs"].items()} == {
        "item": "application/geo+json",
        "raster": "image/tiff; application=geotiff",
    }


def test_configured_description_of_the_deployment(served):
    """The same flow under another id is a process with the same inputs and outputs."""
    in_pool, deployed = (
        served[0].client.get(f"/processes/{process_id}", params={"f": "json"}).json()
        for process_id in (IN_THE_POOL, "slope-item-deployed")
    )
    assert deployed["id"] == "slope-item-deployed"
    assert (deployed["inputs"], deployed["outputs"]) == (in_pool["inputs"], in_pool["outputs"])


def test_item_is_valid(item):
    """It satisfies STAC 1.1's own schema of an item, which refuses a wrong one, and pystac reads it back unchanged."""
    assert item["stac_version"] == "1.1.0"
    assert stac_errors(item) == []
    assert stac_errors({**item, "properties": {"datetime": None}}) != []
    assert pystac.Item.from_dict(item).to_dict(transform_hrefs=False) == item


def test_item_lies_where_the_raster_does(item, raster):
    """Geometry, bbox and proj fields are those of the GeoTIFF."""
    _, profile, bounds = values_of(raster)
    properties = item["properties"]
    np.testing.assert_allclose(item["bbox"], bounds, atol=1e-9)
    np.testing.assert_allclose(properties["proj:bbox"], bounds, atol=1e-9)
    assert properties["proj:code"] == profile["crs"].to_string() == "EPSG:4326"
    assert properties["proj:shape"] == [profile["height"], profile["width"]]
    assert properties["proj:transform"] == pytest.approx(list(profile["transform"])[:6])
    ring = item["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1]
    assert [min(x for x, _ in ring), min(y for _, y in ring)] == item["bbox"][:2]
    assert [max(x for x, _ in ring), max(y for _, y in ring)] == item["bbox"][2:]


def test_item_says_when_the_ground_was_measured(item):
    """``datetime`` is null and the interval is the flight of PROVENANCE.md, as STAC wants it for intervals."""
    assert "flown 11–22 February 2000" in (EXAMPLE / "data" / "PROVENANCE.md").read_text()
    properties = item["properties"]
    assert properties["datetime"] is None
    assert properties["start_datetime"].startswith("2000-02-11T")
    assert properties["end_datetime"].startswith("2000-02-22T")


def test_asset_is_the_raster(item, raster, tmp_path):
    """Both outputs saved side by side are a catalogue entry whose asset opens."""
    (tmp_path / "item.json").write_text(json.dumps(item))
    asset = item["assets"]["raster"]
    (tmp_path / asset["href"]).write_bytes(raster)
    read = pystac.Item.from_file(str(tmp_path / "item.json"))
    assert asset["type"] == "image/tiff; application=geotiff"
    with rasterio.open(read.assets["raster"].get_absolute_href()) as opened:
        assert (opened.driver, opened.dtypes, opened.nodata, opened.units) == (
            "GTiff",
            ("float32",),
            -9999,
            ("degree",),
        )


def test_numbers_are_those_of_the_computation(served, item, raster, terrain):
    """The raster is, to the byte, that of the process ``terrain``, and so are the statistics of its band."""
    process = terrain.TerrainProcessor({"name": "terrain.TerrainProcessor"})
    _, expected = process.execute({"bbox": VALLEY}, ["raster"])
    assert raster == expected
    _, statistics = process.execute({"bbox": VALLEY}, ["statistics"])
    band = item["assets"]["raster"]["bands"][0]
    assert (band["unit"], band["nodata"], band["data_type"]) == ("degree", -9999.0, "float32")
    found = band["statistics"]
    assert [found[key] for key in ("minimum", "maximum", "mean", "stddev", "count")] == pytest.approx(
        [statistics[key] for key in ("min", "max", "mean", "std", "cells")]
    )
    values, _, _ = values_of(raster)
    assert found["valid_percent"] == pytest.approx(100 * np.isfinite(values).mean())


def test_raster_alone(served, raster):
    """One output that is asked for comes as itself, in its own media type."""
    response = served[0].execute(IN_THE_POOL, {"bbox": VALLEY}, outputs={"raster": {}})
    assert response.headers["content-type"] == "image/tiff; application=geotiff"
    assert response.content == raster


def test_whole_grid(served, terrain):
    """Without a bounding box the item covers the whole grid; the cells without a value are its border alone."""
    response = served[0].execute(IN_THE_POOL, outputs={"item": {}})
    assert response.headers["content-type"].startswith("application/geo+json")
    item = response.json()
    with rasterio.open(terrain.DEFAULT_DATA) as grid:
        np.testing.assert_allclose(item["bbox"], grid.bounds, atol=1e-9)
        height, width = grid.shape
    statistics = item["assets"]["raster"]["bands"][0]["statistics"]
    assert statistics["count"] == (height - 2) * (width - 2)


def test_bad_bbox_is_the_client_s_fault(served):
    """A box with a wrong count of numbers, and one beside the grid, are 400 and name the input."""
    for bbox in (VALLEY[:3], NOWHERE_NEAR):
        problem = assert_problem(served[0].execute(IN_THE_POOL, {"bbox": bbox}), 400)
        assert "'bbox'" in problem["detail"]


def test_task_does_not_repeat_a_wrong_input(served):
    """A task that refuses its input is not tried again: its retries are for grids that cannot be read."""
    server, prefect = served
    job_id = server.submit(IN_THE_POOL, {"bbox": NOWHERE_NEAR})
    server.wait_for(job_id, "failed")
    run = prefect.ended(job_id)
    runs = eventually(lambda: prefect.task_runs(run["id"]), within=10, what="the task run")
    assert {one["run_count"] for one in runs} == {1}


def test_two_tasks(served):
    """The flow's one run in Prefect has both tasks, in the order of the work."""
    server, prefect = served
    job_id = server.submit(IN_THE_POOL, {"bbox": VALLEY})
    server.wait_for(job_id, "successful")
    run = prefect.ended(job_id)
    runs = eventually(lambda: t if len(t := prefect.task_runs(run["id"])) == 2 else None, within=10, what="two tasks")
    names = [one["name"].rpartition("-")[0] for one in sorted(runs, key=lambda one: one["start_time"])]
    assert names == ["compute_slope", "write_item"]


def test_second_attempt_is_one_job(served):
    """A grid that is away for the first attempt and back for the second makes one successful job of one flow run."""
    server, prefect = served
    grid = server.folder / "terrain" / "data" / "jacksboro_dem.tif"
    jobs_before = server.client.get("/jobs", params={"f": "json", "limit": 1000}).json()["jobs"]
    away = grid.rename(grid.with_suffix(".away"))
    try:
        job_id = server.submit(IN_THE_POOL, {"bbox": VALLEY})
        run = eventually(lambda: prefect.flow_run(job_id), within=20, what="the flow run")
        eventually(
            lambda: "AwaitingRetry" in state_names(prefect, run["id"]), within=20, what="the first attempt's end"
        )
    finally:
        away.rename(grid)
    job = server.wait_for(job_id, "successful", within=20)
    assert job["progress"] == 100
    assert prefect.ended(job_id)["run_count"] == 2
    jobs = server.client.get("/jobs", params={"f": "json", "limit": 1000}).json()["jobs"]
    assert len(jobs) == len(jobs_before) + 1


@pytest.fixture(scope="module")
def on_a_worker(served):
    """The demo's own deployment and worker, over the server of the other tests; the demo module."""
    server, prefect = served
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYGEOAPI_CONFIG", "PYTHONPATH", "PREFECT_HOME", "PREFECT_API_URL"):
            patch.setenv(name, server.environment[name])
        patch.syspath_prepend(EXAMPLE)
        demo = importlib.import_module("demo")
        log = server.folder / "worker.log"
        with demo.deployed(str(prefect.client.base_url), log):
            yield demo
    assert "stopped!" in log.read_text()


def test_deployment(served, on_a_worker, item, raster):
    """The same flow on a worker of the work pool is one job with the same item and, to the byte, the same raster."""
    server, prefect = served
    job_id = server.submit("slope-item-deployed", {"bbox": VALLEY}, response="document")
    job = server.wait_for(job_id, "successful", "failed", within=60)
    assert job["status"] == "successful", job["message"]
    document = server.results(job_id).json()
    assert base64.b64decode(document["raster"]["value"]) == raster
    made = document["item"].get("value", document["item"])
    assert {**made["properties"], "created": None} == {**item["properties"], "created": None}
    assert (made["id"], made["assets"]) == (item["id"], item["assets"])
    run = prefect.ended(job_id)
    assert (run["state_type"], run["work_pool_name"]) == ("COMPLETED", "terrain")


def test_demo_tells_what_the_flow_made(served, on_a_worker, capsys):
    """The demo prints the item and its numbers, and knows a Prefect that answers from one that does not."""
    server, prefect = served
    assert on_a_worker.answers(str(prefect.client.base_url).rstrip("/"))
    assert not on_a_worker.answers(NOWHERE)
    on_a_worker.execute_flow(server.client, IN_THE_POOL)
    told = capsys.readouterr().out
    assert "STAC 1.1.0 Item slope_-84.30042_36.16042_-84.16042_36.25042" in told
    assert "18144 cells, mean 16.2°" in told


@pytest.fixture(scope="module")
def block(served):
    """The folder behind the block ``remote-file-system/test-sb1-results``, which the configuration names."""
    server, prefect = served
    folder = server.folder / "sb1-results"
    with temporary_settings({PREFECT_API_URL: str(prefect.client.base_url)}):
        # Prefect refuses file://, and wants a host: the path starts at the working directory, which jobs share with us
        RemoteFileSystem(basepath=f"local://{os.path.relpath(folder)}").save("test-sb1-results", overwrite=True)
    return folder


def test_hi_prefect_world_is_described(served):
    """The installed example's description satisfies OGC's schema of a process."""
    description = served[0].client.get("/processes/hi-prefect-world", params={"f": "json"}).json()
    ogc_schema.validate(description, "process")
    assert {name: one.get("minOccurs", 1) for name, one in description["inputs"].items()} == {"name": 1, "message": 0}


@pytest.mark.parametrize(
    ("inputs", "greeting"),
    [({"name": "Ada"}, "Hello Ada!"), ({"name": "Ada", "message": "Good morning."}, "Hello Ada! Good morning.")],
)
def test_hi_prefect_world(served, block, inputs, greeting):
    """The installed example greets, through the storage block that its process names."""
    server, _ = served
    job_id = server.submit("hi-prefect-world", inputs)
    server.wait_for(job_id, "successful")
    response = server.results(job_id)
    assert (response.status_code, response.text) == (200, greeting)
    assert response.headers["content-type"].startswith("text/plain")
    assert (block / job_id / "output-result.txt").read_text() == greeting


def test_the_document_s_example_is_deployed(api):
    """Its YAML, with a work pool, makes a deployment of its name and queue; what is installed is not uploaded."""
    page = (EXAMPLE.parents[1] / "docs" / "how-to" / "base-prefect-processor.md").read_text()
    [code] = [code for code in re.findall(r"```yaml\n(.*?)^```$", page, re.M | re.S) if "storage_sub_path" in code]
    [(process_id, resource)] = yaml.safe_load(code)["resources"].items()
    plan = planned(process_id, resource)
    Deployer(api, "/results", is_dry_run=False).deploy(plan)
    made = api.deployment("hi-prefect-world/minio")
    assert (made.work_pool_name, made.work_queue_name) == ("pygeoapi", "pygeoapi")
    assert made.pull_steps is None
    del resource["processor"]["prefect"]["deployment"]["work_pool"]
    with pytest.raises(ConfigurationError, match=r"deployment\.work_pool is missing"):
        planned(process_id, resource)


def test_hi_prefect_world_needs_a_name(served, block):
    """A request without a name is refused before a job is made."""
    assert assert_problem(served[0].execute("hi-prefect-world"), 400)["detail"] == "Input 'name' is missing."


def test_the_example_requests_work(served, block):
    """The example in a description is a request that succeeds."""
    description = served[0].client.get("/processes/hi-prefect-world", params={"f": "json"}).json()
    assert served[0].execute("hi-prefect-world", **description["example"]).text == "Hello Prefect! Good morning."
