"""Laws of staging out: what gets into which store, how it is verified, and what is told when a store fails."""

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
from typing import ClassVar

import fsspec
import httpx
import pytest
from fsspec.implementations.local import LocalFileSystem

from pygeoapi_prefect.exceptions import ConfigurationError, StageOutError
from pygeoapi_prefect.handlers.chain import HandlerChain
from pygeoapi_prefect.handlers.loading import load_handlers
from pygeoapi_prefect.handlers.multi_storage import MultiStorageHandler
from pygeoapi_prefect.handlers.staged_files import FileToStage
from pygeoapi_prefect.handlers.staging import REPORT, CopyDiffersError, StoreOfJob
from pygeoapi_prefect.handlers.storage_options import StoreOptions, filled_in, safe_name
from pygeoapi_prefect.results.returns import UnusableReturnError
from pygeoapi_prefect.results.store import ResultStore
from pygeoapi_prefect.settings import process_settings
from s3_server import KEY, SECRET, answers, s3_file_system, s3_options, s3_server
from serving import Server, eventually, free_port, running

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
CREDENTIALS = {"key": "TEST_ARCHIVE_KEY", "secret": "TEST_ARCHIVE_SECRET"}


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """The URL of a real S3 server with the bucket ``archive``."""
    with s3_server(tmp_path_factory.mktemp("s3") / "s3.log") as url:
        s3_file_system(url).mkdir("archive")
        yield url


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("TEST_ARCHIVE_KEY", KEY)
    monkeypatch.setenv("TEST_ARCHIVE_SECRET", SECRET)
    # gcsfs would ask Google, in another protocol, what kind of bucket it is; read when gcsfs is imported
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


def archive(url, bucket="archive", **keys):
    """Options of a store on the S3 server."""
    place = {"name": "archive", "url": f"s3://{bucket}/results"}
    return {**place, "storage_options": s3_options(url), "credentials": CREDENTIALS, **keys}


class Job:
    """A handler in a job whose process returns *outputs*: values by output id, with their media types."""

    def __init__(self, tmp_path, options, user=None):
        self.scratch = tmp_path / "scratch"
        self.scratch.mkdir(exist_ok=True)
        self.results = tmp_path / "results"
        lenv = {"job_id": "job-1", "process_id": "ndvi", "user": user, "message": "Job running"}
        conf = {"lenv": lenv, "main": {"tmpPath": str(self.scratch), "tmpUrl": str(self.results)}}
        self.handler = MultiStorageHandler(conf)
        self.handler.options = {"copy_attempts": 1, **options}
        self.handler.pre_execution_hook()

    def run(self, outputs, kept=None):
        """The values that would be stored, by output id."""
        stored = {}
        for name, values in outputs.items():
            stored[name] = HandlerChain([self.handler]).set_output(name, {"mediaType": "application/json", **values})
        self.handler.post_execution_hook("", kept or {}, {}, [])
        return stored

    @property
    def message(self):
        return self.handler.conf["lenv"]["message"]


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def make_catalogue(folder):
    folder.mkdir()
    (folder / "item").mkdir()
    (folder / "catalog.json").write_text('{"stac_version": "1.1.0"}')
    (folder / "item" / "item.json").write_text("{}")
    (folder / "item" / "slope.tif").write_bytes(PNG)
    (folder / "elsewhere").symlink_to("/etc/hostname")
    return folder / "catalog.json"


