"""Laws of StacHandler: what becomes of outputs, what clients get of it, and what is published."""

import datetime
import hashlib
import json
import logging
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import fsspec
import httpx
import numpy as np
import pystac
import pytest
import rasterio
from rasterio.transform import from_origin

from handler_examples import stac_api
from pygeoapi_prefect.exceptions import ConfigurationError, InvalidOutputsError
from pygeoapi_prefect.handlers import StacHandler, ValidatedHandler
from pygeoapi_prefect.handlers.handled_job import HandledJob
from pygeoapi_prefect.handlers.loading import load_handlers
from pygeoapi_prefect.handlers.stac_items import UnusableStacError
from pygeoapi_prefect.handlers.stac_options import CollectionSettings, PublicationSettings, StacSettings
from pygeoapi_prefect.handlers.stac_publication import StacPublicationError
from pygeoapi_prefect.handlers.stac_tree import documents_in, write_document
from pygeoapi_prefect.handlers.stac_validation import validate_stac
from pygeoapi_prefect.results import OutputLinks, ResultStore, copy_values, outputs_manifest, respond, store_value
from pygeoapi_prefect.settings import HandlerSettings
from serving import eventually, free_port

HERE = Path(__file__).parent
STAC = "pygeoapi_prefect.handlers.StacHandler"
FOLDER = "job-1/1"
BASE_URL = "https://ogc.example.org/oapi"
GEOTIFF = "image/tiff; application=geotiff"
MOMENT = datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)


class Job:
    """A job with a StacHandler, executed here: what it stores, and what clients get."""

    def __init__(self, scratch, store, handlers=None, *, submitter=None, access_token=None, **stac):
        handlers = handlers or [HandlerSettings(name=STAC, options={"stac": stac})]
        self.store = store
        self.scratch = scratch
        self.handled = HandledJob(
            job_id="job-1",
            process_id="slope",
            inputs={},
            requested_outputs=None,
            declared_outputs=["out"],
            handlers=handlers,
            store=store,
            folder=FOLDER,
            user=submitter,
        )
        self.access_token = access_token
        self.manifest = None

    def run(self, **outputs):
        """Execute, with these outputs; values are paths or anything else, or pairs with their media type."""
        self.handled.open()
        try:
            [handler] = self.handled._chain._handlers[-1:]
            if self.access_token is not None:
                handler.conf["lenv"]["access_token"] = self.access_token
            self.handler = handler
            with self.handled.attempt():
                stored = {}
                for name, value in outputs.items():
                    media_type, content = value if isinstance(value, tuple) else ("application/json", value)
                    stored[name] = store_value(
                        self.store, FOLDER, name, *self.handled.output(name, media_type, content)
                    )
                self.manifest = self.handled.finish(outputs_manifest(stored))
        finally:
            self.handled.close()
        # as the job's row keeps it
        self.manifest = json.loads(json.dumps(self.manifest))
        return self

    def get(self, *outputs, lifetime=None):
        """What a client gets."""
        links = OutputLinks(BASE_URL, "job-1", lifetime)
        answer = respond(self.store, self.manifest, {}, as_returned=False, links=links, outputs=outputs)
        return answer.media_type, answer.loaded()

    def follow(self, href):
        """What a client gets at a link of this server."""
        prefix = f"{BASE_URL}/jobs/job-1/results?outputs="
        assert href.startswith(prefix)
        return self.get(unquote(href.removeprefix(prefix)))


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The job's scratch folder."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "results"))


@pytest.fixture
def job(scratch, store):
    def make(**options):
        return Job(scratch, store, **options)

    return make


def raster(path, *, west=8.0, tags=None, **profile):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.arange(6, dtype="int16").reshape(1, 2, 3)
    profile = {"driver": "GTiff", "dtype": "int16", "count": 1, "width": 3, "height": 2, "crs": "EPSG:4326", **profile}
    with rasterio.open(path, "w", transform=from_origin(west, 48, 1, 1), **profile) as file:
        file.write(data)
        file.update_tags(**(tags or {}))
    return path


def item(item_id, **keys):
    made = pystac.Item(item_id, {"type": "Point", "coordinates": [8, 47]}, [8, 47, 8, 47], MOMENT, {})
    return made.to_dict(transform_hrefs=False) | keys


