"""Where flows leave their outputs, and how those become results."""

import io
import json
from pathlib import Path

import fsspec
import pytest

from pygeoapi_prefect.exceptions import (
    ConfigurationError,
    ResultNotAvailableError,
    ResultStoreError,
    UnknownOutputError,
)
from pygeoapi_prefect.results import (
    OutputLinks,
    ResultStore,
    copy_values,
    media_type_of,
    outputs_manifest,
    respond,
    store_value,
)
from pygeoapi_prefect.results.blocks import StorageBlock, is_block, store_location
from pygeoapi_prefect.results.linked_files import FilesBeside, folder_beside, store_files, with_files
from pygeoapi_prefect.results.returns import UnusableReturnError

JSON = "application/json"
LARGE = bytes(range(256)) * 100


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path / "results"))


def answer(store: ResultStore, values, **request):
    manifest = json.loads(json.dumps(outputs_manifest(values)))
    response = respond(store, manifest, request, as_returned=False, prefers_json=True)
    return response.media_type, response.loaded()


class TestValues:
    def test_one_output_is_the_response(self, store: ResultStore) -> None:
        """Raw: in its own media type."""
        values = {"a": store_value(store, "j/1", "a", "text/plain", "x")}
        assert answer(store, values) == ("text/plain; charset=utf-8", "x")
        assert answer(store, values, response="document") == (JSON, {"a": "x"})

    def test_several_are_selected(self, store: ResultStore, tmp_path: Path) -> None:
        """Each is stored by itself, and comes alone when it is asked for alone."""
        file = tmp_path / "slope.tif"
        file.write_bytes(LARGE)
        values = {
            "mean": store_value(store, "j/1", "mean", JSON, 1.5),
            "raster": store_value(store, "j/1", "raster", "image/tiff", file),
        }
        assert answer(store, values, outputs={"raster": {}}) == ("image/tiff", LARGE)
        media_type, document = answer(store, values)
        assert (media_type, document["mean"]) == (JSON, 1.5)
        assert document["raster"]["mediaType"] == "image/tiff"
        assert media_type_of(outputs_manifest(values)) == JSON

    def test_a_file_that_is_not_there(self, store: ResultStore, tmp_path: Path) -> None:
        """The client reads which output is missing; the path is for the log."""
        with pytest.raises(UnusableReturnError) as caught:
            store_value(store, "j/1", "raster", "image/tiff", tmp_path / "nothing.tif")
        assert "nothing.tif" in str(caught.value)
        assert "nothing.tif" not in caught.value.client_message

    def test_a_folder(self, store: ResultStore, tmp_path: Path) -> None:
        """A folder cannot be stored; the client reads so, and not which."""
        with pytest.raises(UnusableReturnError) as caught:
            store_value(store, "j/1", "raster", "image/tiff", tmp_path)
        assert str(tmp_path) in str(caught.value)
        assert caught.value.client_message == "The process returned a folder as its output 'raster'."

    def test_large_json_files_are_json(self, store: ResultStore, tmp_path: Path) -> None:
        """A stored file of JSON is its value in a document, and the very bytes raw."""
        file = tmp_path / "a.json"
        file.write_text(json.dumps({"numbers": list(range(5000))}))
        values = {"a": store_value(store, "j/1", "a", JSON, file)}
        assert answer(store, values, response="document")[1]["a"]["value"]["numbers"][-1] == 4999
        assert answer(store, values)[1] == file.read_bytes()

    @pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../b", ""])
    def test_no_way_out(self, store: ResultStore, location: str) -> None:
        """No location leads out of the store."""
        with pytest.raises(ResultNotAvailableError):
            store.get(location)