class TestFiles:
    """What outputs become in a store."""

    @pytest.mark.parametrize(
        ("values", "path", "content"),
        [
            ({"value": "text", "mediaType": "text/plain"}, "result.txt", b"text"),
            ({"value": "text"}, "result.json", b'"text"'),
            ({"value": {"a": [1]}}, "result.json", b'{"a": [1]}'),
            ({"value": {"type": "Point"}, "mediaType": "application/geo+json"}, "result.geojson", b'{"type": "Point"}'),
            ({"value": {}, "mediaType": "application/x.unheard-of+json"}, "result.json", b"{}"),
            ({"value": PNG, "mediaType": "image/png"}, "result.png", PNG),
            ({"value": PNG, "mediaType": "application/x.unheard-of"}, "result", PNG),
            (
                {
                    "value": {
                        "value": base64.b64encode(PNG).decode(),
                        "encoding": "base64",
                        "mediaType": "image/tiff; application=geotiff",
                    }
                },
                "result.tiff",
                PNG,
            ),
        ],
    )
    def test_values(self, tmp_path, values, path, content):
        """A value is a file with the bytes that a client gets raw, named after output and media type."""
        Job(tmp_path, {"stores": [{"name": "disk", "url": str(tmp_path / "disk")}]}).run({"result": values})
        folder = tmp_path / "disk" / "job-1"
        assert files_in(folder) == {path, REPORT}
        assert (folder / path).read_bytes() == content

    def test_files_and_folders(self, tmp_path, s3):
        """A file keeps its name; a STAC document comes with its whole folder, but without what links lead out to."""
        stores = [archive(s3), {"name": "disk", "url": str(tmp_path / "disk")}]
        job = Job(tmp_path, {"stores": stores})
        (job.scratch / "Slope 1.tif").write_bytes(PNG)
        (job.scratch / "cube.zarr").mkdir()
        (job.scratch / "cube.zarr" / ".zattrs").write_text("{}")
        job.run(
            {
                "file": {"value": job.scratch / "Slope 1.tif", "mediaType": "image/tiff"},
                "cube": {"value": job.scratch / "cube.zarr"},
                "stac": {"stac": str(make_catalogue(job.scratch / "stac"))},
            }
        )
        expected = {
            "file/Slope 1.tif",
            "cube/.zattrs",
            "stac/catalog.json",
            "stac/item/item.json",
            "stac/item/slope.tif",
            REPORT,
        }
        assert files_in(tmp_path / "disk" / "job-1") == expected
        base = "archive/results/job-1"
        system = s3_file_system(s3)
        assert {path.removeprefix(f"{base}/") for path in system.find(base)} == expected
        assert system.cat_file(f"{base}/stac/item/slope.tif") == PNG
        system.invalidate_cache()
        assert system.info(f"{base}/file/Slope 1.tif")["ContentType"] == "image/tiff"

    def test_what_a_flow_left_in_the_result_store(self, tmp_path):
        """Such an output is taken from there: from its file, or the value itself where it is small."""
        job = Job(tmp_path, {"stores": [{"name": "disk", "url": str(tmp_path / "disk")}]})
        store = ResultStore(str(job.results))
        location = store.write("job-1/1", "image", "image/png", PNG, "binary").location
        left = {
            "image": {"href": "/somewhere/image", "mediaType": "image/png"},
            "text": {"href": "/somewhere/text", "mediaType": "text/plain"},
            "other": {"href": "/somewhere/other", "mediaType": "text/plain"},
            "link": {"href": "https://example.org/image", "mediaType": "image/png"},
        }
        kept = {"image": f"{store.root}/{location}", "text": "text", "link": "https://example.org/image"}
        # a text that only looks like the file of another job
        kept["other"] = f"{store.root}/job-2/1/image"
        store.write("job-2/1", "image", "image/png", PNG, "binary")
        job.run(left, kept)
        folder = tmp_path / "disk" / "job-1"
        assert files_in(folder) == {"image.png", "text.txt", "other.txt", REPORT}
        assert (folder / "other.txt").read_text() == kept["other"]
        assert ((folder / "image.png").read_bytes(), (folder / "text.txt").read_text()) == (PNG, "text")

    def test_a_stac_document_among_other_files(self, tmp_path):
        """The scratch folder is not taken for a STAC catalogue: the job fails and says why."""
        job = Job(tmp_path, {"stores": [{"name": "disk", "url": str(tmp_path / "disk"), "required": False}]})
        (job.scratch / "item.json").write_text('{"stac_version": "1.1.0"}')
        with pytest.raises(UnusableReturnError, match="folder of its own"):
            job.run({"item": {"stac": str(job.scratch / "item.json")}})

    def test_some_outputs(self, tmp_path):
        """Only those that the options name."""
        options = {"stores": [{"name": "disk", "url": str(tmp_path / "disk")}], "staged_outputs": ["a"]}
        Job(tmp_path, options).run({"a": {"value": 1}, "b": {"value": 2}})
        assert files_in(tmp_path / "disk" / "job-1") == {"a.json", REPORT}

    def test_reports(self, tmp_path, s3):
        """Each store has a report with size and checksum of each file, and with what became of the other stores."""
        stores = [
            {"name": "disk", "url": str(tmp_path / "disk")},
            archive(s3),
            archive(s3, bucket="missing", name="missing", required=False),
        ]
        Job(tmp_path, {"stores": stores}).run({"image": {"value": PNG, "mediaType": "image/png"}})
        report = json.loads((tmp_path / "disk" / "job-1" / REPORT).read_text())
        assert report == {
            "job_id": "job-1",
            "process_id": "ndvi",
            "outputs": {
                "image": [
                    {
                        "path": "image.png",
                        "media_type": "image/png",
                        "size": len(PNG),
                        "sha256": hashlib.sha256(PNG).hexdigest(),
                    }
                ]
            },
            "stores": {"disk": "complete", "archive": "complete", "missing": "failed"},
        }
        assert json.loads(s3_file_system(s3).cat_file(f"archive/results/job-1/{REPORT}")) == report

    def test_large_files(self, s3):
        """A file of several parts is whole, though no more than a part of it was ever in memory."""
        size, piece = 40 * 1024 * 1024 + 7, os.urandom(1024 * 1024)

        class Endless(io.RawIOBase):
            left = size

            def read(self, count=-1):
                data = piece[: min(count, self.left)]
                self.left -= len(data)
                return data

        store = StoreOfJob(StoreOptions(**archive(s3)), "s3://archive/large")
        staged = store.put(FileToStage("large.bin", "application/octet-stream", size, Endless))
        system = s3_file_system(s3)
        assert (staged.size, system.size("archive/large/large.bin")) == (size, size)
        assert system.info("archive/large/large.bin")["ETag"].endswith('-3"'), "parts"
        assert system.tail("archive/large/large.bin", 7) == piece[:7]