def catalogue(folder, assets):
    """A process's own catalogue: an Item for each asset's link."""
    made = pystac.Catalog("root", "A catalogue")
    for name, href in assets.items():
        one = pystac.Item.from_dict(item(name))
        one.add_asset("data", pystac.Asset(str(href)))
        made.add_item(one)
    made.normalize_hrefs(str(folder))
    made.save(pystac.CatalogType.SELF_CONTAINED)
    return folder / "catalog.json"


class TestRasters:
    def test_one_raster(self, job, scratch):
        """A raster becomes an Item with its place, time, projection, bands, size and checksum."""
        path = raster(scratch / "slope.tif", tags={"TIFFTAG_DATETIME": "2024:05:06 07:08:09"})
        done = job().run(out=(GEOTIFF, path))
        media_type, found = done.get("out")
        assert media_type == "application/geo+json"
        assert (found["stac_version"], found["id"]) == ("1.1.0", "slope_job-1")
        assert found["bbox"] == [8, 46, 11, 48]
        assert found["properties"]["datetime"] == "2024-05-06T07:08:09Z"
        assert found["properties"]["proj:code"] == "EPSG:4326"
        asset = found["assets"]["data"]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert (asset["type"], asset["roles"]) == (GEOTIFF, ["data"])
        assert (asset["file:size"], asset["file:checksum"]) == (path.stat().st_size, f"1220{digest}")
        assert validate_stac(found, mode="strict") == []

    def test_links_lead_to_files(self, job, scratch):
        """A client that gets the Item gets the raster by the Item's link, in its media type."""
        path = raster(scratch / "slope.tif")
        done = job().run(out=path)
        _, found = done.get("out")
        href = found["assets"]["data"]["href"]
        assert href == f"{BASE_URL}/jobs/job-1/results?outputs=out%2Fslope.tif"
        assert done.follow(href) == (GEOTIFF, path.read_bytes())

    def test_links_within_a_document(self, job, scratch):
        """In a results document with all outputs, links lead to the files as well, and files are no outputs."""
        done = job().run(out=raster(scratch / "slope.tif"), other="text")
        answer = respond(
            done.store, done.manifest, {"response": "document"}, as_returned=False, links=OutputLinks(BASE_URL, "job-1")
        )
        assert set(answer.content) == {"out", "other"}
        assert answer.content["out"]["value"]["assets"]["data"]["href"].startswith(BASE_URL)

    def test_bytes(self, job, scratch):
        """A raster that a process returns as bytes is one, too."""
        data = raster(scratch / "slope.tif").read_bytes()
        _, found = job().run(out=(GEOTIFF, data)).get("out")
        assert found["id"] == "out_job-1"

    def test_list(self, job, scratch):
        """A list of paths becomes an ItemCollection."""
        paths = [raster(scratch / f"{name}.tif") for name in ("a", "b")]
        done = job().run(out=[str(path) for path in paths])
        media_type, found = done.get("out")
        assert (media_type, found["type"]) == ("application/geo+json", "FeatureCollection")
        assert [one["id"] for one in found["features"]] == ["a_job-1", "b_job-1"]
        hrefs = [one["assets"]["data"]["href"] for one in found["features"]]
        assert [done.follow(href)[1] for href in hrefs] == [path.read_bytes() for path in paths]

    def test_folder(self, job, scratch):
        """A folder becomes a Collection with an Item for each raster, and clients get all by its links."""
        folder = scratch / "scenes"
        raster(folder / "a.tif", west=8)
        raster(folder / "b.tif", west=20)
        (folder / "a.png").write_bytes(b"picture")
        (folder / "readme.txt").write_text("hello")
        (folder / ".hidden").write_text("no")
        done = job(collection={"title": "Slopes", "license": "CC0-1.0"}).run(out=folder)
        _, found = done.get("out")
        assert (found["type"], found["id"], found["title"]) == ("Collection", "slope_job-1", "Slopes")
        assert found["extent"]["spatial"]["bbox"] == [[8, 46, 23, 48]]
        assert set(found["assets"]) == {"readme.txt"}
        assert done.follow(found["assets"]["readme.txt"]["href"]) == ("text/plain", b"hello")
        items = [done.follow(link["href"])[1] for link in found["links"] if link["rel"] == "item"]
        assert [one["id"] for one in items] == ["a_job-1", "b_job-1"]
        assert set(items[0]["assets"]) == {"data", "a.png"}
        assert done.follow(items[0]["assets"]["a.png"]["href"]) == ("image/png", b"picture")
        [collection] = [link["href"] for link in items[0]["links"] if link["rel"] == "collection"]
        assert done.follow(collection)[1]["id"] == found["id"]

    def test_stored_tree(self, job, scratch, store):
        """In the result store the documents stand as a catalogue that needs no server."""
        raster(scratch / "scenes" / "a.tif")
        job().run(out=scratch / "scenes")
        root = f"{store.root}/{FOLDER}/out.files/collection.json"
        assert validate_stac(root, mode="strict") == []
        [one] = list(pystac.Collection.from_file(root).get_items())
        assert Path(one.assets["data"].get_absolute_href()).read_bytes()[:2] == b"II"

    @pytest.mark.parametrize(
        ("options", "start", "end"),
        [
            ({"datetime": "2020-01-02T00:00:00Z"}, "2020-01-02T00:00:00Z", None),
            ({"datetime": datetime.date(2020, 1, 2)}, "2020-01-02T00:00:00Z", None),
            ({"datetime": "2020-01-01/2020-02-01"}, "2020-01-01T00:00:00Z", "2020-02-01T00:00:00Z"),
            ({"datetime_pattern": r"_(\d{8}T\d{6})"}, "2021-03-04T05:06:07Z", None),
            ({"datetime_pattern": r"\d{4}"}, "2021-01-01T00:00:00Z", None),
            ({"datetime_pattern": "nothing"}, "2024-05-06T07:08:09Z", None),
        ],
    )
    def test_moment(self, job, scratch, options, start, end):
        """The operator's word goes before the file's name, and that before the file's tags."""
        tags = {"TIFFTAG_DATETIME": "2024:05:06 07:08:09"}
        path = raster(scratch / "slope_20210304T050607.tif", tags=tags)
        properties = job(**options).run(out=path).get("out")[1]["properties"]
        if end is None:
            assert properties["datetime"] == start
        else:
            found = (properties["datetime"], properties["start_datetime"], properties["end_datetime"])
            assert found == (None, start, end)

    def test_last_resort(self, job, scratch):
        """A raster without a time is of the time when its Item is made."""
        before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        properties = job().run(out=raster(scratch / "a.tif")).get("out")[1]["properties"]
        assert before <= pystac.utils.str_to_datetime(properties["datetime"])

    def test_files_of_one_item(self, job, scratch):
        """The one Item of a folder has all its files."""
        raster(scratch / "scene" / "a.tif")
        (scratch / "scene" / "readme.txt").write_text("hello")
        found = job(document="item").run(out=scratch / "scene").get("out")[1]
        assert set(found["assets"]) == {"data", "readme.txt"}

    def test_item_of_folder(self, job, scratch):
        """Where each folder is an Item, its rasters are assets."""
        for scene in ("one", "two"):
            for band in ("red", "blue"):
                raster(scratch / "all" / scene / f"{band}.tif")
        done = job(item_of="folder", document="item-collection").run(out=scratch / "all")
        found = done.get("out")[1]["features"]
        assert [one["id"] for one in found] == ["one_job-1", "two_job-1"]
        assert set(found[0]["assets"]) == {"red", "blue"}
        assert found[0]["geometry"]["type"] == "Polygon"

    def test_several_are_no_item(self, job, scratch):
        """Several rasters cannot be the one Item that is asked for."""
        paths = [raster(scratch / f"{name}.tif") for name in ("a", "b")]
        with pytest.raises(UnusableStacError, match=r"stac\.document"):
            job(document="item").run(out=paths)

    def test_no_raster(self, job, scratch):
        """A folder without a raster fails the job, and the client reads no path."""
        (scratch / "empty").mkdir()
        with pytest.raises(UnusableStacError) as refused:
            job().run(out=scratch / "empty")
        assert refused.value.client_message == "The process left no raster that says where it is."

    def test_other_outputs(self, job, scratch):
        """What is no STAC, no raster and no folder stays as it is; and so does what the options do not name."""
        text = scratch / "a.txt"
        text.write_text("hello")
        done = job().run(text="hello", file=("text/plain", text), numbers=[1, 2], nothing=[])
        assert done.get("text")[1] == "hello"
        assert done.get("file") == ("text/plain", b"hello")
        assert (done.get("numbers")[1], done.get("nothing")[1]) == ([1, 2], [])
        done = job(outputs=["out"]).run(other=(GEOTIFF, raster(scratch / "a.tif")))
        assert done.get("other")[0] == GEOTIFF
        with pytest.raises(UnusableStacError, match="neither STAC nor"):
            job(outputs=["out"]).run(out="hello")

    def test_what_the_operator_adds(self, job, scratch):
        """Properties, providers, processing and the user stand in each Item."""
        options = {
            "properties": {"gsd": 90},
            "providers": [{"name": "Us", "roles": ["processor"]}],
            "processing": {"level": "L3", "facility": "Here"},
            "user": True,
            "statistics": True,
        }
        user = {"issuer": "https://issuer.example", "subject": "7", "name": "Ada"}
        _, found = job(submitter=user, **options).run(out=raster(scratch / "a.tif")).get("out")
        properties = found["properties"]
        assert (properties["gsd"], properties["user"], properties["processing:level"]) == (90, "Ada", "L3")
        assert properties["providers"] == options["providers"]
        assert found["assets"]["data"]["bands"][0]["statistics"]["maximum"] == 5
        assert validate_stac(found, mode="strict") == []

    def test_public_url(self, job, scratch, store):
        """Where clients reach the store's files, links lead there; in the store they stay relative."""
        done = job(public_url="https://data.example.org/results/").run(out=raster(scratch / "a.tif"))
        href = f"https://data.example.org/results/{FOLDER}/out.files/a.tif"
        assert done.get("out")[1]["assets"]["data"]["href"] == href
        stored = json.loads(store.get(f"{FOLDER}/out.files/item.json"))
        assert stored["assets"]["data"]["href"] == "./a.tif"
        assert done.handler.stac_hrefs == {"out": f"https://data.example.org/results/{FOLDER}/out.files/item.json"}

    def test_again(self, job, scratch):
        """A second attempt stores anew what the first one stored."""
        path = raster(scratch / "a.tif")
        made = job()
        made.run(out=path)
        made.run(out=path)
        assert len(made.get("out")[1]["assets"]) == 1