class TestBlocks:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("local-file-system/results", True),
            ("s3-bucket/a.b_c", True),
            ("s3://bucket/folder", False),
            ("/var/results", False),
            ("./results/x", False),
            ("results", False),
            ("a/b/c", False),
        ],
    )
    def test_references(self, text: str, expected: bool) -> None:
        """A block's reference is told from a folder and a URL."""
        assert is_block(text) is expected

    def test_local(self, tmp_path: Path) -> None:
        """A local block is the folder of its base path."""
        block = StorageBlock.from_document("local-file-system/x", {"basepath": f"{tmp_path}/"})
        assert (block.basepath, block.store.root) == (str(tmp_path), str(tmp_path))

    def test_remote(self) -> None:
        """A remote block is its URL, with its settings as options."""
        block = StorageBlock.from_document(
            "remote-file-system/x", {"basepath": "s3://bucket/folder/", "settings": {"key": "k", "secret": "s"}}
        )
        assert (block.basepath, block.store.url) == ("s3://bucket/folder", "s3://bucket/folder/")
        assert block.store.options == {"key": "k", "secret": "s"}

    def test_bucket(self) -> None:
        """A bucket's credentials become options of its driver."""
        block = StorageBlock.from_document(
            "s3-bucket/x",
            {
                "bucket_name": "bucket",
                "bucket_folder": "folder",
                "credentials": {
                    "aws_access_key_id": "k",
                    "aws_secret_access_key": "s",
                    "region_name": "r",
                    "aws_client_parameters": {"endpoint_url": "http://127.0.0.1:9000"},
                },
            },
        )
        assert (block.basepath, block.store.url) == ("folder", "s3://bucket/folder")
        assert block.store.options == {
            "key": "k",
            "secret": "s",
            "client_kwargs": {"endpoint_url": "http://127.0.0.1:9000", "region_name": "r"},
        }

    @pytest.mark.parametrize(
        ("reference", "data"),
        [("smb/x", {"share": "y"}), ("local-file-system/x", {"basepath": None}), ("s3-bucket/x", {})],
    )
    def test_useless(self, reference: str, data: dict) -> None:
        """A block that cannot be read back is refused by its name, with the remedy."""
        with pytest.raises(ConfigurationError, match=reference):
            StorageBlock.from_document(reference, data)