class Faulty(LocalFileSystem):
    """A folder whose files go wrong as often as :attr:`faults` says."""

    protocol = "faulty"
    cachable = False
    faults: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("faulty://"))

    def open(self, path, mode="rb", **options):
        if "w" in mode and self.faults:
            match self.faults.pop(0):
                case "refuses":
                    raise TimeoutError("busy")
                case "forbids":
                    raise PermissionError("not you")
                case "loses":
                    return super().open("/dev/null", mode)
                case "changes":
                    file = super().open(path, mode)
                    write = file.write
                    file.write = lambda data: write(b"?" + data[1:])
                    return file
        return super().open(path, mode, **options)

    def pipe_file(self, path, value, **options):
        with self.open(path, "wb") as file:
            file.write(value)


fsspec.register_implementation("faulty", Faulty, clobber=True)


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    """The URL of a server that speaks Google's protocol, with the bucket ``pail``."""
    port = free_port()
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path_factory.mktemp("google") / "google.log").open("wb") as log:
        server = subprocess.Popen([*command, "--in-memory", "--default-bucket", "pail"], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(url), within=30, what="an answer of the server")
        yield url
    finally:
        server.terminate()
        server.wait(10)


class TestGoogle:
    def test_files(self, tmp_path, google):
        """Files of one and of several parts get there, with their media types, beside the report."""
        store = {"name": "google", "url": "gs://pail/{user}"}
        options = {"token": "anon", "endpoint_url": google}
        job = Job(tmp_path, {"stores": [{**store, "storage_options": options}]}, user={"subject": "ada", "issuer": "i"})
        large = bytes(range(256)) * 80_000
        job.run(
            {
                "image": {"value": PNG, "mediaType": "image/png"},
                "large": {"value": large, "mediaType": "application/x.large"},
            }
        )
        system = fsspec.filesystem("gs", **options)
        assert set(system.find("pail/ada/job-1")) == {
            f"pail/ada/job-1/{name}" for name in ("image.png", "large", REPORT)
        }
        assert (system.cat_file("pail/ada/job-1/image.png"), system.size("pail/ada/job-1/large")) == (PNG, len(large))
        assert system.info("pail/ada/job-1/image.png")["contentType"] == "image/png"


