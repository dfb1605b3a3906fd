"""Laws of the ready-made handlers around one job: each does its part, whatever their order."""

import json
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from handled_here import JOB_ID, Returns, execute_here
from handler_examples import stac_api
from prefect_worker import PrefectWorker
from pygeoapi_prefect.handlers import (
    MonitoredHandler,
    MultiStorageHandler,
    StacHandler,
    ValidatedHandler,
    WorkspaceHandler,
)
from pygeoapi_prefect.handlers.stac_validation import validate_stac
from pygeoapi_prefect.handlers.workspace_client import WorkspaceClient
from pygeoapi_prefect.runner.prefect_server import LocalPrefectServer
from serving import Server, running
from workspace_api import workspace_api

TERRAIN = Path(__file__).parents[1] / "examples" / "terrain"
PACKAGE = "pygeoapi_prefect.handlers"
TOKEN = "token of ada"
ADA = {"issuer": "https://issuer", "subject": "ada", "name": "ada", "roles": [], "groups": [], "claims": {}}
TIME = "2000-02-11T00:00:00Z"


@pytest.fixture
def api():
    with workspace_api() as served:
        served.add("ws-ada", TOKEN)
        yield served


def write_raster(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = {"crs": "EPSG:4326", "transform": from_origin(-84, 37, 0.1, 0.1), "width": 4, "height": 4}
    with rasterio.open(path, "w", driver="GTiff", dtype="float32", count=1, **grid) as target:
        target.write(np.ones((1, 4, 4), dtype="float32"))
    return path


def named(name, **options):
    return {"name": f"{PACKAGE}.{name}", "options": options}


def here(name, **options):
    return {"name": f"{__name__}.{name}", "options": options}


class StacThenStores(StacHandler, MultiStorageHandler):
    """STAC first, by the order of parents."""


class StoresThenStac(MultiStorageHandler, StacHandler):
    """Staging first."""


def in_every_order(stac, stores):
    """The two handlers beside each other and as one class, in both orders."""
    return {
        "stac outside": [named("StacHandler", stac=stac), named("MultiStorageHandler", **stores)],
        "stores outside": [named("MultiStorageHandler", **stores), named("StacHandler", stac=stac)],
        "stac first": [here("StacThenStores", stac=stac, **stores)],
        "stores first": [here("StoresThenStac", stac=stac, **stores)],
    }


ORDERS = ["stac outside", "stores outside", "stac first", "stores first"]


def followed(document: Path) -> set[str]:
    """All files that a document on disk leads to by relative links, below its folder."""
    found, waiting = set(), [document]
    while waiting:
        path = waiting.pop().resolve()
        if (name := path.relative_to(document.parent.resolve()).as_posix()) in found:
            continue
        assert path.is_file(), path
        found.add(name)
        if path.suffix == ".json":
            one = json.loads(path.read_text())
            links = [*one.get("links", []), *one.get("assets", {}).values()]
            for feature in one.get("features", []):
                links += feature["assets"].values()
            waiting += [path.parent / unquote(link["href"]) for link in links if not urlsplit(link["href"]).scheme]
    return found


class TestStacInStores:
    """StacHandler with MultiStorageHandler."""

    @pytest.mark.parametrize("order", ORDERS)
    def test_a_raster(self, tmp_path, order):
        """The Item of a raster is staged with the raster, by a relative link."""
        stores = {"stores": [{"name": "disk", "url": str(tmp_path / "disk")}]}
        handlers = in_every_order({"datetime": TIME}, stores)[order]
        returns = Returns(lambda _: ("image/tiff", write_raster(tmp_path / "scratch" / "slope.tif").read_bytes()))
        outcome = execute_here(tmp_path, handlers, returns)
        assert outcome.status.value == "successful", outcome.message
        item = tmp_path / "disk" / JOB_ID / "result" / "item.json"
        assert validate_stac(str(item)) == []
        assert followed(item) == {"item.json", "result.tif"}
        assert outcome.result["files"]["result"]["document"] == "item.json"

    @pytest.mark.parametrize("order", ORDERS)
    def test_a_folder(self, tmp_path, order):
        """A Collection is staged with its Items and rasters; the report has the checksums of all."""
        stores = {"stores": [{"name": "disk", "url": str(tmp_path / "disk")}]}

        def returned(_):
            for name in ("a.tif", "b.tif"):
                write_raster(tmp_path / "scratch" / "made" / name)
            return "application/json", tmp_path / "scratch" / "made"

        outcome = execute_here(tmp_path, in_every_order({"datetime": TIME}, stores)[order], Returns(returned))
        assert outcome.status.value == "successful", outcome.message
        collection = tmp_path / "disk" / JOB_ID / "result" / "collection.json"
        files = followed(collection)
        assert {Path(name).suffix for name in files} == {".json", ".tif"}
        assert len(files) == 5
        report = json.loads((tmp_path / "disk" / JOB_ID / "_replication.json").read_text())
        assert {one["path"] for one in report["outputs"]["result"]} == {f"result/{name}" for name in files}

    @pytest.mark.parametrize("order", ORDERS)
    def test_links(self, api, tmp_path, order):
        """With a link nothing is in the result store: what is answered and registered leads to the store."""
        public = (tmp_path / "disk").as_uri().replace("file://", "https://example.org")
        store = {"name": "disk", "url": str(tmp_path / "disk"), "public_url": public}
        handlers = in_every_order({"datetime": TIME}, {"stores": [store], "link": "disk"})[order]
        workspace = named("WorkspaceHandler", workspace_api_url=api.url, register_output="result")
        returns = Returns(lambda _: ("image/tiff", write_raster(tmp_path / "scratch" / "slope.tif").read_bytes()))
        outcome = execute_here(tmp_path, [workspace, *handlers], returns, user=ADA, access_token=TOKEN)
        assert outcome.status.value == "successful", outcome.message
        link = f"{public}/{JOB_ID}/result/item.json"
        assert link in json.dumps(outcome.result)
        assert "files" not in outcome.result
        assert [one["url"] for one in api.registered["ws-ada"].values()] == [link]
        assert followed(tmp_path / "disk" / JOB_ID / "result" / "item.json") == {"item.json", "result.tif"}

    def test_published_links(self, tmp_path):
        """With a link the STAC API is told where the store has the raster: the result store has nothing."""
        public = "https://files.example.org/archive"
        store = {"name": "disk", "url": str(tmp_path / "disk"), "public_url": public}
        returns = Returns(lambda _: ("image/tiff", write_raster(tmp_path / "scratch" / "slope.tif").read_bytes()))
        with stac_api() as (url, catalogue):
            publish = {"url": url, "server_url": "https://ogc.example.org"}
            stac = {"datetime": TIME, "collection": {"id": "slope"}, "publish": publish}
            handlers = [here("StacThenStores", stac=stac, stores=[store], link="disk")]
            outcome = execute_here(tmp_path, handlers, returns)
        assert outcome.status.value == "successful", outcome.message
        [item] = catalogue.items["slope"].values()
        assert item["assets"]["data"]["href"] == f"{public}/{JOB_ID}/result/result.tif"
        assert (tmp_path / "disk" / JOB_ID / "result" / "result.tif").is_file()


NOTED = []


class Noting:
    """Notes when the hooks of each class do what is theirs."""

    def setup_user_environment(self):
        NOTED.append("authenticated")
        super().setup_user_environment()

    def connect_workspace(self):
        NOTED.append("workspace")
        return super().connect_workspace()

    def validate_inputs(self):
        NOTED.append("inputs validated")
        super().validate_inputs()

    def validate_outputs(self, output):
        NOTED.append("outputs validated")
        return super().validate_outputs(output)

    def send_metric(self, name, value):
        if name in ("workflow.started", "workflow.completed"):
            NOTED.append(name)
        super().send_metric(name, value)


class FullFeaturedHandler(MonitoredHandler, WorkspaceHandler, ValidatedHandler):
    """As ZOO-Project's document has it."""

    def pre_execution_hook(self):
        NOTED.append("combined pre")
        MonitoredHandler.pre_execution_hook(self)
        WorkspaceHandler.pre_execution_hook(self)
        ValidatedHandler.pre_execution_hook(self)

    def post_execution_hook(self, log, output, usage_report, tool_logs):
        NOTED.append("combined post")
        ValidatedHandler.post_execution_hook(self, log, output, usage_report, tool_logs)
        WorkspaceHandler.post_execution_hook(self, log, output, usage_report, tool_logs)
        MonitoredHandler.post_execution_hook(self, log, output, usage_report, tool_logs)


class CooperativeHandler(MonitoredHandler, WorkspaceHandler, ValidatedHandler):
    def pre_execution_hook(self):
        NOTED.append("combined pre")
        super().pre_execution_hook()

    def post_execution_hook(self, log, output, usage_report, tool_logs):
        NOTED.append("combined post")
        super().post_execution_hook(log, output, usage_report, tool_logs)


class NotingExplicit(Noting, FullFeaturedHandler):
    pass


class NotingCooperative(Noting, CooperativeHandler):
    pass


class TestOneClass:
    """MonitoredHandler, WorkspaceHandler and ValidatedHandler as parents of one class."""

    @pytest.mark.parametrize("name", ["NotingExplicit", "NotingCooperative"])
    def test_each_hook_once(self, api, tmp_path, name, monkeypatch):
        """Called by name or by super(), each class's own hooks run once: validated, registered, and then completed."""
        NOTED.clear()
        register = WorkspaceClient.register_catalog

        def noted(self, **named):
            NOTED.append("registered")
            register(self, **named)

        monkeypatch.setattr(WorkspaceClient, "register_catalog", noted)
        catalogue = {"href": "https://example.org/catalog.json"}
        handlers = [here(name, workspace_api_url=api.url, required_inputs=["bbox"])]
        returns = Returns(("application/json", catalogue), ("stac_catalog",))
        given = {"inputs": {"bbox": [0, 0, 1, 1]}, "user": ADA, "access_token": TOKEN}
        outcome = execute_here(tmp_path, handlers, returns, **given)
        assert outcome.status.value == "successful", outcome.message
        before = ["combined pre", "workflow.started", "inputs validated", "authenticated", "workspace"]
        assert [*before, "combined post", "outputs validated", "registered", "workflow.completed"] == NOTED
        assert [one["url"] for one in api.registered["ws-ada"].values()] == [catalogue["href"]]

    def test_what_a_workspace_can_find(self, api, tmp_path):
        """A STAC document that is a file is registered where StacHandler has it published, and else not at all."""
        workspace = named("WorkspaceHandler", workspace_api_url=api.url, register_output="result")
        stac = named("StacHandler", stac={"datetime": TIME, "public_url": "https://files.example.org"})
        returns = Returns(lambda _: ("image/tiff", write_raster(tmp_path / "scratch" / "slope.tif").read_bytes()))
        given = {"user": ADA, "access_token": TOKEN}
        assert execute_here(tmp_path, [workspace, stac], returns, **given).status.value == "successful"
        [registered] = api.registered["ws-ada"].values()
        assert registered["url"] == f"https://files.example.org/{JOB_ID}/1/result.files/item.json"
        stac["options"]["stac"].pop("public_url")
        refused = execute_here(tmp_path, [workspace, stac], returns, **given)
        assert refused.message == "The output 'result' is no URL, so it cannot be registered in your workspace."


class TestRulesForStac:
    """ValidatedHandler with StacHandler."""

    @pytest.mark.parametrize("stac_is_outside", [True, False])
    def test_what_is_stored_is_validated(self, tmp_path, stac_is_outside):
        """Rules are held against the Item that is stored, whichever of the two has the output first."""
        rules = named("ValidatedHandler", stac_outputs=["result"], rules={"result": {"schema": {"required": ["nope"]}}})
        handlers = [named("StacHandler", stac={"datetime": TIME}), rules]
        returns = Returns(lambda _: ("image/tiff", write_raster(tmp_path / "scratch" / "slope.tif").read_bytes()))
        outcome = execute_here(tmp_path, handlers if stac_is_outside else handlers[::-1], returns)
        assert outcome.message == "The output 'result' must have the member 'nope' at #."


@pytest.fixture
def worked(tmp_path):
    """A server with processes in the pool and on a work pool, each with all handlers that need no user."""
    archive = tmp_path / "archive"
    handlers = [
        named("MonitoredHandler"),
        named("StacHandler", stac={"outputs": ["raster"], "datetime": TIME, "public_url": "https://files.example.org"}),
        named("MultiStorageHandler", stores=[{"name": "archive", "url": str(archive)}]),
        named("ValidatedHandler", stac_outputs=["raster"], rules={"statistics": {"ranges": {"/max": [0, 90]}}}),
    ]
    on_the_pool = {"deployment": {"work_pool": "test-pool"}}
    plain = {"name": "terrain.TerrainProcessor"}
    of_flow = {"flow": "raster_flows:slope"}
    processors = {
        "plain": {**plain, "prefect": {"handlers": handlers}},
        "plain-deployed": {**plain, "prefect": {"handlers": handlers, **on_the_pool}},
        "flow": {"name": "pygeoapi_prefect.FlowProcessor", "prefect": {**of_flow, "handlers": handlers}},
        "flow-deployed": {
            "name": "pygeoapi_prefect.FlowProcessor",
            "prefect": {**of_flow, "handlers": handlers, **on_the_pool},
        },
    }
    (tmp_path / "raster_flows.py").write_text(RASTER_FLOW)
    path = os.pathsep.join(filter(None, [str(TERRAIN), str(tmp_path), os.environ.get("PYTHONPATH")]))
    with LocalPrefectServer(tmp_path / "prefect") as prefect:
        prefect.wait_until_healthy(90)
        api_url = prefect.connection.api_url
        server = Server(
            tmp_path / "served",
            processors=processors,
            environment={"PREFECT_API_URL": api_url, "PYTHONPATH": path},
        )
        told = server.cli("plugins", "prefect", "deploy", "plain-deployed", "flow-deployed", check=False)
        assert told.returncode == 0, told.stdout + told.stderr
        worker = PrefectWorker(api_url, "test-pool", tmp_path / "worker", {"PYTHONPATH": path}).start()
        try:
            with running(server):
                yield server, archive
        finally:
            worker.stop()


RASTER_FLOW = """
from pathlib import Path
from typing import Any, TypedDict
import tempfile

from prefect import flow

from pygeoapi_prefect.process.types import BBox
from terrain import TerrainProcessor


class Slope(TypedDict):
    statistics: dict[str, Any]
    raster: Path


@flow
def slope(bbox: BBox) -> Slope:
    inputs = {"bbox": [bbox.west, bbox.south, bbox.east, bbox.north]}
    processor = TerrainProcessor({"name": "terrain"})
    path = Path(tempfile.gettempdir()) / "slope.tif"
    path.write_bytes(processor.execute(inputs, ["raster"])[1])
    return {"statistics": processor.execute(inputs, ["statistics"])[1], "raster": path}
"""


@pytest.mark.soak
def test_everywhere(worked):
    """Handlers do the same for plain processors and for flows, in the pool and in deployments."""
    server, archive = worked
    inputs = {"bbox": [-84.30, 36.16, -84.16, 36.25]}
    jobs = {name: server.submit(name, inputs, response="document") for name in server.processors}
    for name, job_id in jobs.items():
        job = server.wait_for(job_id, within=180)
        assert job["status"] == "successful", (name, job)
        item = archive / job_id / "raster" / "item.json"
        assert len(followed(item)) == 2, name
        assert validate_stac(str(item)) == []
        report = json.loads((archive / job_id / "_replication.json").read_text())
        assert set(report["outputs"]) == {"raster", "statistics"}
        found = server.results(job_id).json()
        assert found["statistics"]["cells"] > 1000 if "cells" in found["statistics"] else found["statistics"]["value"]
        assert found["raster"]["value"]["assets"]["data"]["href"].startswith(f"https://files.example.org/{job_id}/")