class TestLocations:
    @pytest.fixture
    def block(self, tmp_path: Path) -> StorageBlock:
        return StorageBlock.from_document("local-file-system/x", {"basepath": str(tmp_path / "block")})

    def take(self, store, location, block=None, media_type="text/plain"):
        return store_location(store, "job", "job/1", "result", media_type, location, block)

    @pytest.mark.parametrize("size", [10, 20_000])
    def test_below_the_block(self, store: ResultStore, block: StorageBlock, size: int) -> None:
        """What stands in another store is copied, whatever its size."""
        block.store.put("job/out.txt", b"x" * size)
        stored = self.take(store, f"{block.basepath}/job/out.txt", block)
        block.store.delete("job")
        assert store.read_bytes(stored) == b"x" * size

    def test_in_place(self, store: ResultStore) -> None:
        """What stands in the job's own folder of the result store stays there."""
        block = StorageBlock.from_document("local-file-system/x", {"basepath": store.url})
        store.put("job/out.txt", LARGE)
        assert self.take(store, f"{block.basepath}/job/out.txt", block).location == "job/out.txt"

    def test_of_another_job(self, store: ResultStore) -> None:
        """What stands elsewhere in the result store is copied: it may be removed or written again."""
        block = StorageBlock.from_document("local-file-system/x", {"basepath": store.url})
        store.put("shared/out.txt", LARGE)
        assert self.take(store, f"{block.basepath}/shared/out.txt", block).location == "job/1/result"

    def test_without_a_block(self, store: ResultStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """URLs, absolute and relative paths, and what an f-string makes of a block without a base path."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "job").mkdir()
        (tmp_path / "job/out.txt").write_text("x")
        fsspec.filesystem("memory").pipe("/somewhere/out.txt", b"x")
        for location in (
            "job/out.txt",
            str(tmp_path / "job/out.txt"),
            "None/job/out.txt",
            "memory://somewhere/out.txt",
        ):
            assert store.read(self.take(store, location)) == "x", location

    @pytest.mark.parametrize("location", ["nothing.txt", "memory://nothing/at/all", "/nothing/here"])
    def test_nothing_there(self, store: ResultStore, block: StorageBlock, location: str) -> None:
        """The reason names the output for the client, and the location with the remedy for the log."""
        for named in (location, f"{block.basepath}/{location}"):
            with pytest.raises(UnusableReturnError) as caught:
                self.take(store, named, block)
            assert "result_storage_block" in str(caught.value)
            assert "'result'" in caught.value.client_message
            assert location not in caught.value.client_message

    @pytest.mark.parametrize(("media_type", "data"), [(JSON, b"{"), ("text/plain", b"\xff\xfe"), ("x/y", b"\xff")])
    def test_what_is_not_what_it_says(self, store: ResultStore, tmp_path: Path, media_type: str, data: bytes) -> None:
        """Comes out as it went in."""
        file = tmp_path / "out"
        file.write_bytes(data)
        assert store.read_bytes(self.take(store, str(file), media_type=media_type)) == data


class TestCopying:
    def test_into_the_result_store(self, store: ResultStore, tmp_path: Path) -> None:
        """A result of another store is whole in ours, and the other may go."""
        source = ResultStore(str(tmp_path / "elsewhere"))
        values = {
            "small": store_value(source, "j/flow-run", "small", JSON, {"a": 1}),
            "large": source.copy_in("j/flow-run", "large", "x/y", io.BytesIO(LARGE)),
        }
        manifest = copy_values(outputs_manifest(values), source, store, "j/1", allowed="j")
        source.delete("j")
        response = respond(store, manifest, {"outputs": ["large"]}, as_returned=False)
        assert response.content == LARGE

    def test_in_the_same_store(self, store: ResultStore) -> None:
        """Nothing is copied."""
        value = store.copy_in("j/flow-run", "large", "x/y", io.BytesIO(LARGE))
        manifest = copy_values(outputs_manifest({"a": value}), store, ResultStore(store.url), "j/1", allowed="j")
        assert manifest["values"]["a"]["location"] == "j/flow-run/large"

    @pytest.mark.parametrize("location", ["k/secret", "j/../k/secret", "../x", "/etc/passwd"])
    def test_of_others(self, store: ResultStore, location: str) -> None:
        """A work pool names files of its own job only."""
        store.put("k/secret", b"x")
        value = {"media_type": "x/y", "form": "binary", "size": 1, "location": location}
        with pytest.raises(UnusableReturnError):
            copy_values({"values": {"a": value}}, store, store, "j/1", allowed="j")

    @pytest.mark.parametrize("manifest", [{}, {"values": []}, {"values": {"a": 5}}, {"return": {"size": 1}}])
    def test_nonsense(self, store: ResultStore, manifest: dict) -> None:
        """A manifest that is none fails the job, not the runner."""
        with pytest.raises(UnusableReturnError):
            copy_values(manifest, store, store, "j/1", allowed="j")


class TestFilesBeside:
    """A document ``a`` with the files ``doc.json``, ``sub/b.json`` and ``sub/c.bin`` beside it."""

    @pytest.fixture
    def manifest(self, store: ResultStore, tmp_path: Path):
        documents = {
            "doc.json": {"links": [{"rel": "child", "href": "sub/b.json"}, {"rel": "x", "href": "../../etc/passwd"}]},
            "sub/b.json": {
                "links": [{"rel": "root", "href": "../doc.json"}, {"rel": "up", "href": "https://example.org/"}],
                "assets": {"c": {"href": "./c.bin"}, "gone": {"href": "gone.bin"}},
            },
        }
        for name, document in documents.items():
            (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "tree" / name).write_text(json.dumps(document))
        (tmp_path / "tree" / "sub" / "c.bin").write_bytes(LARGE)

        def described(path: Path):
            return (JSON, "json") if path.suffix == ".json" else ("application/x-c", "binary")

        files = store_files(store, folder_beside("j/1", "a"), tmp_path / "tree", described)
        values = {
            "a": store_value(store, "j/1", "a", JSON, documents["doc.json"]),
            "other": store_value(store, "j/1", "other", "text/plain", "x"),
        }
        manifest = with_files(outputs_manifest(values), {"a": FilesBeside("doc.json", files)})
        return json.loads(json.dumps(manifest))

    def get(self, store: ResultStore, manifest, *outputs, base_url="https://example.org/o", **request):
        links = None if base_url is None else OutputLinks(base_url, "j")
        answer = respond(store, manifest, request, as_returned=False, links=links, outputs=outputs, prefers_json=True)
        return answer.loaded()

    def test_links(self, store: ResultStore, manifest) -> None:
        """Relative links that lead to a file lead a client there; all others stay as they are."""
        prefix = "https://example.org/o/jobs/j/results?outputs="
        hrefs = [link["href"] for link in self.get(store, manifest, "a")["links"]]
        assert hrefs == [f"{prefix}a%2Fsub%2Fb.json", "../../etc/passwd"]
        found = self.get(store, manifest, "a/sub/b.json")
        assert [link["href"] for link in found["links"]] == [f"{prefix}a%2Fdoc.json", "https://example.org/"]
        assert found["assets"] == {"c": {"href": f"{prefix}a%2Fsub%2Fc.bin"}, "gone": {"href": "gone.bin"}}
        assert self.get(store, manifest, "a/sub/c.bin") == LARGE

    def test_no_server(self, store: ResultStore, manifest) -> None:
        """Where the server's address is not told, links stay as they are stored."""
        assert self.get(store, manifest, "a", base_url=None)["links"][0]["href"] == "sub/b.json"

    def test_of_a_whole(self, store: ResultStore, manifest) -> None:
        """A return that cannot be told apart into outputs has files like any other."""
        whole = {
            "return": manifest["values"]["a"],
            "outputs": [],
            "meaning": "whole",
            "files": {"return": manifest["files"]["a"]},
        }
        [child, _] = self.get(store, whole)["links"]
        assert child["href"].endswith("?outputs=return%2Fsub%2Fb.json")
        assert self.get(store, whole, "return/sub/c.bin") == LARGE

    def test_outputs_only(self, store: ResultStore, manifest) -> None:
        """Files are no outputs; those of an output that was not asked for cannot be had."""
        assert set(self.get(store, manifest, response="document")) == {"a", "other"}
        with pytest.raises(UnknownOutputError):
            self.get(store, manifest, "a/sub/c.bin", outputs={"other": {}})
        with pytest.raises(UnknownOutputError):
            self.get(store, manifest, "a/sub/gone.bin")

    def test_names_of_files_that_lead_out(self, store: ResultStore) -> None:
        """No file is written outside of the store."""
        with pytest.raises(ResultStoreError, match="leads out"):
            store.copy_to("j/1/../../x", JSON, "binary", io.BytesIO(b""))

    def test_copies_stay_with_their_job(self, store: ResultStore, manifest, tmp_path: Path) -> None:
        """A deployment cannot have files of other jobs copied as its own."""
        manifest["files"]["a"]["files"]["sub/c.bin"]["location"] = "other-job/1/secret"
        with pytest.raises(UnusableReturnError):
            copy_values(manifest, store, ResultStore(str(tmp_path / "target")), "j/2", allowed="j")

    def test_copies_stay_in_their_folder(self, store: ResultStore, manifest, tmp_path: Path) -> None:
        """A deployment that names a file so that its copy would leave the job's folder fails its job, once for all."""
        files = manifest["files"]["a"]["files"]
        files["../../../other-job/1/x"] = files.pop("sub/c.bin")
        with pytest.raises(UnusableReturnError):
            copy_values(manifest, store, ResultStore(str(tmp_path / "target")), "j/2", allowed="j")