class TestFailures:
    @pytest.fixture(autouse=True)
    def faults(self):
        Faulty.faults = []
        yield Faulty.faults
        Faulty.faults = []

    @staticmethod
    def store(tmp_path, **options):
        return StoreOfJob(StoreOptions(name="f", url="faulty://x"), f"faulty://{tmp_path}/f", **options)

    FILE = FileToStage("file.txt", "text/plain", 4, lambda: io.BytesIO(b"text"))

    @pytest.mark.parametrize("fault", ["refuses", "loses", "changes"])
    def test_passing_faults(self, tmp_path, faults, fault):
        """A store that refuses, or has something else than was written, is tried again."""
        faults.append(fault)
        assert self.store(tmp_path, attempts=2).put(self.FILE).size == 4
        assert files_in(tmp_path) == {"f/file.txt"}
        assert (tmp_path / "f" / "file.txt").read_text() == "text"

    @pytest.mark.parametrize(("fault", "words"), [("loses", "is not there"), ("changes", "another checksum")])
    def test_lasting_faults(self, tmp_path, faults, fault, words):
        """What is not what was written never gets the file's name."""
        faults += [fault] * 2
        with pytest.raises(CopyDiffersError, match=words):
            self.store(tmp_path, attempts=2).put(self.FILE)
        assert "f/file.txt" not in files_in(tmp_path)

    def test_sizes_alone(self, tmp_path, faults):
        """Where the content is not read back, a change of it is not found; that is the price."""
        faults.append("changes")
        assert self.store(tmp_path, verify="size", attempts=1).put(self.FILE).size == 4

    def test_what_no_repetition_helps(self, tmp_path, faults):
        """A store that forbids is asked once."""
        faults += ["forbids", "refuses"]
        with pytest.raises(PermissionError):
            self.store(tmp_path, attempts=2).put(self.FILE)
        assert faults == ["refuses"]

    def test_a_required_store(self, tmp_path, s3, caplog):
        """The job fails with a reason that says which stores have the outputs; the others are filled all the same."""
        stores = [
            archive(s3, bucket="missing", name="bad"),
            {"name": "disk", "url": str(tmp_path / "disk")},
            {"name": "other disk", "url": str(tmp_path / "other")},
        ]
        job = Job(tmp_path, {"stores": stores})
        with pytest.raises(StageOutError) as caught:
            job.run({"a": {"value": 1}})
        assert caught.value.client_message == "The outputs are not in bad; disk and other disk have them."
        assert files_in(tmp_path / "disk" / "job-1") == files_in(tmp_path / "other" / "job-1") == {"a.json", REPORT}
        assert "Staging out to bad failed" in caplog.text

    def test_all_stores(self, tmp_path, s3):
        """When none has the outputs, that is what is said."""
        with pytest.raises(StageOutError) as caught:
            Job(tmp_path, {"stores": [archive(s3, bucket="missing", name="bad")]}).run({"a": {"value": 1}})
        assert caught.value.client_message == "The outputs are not in bad; no store has them."

    def test_an_optional_store(self, tmp_path, s3):
        """The job succeeds, and its message tells."""
        stores = [{"name": "disk", "url": str(tmp_path / "disk")}, archive(s3, bucket="missing", required=False)]
        job = Job(tmp_path, {"stores": stores})
        job.run({"a": {"value": 1}})
        assert job.message == "Job successful. The outputs are not in archive; disk has them."

    def test_a_store_that_takes_no_report(self, tmp_path, faults):
        """It is not complete."""
        faults += ["", "refuses"]
        stores = [{"name": "f", "url": f"faulty://{tmp_path}/f"}]
        with pytest.raises(StageOutError, match="not in f"):
            Job(tmp_path, {"stores": stores}).run({"a": {"value": 1}})

    def test_a_second_attempt(self, tmp_path, faults):
        """While a job is staged out again, no report of before says that all is there."""
        job = Job(tmp_path, {"stores": [{"name": "f", "url": f"faulty://{tmp_path}/f"}]})
        job.run({"a": {"value": 1}})
        assert files_in(tmp_path / "f") == {"job-1/a.json", f"job-1/{REPORT}"}
        faults.append("refuses")
        again = Job(tmp_path, {"stores": [{"name": "f", "url": f"faulty://{tmp_path}/f"}]})
        with pytest.raises(StageOutError):
            again.run({"a": {"value": 2}})
        assert files_in(tmp_path / "f") == {"job-1/a.json"}


