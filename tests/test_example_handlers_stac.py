"""The example of results as STAC does what its page says."""

import os

import httpx
import pytest
import yaml

from handler_examples import EXAMPLES, stac_api, told_by
from pygeoapi_prefect.handlers.stac_validation import validate_stac
from serving import Server, running

TERRAIN = EXAMPLES.parent / "terrain"
BBOX = [-84.30, 36.16, -84.16, 36.25]


@pytest.fixture(scope="module")
def api():
    """The URL of the example's STAC API, and what it keeps."""
    with stac_api() as found:
        yield found


@pytest.fixture(scope="module")
def server(api, tmp_path_factory):
    """The example's process with its handler, on a server of the tests."""
    resource = yaml.safe_load((EXAMPLES / "stac.yml").read_text())["resources"]["terrain"]
    made = Server(
        tmp_path_factory.mktemp("stac"),
        processors={"terrain": resource["processor"]},
        environment={"PYTHONPATH": os.pathsep.join([str(TERRAIN), os.environ.get("PYTHONPATH", "")])},
    )
    [handler] = resource["processor"]["prefect"]["handlers"]
    handler["options"]["stac"]["publish"] |= {"url": api[0], "server_url": made.url}
    made.write_configuration({}, {})
    with running(made):
        yield made


def execute(server, **request):
    job = server.wait_for(server.submit("terrain", {"bbox": BBOX}, **request), within=60)
    assert job["status"] == "successful", job
    return job["jobID"]


def test_one_output(server, api):
    """Over HTTP a client gets the Item, and by its links the raster; the API has the same Item."""
    job_id = execute(server, outputs={"raster": {}})
    answer = server.results(job_id)
    assert answer.headers["Content-Type"] == "application/geo+json"
    item = answer.json()
    assert validate_stac(item, mode="strict") == []
    assert [round(side, 2) for side in item["bbox"]] == [-84.3, 36.16, -84.16, 36.25]
    assert item["assets"]["data"]["bands"][0]["unit"] == "degree"
    raster = httpx.get(item["assets"]["data"]["href"])
    assert raster.headers["Content-Type"] == "image/tiff; application=geotiff"
    assert len(raster.content) == item["assets"]["data"]["file:size"]
    [canonical] = [link["href"] for link in item["links"] if link["rel"] == "canonical"]
    published = httpx.get(canonical).json()
    assert published["properties"] == item["properties"]
    assert httpx.get(published["assets"]["data"]["href"]).content == raster.content
    assert set(api[1].collections) == {"slope"}


def test_both_outputs(server):
    """Of a processor that returns several outputs at once, one becomes an Item, and the other stays."""
    job_id = execute(server, response="document")
    found = server.results(job_id).json()
    assert set(found) == {"statistics", "raster"}
    item = found["raster"]["value"]
    assert validate_stac(item, mode="strict") == []
    assert httpx.get(item["assets"]["data"]["href"]).content[:2] == b"II"


def test_dismissed(server):
    """With its job an Item's files are gone."""
    job_id = execute(server, outputs={"raster": {}})
    href = server.results(job_id).json()["assets"]["data"]["href"]
    assert server.client.delete(f"/jobs/{job_id}").status_code == 200
    assert httpx.get(href).status_code in (404, 410)


@pytest.mark.soak
def test_the_example(tmp_path):
    """It ends by itself: the raster that the API's Item leads to is that of the job."""
    told = told_by("stac.py", tmp_path, timeout=240)
    assert told.rstrip().endswith("There is the same raster:\nyes")