class TestTakenOver:
    def test_catalogue(self, job, scratch):
        """A catalogue in files is taken over with its items and assets; what it was made of stays as it is."""
        path = raster(scratch / "work" / "slope.tif")
        root = catalogue(scratch / "catalogue", {"scene": path})
        before = root.read_text()
        done = job(providers=[{"name": "Us"}]).run(stac=root)
        _, found = done.get("stac")
        assert found["type"] == "Catalog"
        [href] = [link["href"] for link in found["links"] if link["rel"] == "item"]
        _, scene = done.follow(href)
        assert done.follow(scene["assets"]["data"]["href"])[1] == path.read_bytes()
        assert scene["properties"]["providers"] == [{"name": "Us"}]
        assert root.read_text() == before

    def test_folder_with_a_catalogue(self, job, scratch):
        """A folder with a catalogue at its top is that catalogue."""
        root = catalogue(scratch / "catalogue", {"scene": raster(scratch / "a.tif")})
        assert job().run(out=root.parent).get("out")[1]["id"] == "root"

    def test_older_version(self, job):
        """What is STAC 1.0 becomes STAC 1.1."""
        _, found = job().run(out=item("scene", stac_version="1.0.0")).get("out")
        assert found["stac_version"] == "1.1.0"

    def test_without_a_place(self, job):
        """An item without a place is valid as pystac writes it."""
        done = job().run(out=pystac.Item("scene", None, None, MOMENT, {}))
        assert "bbox" not in done.get("out")[1]

    def test_in_line(self, job, scratch):
        """Documents that are no files are taken over, with assets by their absolute paths or URLs."""
        path = raster(scratch / "a.tif")
        assets = {"local": {"href": str(path)}, "remote": {"href": "https://example.org/b.tif"}}
        done = job().run(out=item("scene", assets=assets))
        found = done.get("out")[1]["assets"]
        assert done.follow(found["local"]["href"])[1] == path.read_bytes()
        assert found["remote"] == {"href": "https://example.org/b.tif"}

    def test_in_line_relative(self, job):
        """A relative link of a document that is no file leads nowhere, and fails the job."""
        with pytest.raises(UnusableStacError, match=r"\./a\.tif"):
            job().run(out=item("scene", assets={"data": {"href": "./a.tif"}}))

    @pytest.mark.parametrize("how", ["absolute", "climbing", "symlink"])
    def test_files_of_others(self, job, scratch, tmp_path, how):
        """An asset that is no file of the job is not given to clients, however it is named."""
        secret = raster(tmp_path / "elsewhere" / "secret.tif")
        link = scratch / "link.tif"
        link.symlink_to(secret)
        href = {"absolute": secret, "climbing": "../../elsewhere/secret.tif", "symlink": link}[how]
        document = scratch / "item.json"
        document.write_text(json.dumps(item("scene", assets={"data": {"href": str(href)}})))
        with pytest.raises(UnusableStacError) as refused:
            job().run(out=document)
        assert refused.value.client_message == "The asset 'data' is no file of the job."

    def test_paths_as_texts(self, job, tmp_path):
        """A text may be the client's: as a path it has to be one of the job's. A path of the process need not."""
        path = raster(tmp_path / "elsewhere" / "a.tif")
        with pytest.raises(UnusableStacError) as refused:
            job().run(out=[str(path)])
        assert refused.value.client_message == "The asset 'data' is no file of the job."
        for value in (path, [path], path.parent):
            assert job(document="item").run(out=value).get("out")[1]["id"] == "a_job-1"

    def test_asset_folders(self, job, scratch, tmp_path):
        """The operator may name further folders."""
        path = raster(tmp_path / "archive" / "a.tif")
        done = job(asset_folders=[str(tmp_path / "archive")]).run(
            out=item("scene", assets={"data": {"href": str(path)}})
        )
        assert done.follow(done.get("out")[1]["assets"]["data"]["href"])[1] == path.read_bytes()

    def test_links_to_other_documents(self, job, scratch, tmp_path):
        """Links that lead out of the folder are left out where they are local, and stay where they are URLs."""
        (tmp_path / "secret.json").write_text(json.dumps(item("secret")))
        root = catalogue(scratch / "catalogue", {"scene": raster(scratch / "a.tif")})
        document = json.loads(root.read_text())
        document["links"] += [
            {"rel": "item", "href": "../../secret.json"},
            {"rel": "derived_from", "href": "https://example.org/item.json"},
        ]
        root.write_text(json.dumps(document))
        links = job().run(out=root).get("out")[1]["links"]
        assert sorted(link["rel"] for link in links) == ["derived_from", "item", "root"]

    def test_invalid(self, job):
        """What is no valid STAC fails the job with its violations, unless nobody wants to know."""
        wrong = item("scene", bbox=["here"])
        with pytest.raises(UnusableStacError, match="scene: bbox") as refused:
            job().run(out=wrong)
        assert "scene: bbox" in refused.value.client_message
        assert job(validation="off").run(out=wrong).get("out")[1]["bbox"] == ["here"]

    def test_strict(self, job):
        """Where the operator is strict, an extension without a schema is a violation."""
        odd = item("scene", stac_extensions=["https://example.org/mood/v1.0.0/schema.json"])
        assert job().run(out=odd).get("out")[1]["id"] == "scene"
        with pytest.raises(UnusableStacError, match="mood"):
            job(validation="strict").run(out=odd)

    def test_deployment(self, job, scratch, tmp_path):
        """A result that stood in another store is copied with its files, and clients get the same."""
        done = job().run(out=raster(scratch / "a.tif"))
        expected = done.get("out")
        target = ResultStore(str(tmp_path / "target"))
        done.manifest = copy_values(done.manifest, done.store, target, "job-1/2", allowed="job-1")
        done.store = target
        assert done.get("out") == expected
        assert done.follow(expected[1]["assets"]["data"]["href"])[0] == GEOTIFF