class TestLinks:
    def test_of_the_store(self, tmp_path, s3):
        """Each output is stored as a link to its copy; one that is a link already stays one."""
        job = Job(tmp_path, {"stores": [archive(s3)], "link": "archive"})
        document = make_catalogue(job.scratch / "stac")
        stored = job.run(
            {
                "image": {"value": PNG, "mediaType": "image/png"},
                "stac": {"stac": str(document)},
                "link": {"href": "https://example.org/"},
            },
            {"link": "https://example.org/"},
        )
        assert stored == {
            "image": {"href": "s3://archive/results/job-1/image.png", "mediaType": "image/png"},
            "stac": {"href": "s3://archive/results/job-1/stac/catalog.json", "mediaType": "application/json"},
            "link": {"href": "https://example.org/", "mediaType": "application/json"},
        }

    def test_public(self, tmp_path):
        """A store that has an address of its own for clients is linked by that."""
        store = {"name": "disk", "url": str(tmp_path / "disk"), "public_url": "https://example.org/data/{process_id}"}
        job = Job(tmp_path, {"stores": [store], "link": "disk"})
        (job.scratch / "Slope 1.tif").write_bytes(PNG)
        stored = job.run({"a b": {"value": job.scratch / "Slope 1.tif"}})
        name = safe_name("a b")
        assert stored["a b"]["href"] == f"https://example.org/data/ndvi/job-1/{name}/Slope%201.tif"
        assert (tmp_path / "disk" / "job-1" / name / "Slope 1.tif").is_file()

    def test_signed(self, tmp_path, s3):
        """A signed link works without credentials."""
        job = Job(tmp_path, {"stores": [archive(s3)], "link": "archive", "link_lifetime": 60})
        href = job.run({"image": {"value": PNG, "mediaType": "image/png"}})["image"]["href"]
        response = httpx.get(href)
        assert (response.status_code, response.content) == (200, PNG)
        assert response.headers["content-type"] == "image/png"
        assert SECRET not in href

    def test_stores_that_sign_nothing(self, tmp_path):
        """A folder does not, and says so before anything is stored."""
        store = {"name": "disk", "url": str(tmp_path / "disk"), "public_url": "https://example.org"}
        job = Job(tmp_path, {"stores": [store], "link": "disk", "link_lifetime": 60})
        with pytest.raises(ConfigurationError, match="signs no links"):
            job.run({"a": {"value": 1}})


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({}, "stores: Field required"),
            ({"stores": []}, "stores: "),
            ({"stores": [{"name": "a"}]}, r"stores\.0\.url: Field required"),
            ({"stores": [{"name": "a", "url": "/a", "requird": True}]}, r"stores\.0\.requird is not known; did you"),
            ({"stores": [{"name": "a", "url": "/a/{inputs}"}]}, r"stores\.0\.url: .*no field {inputs}"),
            ({"stores": [{"name": "a", "url": "/a/{"}]}, r"stores\.0\.url: "),
            ({"stores": [{"name": "a", "url": "/a/{user.__class__}"}]}, r"stores\.0\.url: .*no field"),
            ({"stores": [{"name": "a", "url": "/a"}, {"name": "a", "url": "/b"}]}, "name of its own"),
            ({"stores": [{"name": "a", "url": "/a", "credentials": {"key": "a b"}}]}, r"stores\.0\.credentials\.key"),
            (
                {"stores": [{"name": "a", "url": "s3://a"}], "link": "b"},
                "must be the name of one of the stores: a",
            ),
            ({"stores": [{"name": "a", "url": "s3://a", "required": False}], "link": "a"}, "must be required"),
            ({"stores": [{"name": "a", "url": "/a"}], "link": "a"}, "public_url"),
            ({"stores": [{"name": "a", "url": "/a"}], "link_lifetime": 60}, "link_lifetime"),
        ],
    )
    def test_refused(self, options, complaint):
        """Wrong options make the process unavailable, with the key."""
        handler = {"name": "pygeoapi_prefect.handlers.MultiStorageHandler", "options": options}
        settings = process_settings("p", {"processor": {"name": "X", "prefect": {"handlers": [handler]}}})
        with pytest.raises(ConfigurationError, match=rf"^resources\.p\.processor.*options.*{complaint}"):
            load_handlers("p", settings.handlers)

    @pytest.mark.parametrize(
        ("store", "complaint"),
        [
            ({"url": "s3://a", "credentials": {"key": "TEST_NOT_SET"}}, "not set: TEST_NOT_SET"),
            ({"url": "nosuchprotocol://a"}, "cannot be opened"),
        ],
    )
    def test_before_the_process_runs(self, tmp_path, store, complaint):
        """Nothing is computed for a required store that cannot be used; an optional one waits until the end."""
        with pytest.raises(ConfigurationError, match=complaint):
            Job(tmp_path, {"stores": [{"name": "a", **store}]})
        disk = {"name": "disk", "url": str(tmp_path / "disk")}
        job = Job(tmp_path, {"stores": [disk, {"name": "a", "required": False, **store}]})
        job.run({"a": {"value": 1}})
        assert job.message == "Job successful. The outputs are not in a; disk has them."

    def test_users_have_folders_of_their_own(self):
        """Whatever a subject is, it names one folder, and no two subjects name the same."""
        names = ["ada", "a/b", "a_b", "../ada", "..", ".", "", "Ünal", "_replication.json", "x" * 200]
        urls = [
            filled_in("s3://b/{user}/{job_id}", {"job_id": "j", "process_id": "p", "user": {"subject": name}})
            for name in names
        ]
        assert len(set(urls)) == len(names)
        assert urls[0] == "s3://b/ada/j"
        assert all(len(url.split("/")) == 5 and "/_" not in url and "/." not in url for url in urls)
        assert filled_in("/{issuer}/{user}", {"job_id": "j", "process_id": "p", "user": None}) == "/anonymous/anonymous"

    def test_secrets(self, tmp_path, s3):
        """Credentials are secrets, wherever they come from, and are in no variable of a pod; addresses are not."""
        store = archive(s3, storage_options={**s3_options(s3), "token": "a-session-token"})
        azure = {
            "name": "azure",
            "url": "abfs://box/x",
            "storage_options": {"account_name": "acc", "account_key": "k="},
        }
        google = {
            "name": "google",
            "url": "gs://pail/x",
            "storage_options": {"token": {"private_key": "pk", "type": "t"}},
        }
        handler = MultiStorageHandler({"lenv": {"job_id": "j", "process_id": "p"}})
        handler.options = {"stores": [store, azure, google], "pod_env_vars": {"OTHER": "1"}}
        assert set(handler.get_secrets()["stores"]) == {KEY, SECRET, "a-session-token", "k=", "pk"}
        assert handler.get_pod_env_vars() == {
            "PRIMARY_S3_ENDPOINT": s3,
            "PRIMARY_S3_BUCKET": "archive",
            "GCS_BUCKET": "pail",
            "AZURE_STORAGE_ACCOUNT": "acc",
            "OTHER": "1",
        }

    def test_buckets_of_users(self):
        """A bucket that is named after the user is told by its name."""
        handler = MultiStorageHandler({"lenv": {"job_id": "j", "process_id": "p", "user": {"subject": "ada"}}})
        handler.options = {"stores": [{"name": "own", "url": "s3://of-{user}/x"}]}
        assert handler.get_pod_env_vars()["PRIMARY_S3_BUCKET"] == "of-ada"

    def test_azure(self):
        """The driver is made from the options as they are, without a connection."""
        account = {"account_name": "acc", "account_key": base64.b64encode(b"key").decode()}
        store = StoreOfJob(StoreOptions(name="a", url="abfs://b/x", storage_options=account), "abfs://b/x")
        assert store.link("a b.txt", None, "text/plain") == "abfs://b/x/a%20b.txt"


def resource(*stores, **options):
    handler = {"name": "pygeoapi_prefect.handlers.MultiStorageHandler", "options": {"stores": stores, **options}}
    return {"name": "processors.Bytes", "prefect": {"handlers": [handler]}}


@pytest.fixture(scope="module")
def server(tmp_path_factory, s3):
    folder = tmp_path_factory.mktemp("staging")
    disk = {"name": "disk", "url": str(folder / "disk")}
    processors = {
        "staged": resource(disk, archive(s3, bucket="missing", required=False), copy_attempts=1),
        "linked": resource(archive(s3), disk, link="archive", link_lifetime=600),
        "unstaged": resource(disk, archive(s3, bucket="missing"), copy_attempts=1),
    }
    environment = {"TEST_ARCHIVE_KEY": KEY, "TEST_ARCHIVE_SECRET": SECRET}
    with running(Server(folder, processors=processors, environment=environment)) as started:
        yield started


class TestServed:
    """With a server and its runner."""

    def test_copies_outlive_the_job(self, server):
        """An optional store's failure is told by the job, and DELETE removes the result but no copy."""
        job_id = server.submit("staged", {"size": 20_000})
        job = server.wait_for(job_id)
        assert (job["status"], job["message"]) == (
            "successful",
            "Job successful. The outputs are not in archive; disk has them.",
        )
        content = server.results(job_id).content
        before = files_in(server.folder / "disk" / job_id)
        assert server.client.delete(f"/jobs/{job_id}").status_code == 200
        assert server.results(job_id).status_code == 404
        folder = server.folder / "disk" / job_id
        assert files_in(folder) == before
        assert content in [path.read_bytes() for path in folder.iterdir()]

    def test_results_that_are_links(self, server):
        """The result is a link to the copy, which anybody who has it can follow."""
        job_id = server.submit("linked", {"size": 20_000})
        assert server.wait_for(job_id)["status"] == "successful"
        link = server.results(job_id).json()
        disk = [path for path in (server.folder / "disk" / job_id).iterdir() if path.name != REPORT]
        assert httpx.get(link["href"]).content == disk[0].read_bytes()
        assert not [path for path in (server.folder / "results" / job_id).rglob("*") if path.is_file()]

    def test_failures(self, server):
        """The job fails with 502 and names the stores; nobody is shown a credential."""
        job_id = server.submit("unstaged", {"size": 20_000})
        job = server.wait_for(job_id)
        assert (job["status"], job["message"]) == ("failed", "The outputs are not in archive; disk has them.")
        assert server.results(job_id).status_code == 502
        assert SECRET not in server.cli("plugins", "prefect", "jobs", "show", job_id).stdout