class Titled(StacHandler):
    """Changes what is stored."""

    def enhance_stac_catalog(self, values):
        values = super().enhance_stac_catalog(values)
        for path, document in documents_in(Path(values["folder"])):
            write_document(path, document | {"title": "Mine"})
        return values

    def publish_catalog(self, output_name):
        logging.getLogger(__name__).warning("publishing %s", output_name)


class Ruled(ValidatedHandler, StacHandler):
    """Makes STAC, and holds it against rules."""


class TestSubclasses:
    def test_hooks(self, scratch, store, caplog):
        """A subclass changes the documents before they are stored, and publishes once they are."""
        handlers = [HandlerSettings(name=f"{__name__}.Titled", options={})]
        root = catalogue(scratch / "catalogue", {"scene": raster(scratch / "a.tif")})
        assert Job(scratch, store, handlers).run(out=root).get("out")[1]["title"] == "Mine"
        assert "publishing out" in caplog.text

    def test_with_rules(self, scratch, store):
        """In one class with ValidatedHandler, each has its options, and what was made is held against the rules."""
        name = f"{__name__}.Ruled"
        path = raster(scratch / "a.tif")
        options = {"stac": {"item_id": "it"}, "stac_outputs": ["out"]}
        done = Job(scratch, store, [HandlerSettings(name=name, options=options)]).run(out=path)
        assert done.get("out")[1]["id"] == "it"
        options["stac"]["outputs"] = []
        with pytest.raises(InvalidOutputsError, match="no STAC document"):
            Job(scratch, store, [HandlerSettings(name=name, options=options)]).run(out=(GEOTIFF, path))

    def test_custom_handler_of_the_document(self, scratch, store):
        """The document's own handler, outside, changes the items that are stored, and not those of the process."""
        names = ["handlers_of_the_document.CustomStacHandler", STAC]
        handlers = [HandlerSettings(name=name, options={}) for name in names]
        root = catalogue(scratch / "catalogue", {"scene": raster(scratch / "a.tif")})
        done = Job(scratch, store, handlers).run(out=root)
        [href] = [link["href"] for link in done.get("out")[1]["links"] if link["rel"] == "item"]
        assert done.follow(href)[1]["properties"]["processor"] == "custom-processor"
        assert "processor" not in json.loads((root.parent / "scene" / "scene.json").read_text())["properties"]


def test_every_option_is_documented():
    """The page has each option, and none that there is not."""
    page = (HERE.parent / "docs" / "how-to" / "stac-results.md").read_text()
    documented = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    sections = {"": StacSettings, "collection.": CollectionSettings, "publish.": PublicationSettings}
    expected = {f"{prefix}{name}" for prefix, section in sections.items() for name in section.model_fields}
    assert documented == expected - {"collection", "publish"}


@pytest.mark.parametrize(
    ("stac", "key"),
    [
        ({"form": "item"}, r"options\.stac\.form"),
        ({"item_id": "{nme}"}, "item_id"),
        ({"datetime": "yesterday"}, "datetime"),
        ({"datetime_pattern": "("}, "datetime_pattern"),
        ({"publish": {"url": "api"}}, r"publish\.url"),
        ({"publish": {"url": "https://a", "token": "x", "as_user": True}}, "publish"),
    ],
)
def test_wrong_options(stac, key):
    """Wrong options are refused before there is a job, by their key."""
    with pytest.raises(ConfigurationError, match=key):
        load_handlers("slope", [HandlerSettings(name=STAC, options={"stac": stac})])


# ---------------------------------------------------------------- object stores


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """The options of a real S3 server with an empty bucket."""
    port = free_port()
    with (tmp_path_factory.mktemp("s3") / "s3.log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        options = {"key": "key", "secret": "secret", "client_kwargs": {"endpoint_url": f"http://127.0.0.1:{port}"}}
        eventually(lambda: is_there(options), within=30, what="an answer of the S3 server")
        yield options
    finally:
        server.terminate()
        server.wait(10)


def is_there(options):
    try:
        fsspec.filesystem("s3", **options).mkdir("bucket")
    except Exception:
        return False
    return True


class TestObjectStore:
    def test_results_in_a_bucket(self, scratch, s3):
        """In a bucket assets say so; clients get rasters of the store and documents of this server."""
        store = ResultStore("s3://bucket/results", s3)
        raster(scratch / "scenes" / "a.tif")
        done = Job(scratch, store, storage={"type": "custom-s3", "platform": "https://s3.example.org/{bucket}"})
        done.run(out=scratch / "scenes")
        _, found = done.get("out", lifetime=60)
        [href] = [link["href"] for link in found["links"] if link["rel"] == "item"]
        _, scene = done.follow(href)
        assert scene["assets"]["data"]["storage:refs"] == ["result-store"]
        assert scene["properties"]["storage:schemes"]["result-store"]["type"] == "custom-s3"
        links = OutputLinks(BASE_URL, "job-1", 60)
        name = "out/a_job-1/a_job-1.json"
        answer = respond(store, done.manifest, {}, as_returned=False, links=links, outputs=[name])
        signed = answer.content["assets"]["data"]["href"]
        assert httpx.get(signed).content[:2] == b"II"

    def test_storage_by_its_url(self, scratch, s3, monkeypatch):
        """A bucket's scheme is told by its URL and the region of the environment."""
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        done = Job(scratch, ResultStore("s3://bucket/results", s3)).run(out=raster(scratch / "a.tif"))
        schemes = done.get("out")[1]["properties"]["storage:schemes"]
        assert schemes == {
            "result-store": {
                "type": "aws-s3",
                "platform": "https://{bucket}.s3.{region}.amazonaws.com",
                "bucket": "bucket",
                "region": "eu-central-1",
            }
        }

    def test_assets_in_a_bucket(self, job):
        """Assets in other buckets stay there, and say what store it is."""
        _, found = job().run(out=item("scene", assets={"data": {"href": "s3://archive/a.tif"}})).get("out")
        assert found["assets"]["data"] == {"href": "s3://archive/a.tif", "storage:refs": ["s3-archive"]}
        assert found["properties"]["storage:schemes"]["s3-archive"]["bucket"] == "archive"

    def test_catalogue_in_a_bucket(self, job, scratch, s3):
        """A catalogue that a process left in a bucket is taken over with what stands below it."""
        path = raster(scratch / "a.tif")
        root = catalogue(scratch / "catalogue", {"scene": path})
        scene = scratch / "catalogue" / "scene"
        document = json.loads((scene / "scene.json").read_text())
        document["assets"]["data"]["href"] = "./a.tif"
        (scene / "scene.json").write_text(json.dumps(document))
        (scene / "a.tif").write_bytes(path.read_bytes())
        fsspec.filesystem("s3", **s3).put(str(root.parent), "bucket/work", recursive=True)
        link = {"href": "s3://bucket/work/catalog.json"}
        assert (
            job(link_prefixes=["s3://bucket/wo"], storage_options=s3).run(out=link).get("out")[1]["href"]
            == link["href"]
        )
        done = job(link_prefixes=["s3://bucket/work"], storage_options=s3).run(out=link)
        [href] = [link["href"] for link in done.get("out")[1]["links"] if link["rel"] == "item"]
        _, found = done.follow(href)
        assert done.follow(found["assets"]["data"]["href"])[1] == path.read_bytes()


# ---------------------------------------------------------------- publication


@pytest.fixture(scope="module")
def api():
    """The URL of a stac-fastapi application, and what it keeps."""
    with stac_api() as found:
        yield found


@pytest.fixture
def published(api, job):
    """Makes a job that publishes to an empty API: the job, and what the API keeps."""
    url, catalogue = api
    catalogue.__init__()

    def make(*, publish=None, **options):
        target = {"url": url, "server_url": BASE_URL, **(publish or {})}
        return job(publish=target, **options), catalogue

    return make


class TestPublication:
    def test_item(self, published, scratch, api):
        """An Item is published to the Collection that the options describe, with links that everybody can follow."""
        made, catalogue = published(collection={"id": "slopes", "title": "Slopes"})
        path = raster(scratch / "a.tif")
        made.run(out=path)
        assert catalogue.collections["slopes"]["title"] == "Slopes"
        found = catalogue.items["slopes"]["a_job-1"]
        assert found["collection"] == "slopes"
        assert made.follow(found["assets"]["data"]["href"])[1] == path.read_bytes()
        [link] = [one for one in made.get("out")[1]["links"] if one["rel"] == "canonical"]
        assert link["href"] == f"{api[0]}/collections/slopes/items/a_job-1"

    def test_collection(self, published, scratch):
        """A Collection is published with its Items, at once."""
        for name in ("a", "b"):
            raster(scratch / "scenes" / f"{name}.tif")
        made, catalogue = published()
        made.run(out=scratch / "scenes")
        assert set(catalogue.items["slope_job-1"]) == {"a_job-1", "b_job-1"}
        posts = [path for method, path in catalogue.requests if method == "POST"]
        assert posts == ["/collections", "/collections/slope_job-1/items"]

    def test_again(self, published, scratch):
        """To publish twice is to publish once: what is there is replaced."""
        for name in ("a", "b"):
            raster(scratch / "scenes" / f"{name}.tif")
        made, catalogue = published(properties={"run": 1})
        made.run(out=scratch / "scenes")
        Job(scratch, made.store, publish=dict(made.handler.settings.publish), properties={"run": 2}).run(
            out=scratch / "scenes"
        )
        found = catalogue.items["slope_job-1"]
        assert {name: one["properties"]["run"] for name, one in found.items()} == {"a_job-1": 2, "b_job-1": 2}

    def test_collection_of_others(self, published, scratch):
        """A Collection that is there already is not changed by an Item that joins it."""
        made, catalogue = published(collection={"id": "slopes", "title": "New"})
        catalogue.collections["slopes"] = {"type": "Collection", "id": "slopes", "title": "Old"}
        catalogue.items["slopes"] = {}
        made.run(out=raster(scratch / "a.tif"))
        assert catalogue.collections["slopes"]["title"] == "Old"
        assert set(catalogue.items["slopes"]) == {"a_job-1"}

    def test_patience(self, published, scratch):
        """An API that is away for a moment is asked again."""
        made, catalogue = published()
        catalogue.failing = [503, 429]
        made.run(out=raster(scratch / "a.tif"))
        assert set(catalogue.items["slope_job-1"]) == {"a_job-1"}

    def test_away(self, published, scratch):
        """An API that stays away fails the job; the client reads no address."""
        made, catalogue = published(publish={"attempts": 2})
        catalogue.failing = [503, 503, 503]
        with pytest.raises(StacPublicationError, match="is away") as refused:
            made.run(out=raster(scratch / "a.tif"))
        assert refused.value.client_message == "The results could not be published to the STAC API."

    def test_missing_collection(self, published, scratch):
        """A Collection that the options name has to be there."""
        made, _ = published(publish={"collection": "nowhere"})
        with pytest.raises(StacPublicationError, match="404"):
            made.run(out=raster(scratch / "a.tif"))

    @pytest.mark.parametrize("how", ["token", "token_env", "as_user"])
    def test_token(self, published, scratch, monkeypatch, how, caplog):
        """The token comes from the options, the environment or the user, and stands in no log."""
        value = {"token": "s3cret-token", "token_env": "API_TOKEN", "as_user": True}[how]
        monkeypatch.setenv("API_TOKEN", "s3cret-token")
        made, catalogue = published(publish={how: value})
        made.access_token = "s3cret-token"
        catalogue.token = "s3cret-token"
        path = raster(scratch / "a.tif")
        made.run(out=path)
        assert set(catalogue.items["slope_job-1"]) == {"a_job-1"}
        catalogue.token = "another"
        with pytest.raises(StacPublicationError, match="401") as refused:
            Job(scratch, made.store, publish=dict(made.handler.settings.publish), access_token="s3cret-token").run(
                out=path
            )
        assert "s3cret-token" not in str(refused.value) + caplog.text

    def test_nobody(self, published, scratch):
        """Without a user's token, nothing is published as a user."""
        made, _ = published(publish={"as_user": True})
        with pytest.raises(StacPublicationError, match="needs_access_token"):
            made.run(out=raster(scratch / "a.tif"))

    def test_taken_over(self, published, scratch):
        """Of a catalogue that a process made, its Items are published."""
        root = catalogue(scratch / "catalogue", {"scene": raster(scratch / "a.tif")})
        made, kept = published(collection={"id": "scenes"})
        made.run(out=root)
        assert set(kept.items["scenes"]) == {"scene"}
