"""What a return means, where it is stored, and what the client gets of it."""

import base64
import io
import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest

from factories import SUCCESS, label, running
from pygeoapi_prefect.exceptions import OutputTooLargeError, ResultNotAvailableError, ResultStoreError
from pygeoapi_prefect.jobs import JobStore, Outcome
from pygeoapi_prefect.results import Response, ResultStore, StoredValue, respond, store_return
from pygeoapi_prefect.results.blocks import StorageBlock, store_location
from pygeoapi_prefect.results.returns import UnusableReturnError, store_value
from pygeoapi_prefect.results.store import INLINE_BYTES
from pygeoapi_prefect.schemas import JobStatus

JSON = "application/json"
PNG = bytes(range(256)) * 3


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ResultStore]:
    """A result store in a local folder, and one behind an fsspec URL."""
    if request.param == "folder":
        yield ResultStore(str(tmp_path / "out puts & 100%?#"))
        return
    name = uuid4().hex
    yield ResultStore(f"memory://{name}/prefix")
    file_system = fsspec.filesystem("memory")
    if file_system.exists(f"/{name}"):
        file_system.rm(f"/{name}", recursive=True)


def stored_again(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest as the job's row gives it back."""
    again: dict[str, Any] = json.loads(json.dumps(manifest))
    return again


def answer(store: ResultStore, media_type: Any, value: Any, declared: list[str], **request: Any) -> Response:
    as_returned = request.pop("as_returned", False)
    manifest = store_return(store, "job/1", media_type, value, declared)
    return respond_to(store, manifest, request, as_returned=as_returned)


def respond_to(store: ResultStore, manifest: dict[str, Any], request: dict[str, Any], **kwargs: Any) -> Response:
    """The response without its further headers, to a client that would rather have JSON."""
    options = {"as_returned": False, "prefers_json": True, **kwargs}
    response = respond(store, stored_again(manifest), request, **options)
    return Response(response.media_type, response.loaded())


def qualified(value: Any, media_type: str = JSON) -> dict[str, Any]:
    return {"value": value, "mediaType": media_type}


# (declared outputs, media type, value, raw response, document response)
MEANINGS: dict[str, tuple[list[str], str | None, Any, tuple[str, Any], tuple[str, Any]]] = {
    "one output, wrapped": (["a"], JSON, {"id": "a", "value": 5}, (JSON, 5), (JSON, {"a": 5})),
    "one output, plain": (["a"], JSON, {"x": 1}, (JSON, {"x": 1}), (JSON, {"a": qualified({"x": 1})})),
    "one output, another's id": (
        ["a"],
        JSON,
        {"id": "b", "value": 5},
        (JSON, {"id": "b", "value": 5}),
        (JSON, {"a": qualified({"id": "b", "value": 5})}),
    ),
    "one output, wrapped and more": (
        ["a"],
        JSON,
        {"id": "a", "value": 5, "unit": "m"},
        (JSON, {"id": "a", "value": 5, "unit": "m"}),
        (JSON, {"a": qualified({"id": "a", "value": 5, "unit": "m"})}),
    ),
    "one output, a map of itself is its value": (
        ["a"],
        JSON,
        {"a": 5},
        (JSON, {"a": 5}),
        (JSON, {"a": qualified({"a": 5})}),
    ),
    "one output, text": (["a"], "text/plain", "ü", ("text/plain; charset=utf-8", "ü"), (JSON, {"a": "ü"})),
    "one output, markup": (
        ["a"],
        "text/html",
        "<p>",
        ("text/html; charset=utf-8", "<p>"),
        (JSON, {"a": {"value": "<p>", "mediaType": "text/html"}}),
    ),
    "one output, bytes": (
        ["a"],
        "image/png",
        PNG,
        ("image/png", PNG),
        (JSON, {"a": {"value": base64.b64encode(PNG).decode(), "encoding": "base64", "mediaType": "image/png"}}),
    ),
    "one output, nothing": (["a"], None, None, (JSON, None), (JSON, {"a": None})),
    "one output, false": (["a"], JSON, False, (JSON, False), (JSON, {"a": False})),
    "one output, qualified": (
        ["a"],
        JSON,
        {"value": "<a/>", "mediaType": "text/xml"},
        ("text/xml; charset=utf-8", "<a/>"),
        (JSON, {"a": {"value": "<a/>", "mediaType": "text/xml"}}),
    ),
    "one output, qualified bytes": (
        ["a"],
        JSON,
        {"value": base64.b64encode(PNG).decode(), "mediaType": "image/png", "encoding": "base64"},
        ("image/png", PNG),
        (JSON, {"a": {"value": base64.b64encode(PNG).decode(), "mediaType": "image/png", "encoding": "base64"}}),
    ),
    "several outputs": (["a", "b"], JSON, {"b": 2, "a": 1}, (JSON, {"b": 2, "a": 1}), (JSON, {"b": 2, "a": 1})),
    "some of several outputs": (["a", "b"], JSON, {"b": 2}, (JSON, 2), (JSON, {"b": 2})),
    "several outputs, an undeclared key": (["a", "b"], JSON, {"a": 1, "c": 3}, (JSON, {"a": 1, "c": 3}), (JSON, {})),
    "several outputs, nothing": (["a", "b"], JSON, {}, (JSON, {}), (JSON, {})),
    "several outputs, one wrapped": (
        ["a", "b"],
        JSON,
        {"id": "a", "value": 5},
        (JSON, {"id": "a", "value": 5}),
        (JSON, {}),
    ),
    "several outputs, bytes": (
        ["a", "b"],
        "image/png",
        PNG,
        ("image/png", PNG),
        (JSON, {"return": {"value": b64encode(PNG).decode(), "encoding": "base64", "mediaType": "image/png"}}),
    ),
    "no output declared": ([], JSON, {"a": 1}, (JSON, {"a": 1}), (JSON, {})),
}


@pytest.mark.parametrize("case", MEANINGS)
def test_what_a_return_means(store: ResultStore, case: str) -> None:
    """One declared output is the return or what it wraps, several are a map; all else is answered as it is."""
    declared, media_type, value, raw, document = MEANINGS[case]
    if document == (JSON, {}):
        # the third rule: no outputs can be told apart, so there is no document of them
        document = raw
    assert answer(store, media_type, value, declared, response="raw") == Response(*raw)
    assert answer(store, media_type, value, declared) == Response(*raw)
    assert answer(store, media_type, value, declared, response="document") == Response(*document)


@pytest.mark.parametrize("case", MEANINGS)
@pytest.mark.parametrize("response", ["raw", "document"])
def test_a_return_can_be_answered_as_it_was(store: ResultStore, case: str, response: str) -> None:
    """As pygeoapi's own managers do: whatever the request says, the media type and every byte are the process's."""
    declared, media_type, value, _, _ = MEANINGS[case]
    answered = answer(store, media_type, value, declared, response=response, outputs=["a"], as_returned=True)
    assert answered == Response(media_type or JSON, value)
    assert type(answered.content) is type(value)
    if not isinstance(value, bytes):
        assert json.dumps(answered.content) == json.dumps(value)


@pytest.mark.parametrize("told", [["b"], {"b": {}}])
def test_the_one_output_that_was_asked_for(store: ResultStore, told: Any) -> None:
    """What a processor returns that was told to make one of several outputs is that output."""
    manifest = store_return(store, "job/1", "image/png", PNG, ["a", "b"], requested_outputs=told)
    request = {"outputs": told, "response": "document"}
    assert list(respond_to(store, manifest, request).content) == ["b"]
    assert respond_to(store, manifest, {"outputs": told}) == Response("image/png", PNG)


def test_an_output_that_is_not_declared_means_nothing(store: ResultStore) -> None:
    """A selection of something unknown leaves the return as it is."""
    manifest = store_return(store, "job/1", "image/png", PNG, ["a", "b"], requested_outputs=["z"])
    assert respond_to(store, manifest, {}) == Response("image/png", PNG)


SELECTIONS: dict[str, tuple[Any, Any]] = {
    "a list of one": (["b"], 2),
    "a mapping of one": ({"b": {"transmissionMode": "value"}}, 2),
    "two": (["a", "b"], {"a": 1, "b": 2}),
    "none named": ([], {"a": 1, "b": 2, "c": 3}),
    "nothing said": (None, {"a": 1, "b": 2, "c": 3}),
    "unknown ones only": (["z"], {"a": 1, "b": 2, "c": 3}),
    "an unknown one among them": (["z", "a"], 1),
}


@pytest.mark.parametrize("selection", SELECTIONS)
def test_outputs_are_selected(store: ResultStore, selection: str) -> None:
    """Only the outputs that the request names are answered; one alone is answered raw."""
    wanted, expected = SELECTIONS[selection]
    value = {"a": 1, "b": 2, "c": 3}
    assert answer(store, JSON, value, ["a", "b", "c"], outputs=wanted) == Response(JSON, expected)
    document = answer(store, JSON, value, ["a", "b", "c"], outputs=wanted, response="document").content
    assert document == (expected if isinstance(expected, dict) else {k: v for k, v in value.items() if v == expected})


def files_of(store: ResultStore) -> list[str]:
    file_system, root = fsspec.url_to_fs(store.url)
    return sorted(path.removeprefix(root) for path in file_system.find(root))


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(("excess", "is_inline"), [(0, True), (1, False)])
def test_small_values_stand_in_the_manifest(store: ResultStore, form: str, excess: int, is_inline: bool) -> None:
    """Up to 8192 encoded bytes a value needs no file; it reads the same from either place."""
    assert INLINE_BYTES == 8192
    # ü takes two bytes as text and six in JSON; quotes are two
    value: Any = "ü" * 4095 + "xx" + "y" * excess
    if form == "json":
        value = ["x" * (8192 - len('[""]') + excess)]
    manifest = store_return(store, "job/1", "text/plain" if form == "text" else JSON, value, ["a"])
    stored = StoredValue.from_json(stored_again(manifest)["return"])
    assert (stored.form, stored.size, stored.location is None) == (form, 8192 + excess, is_inline)
    assert len(files_of(store)) == (0 if is_inline else 1)
    assert store.read(stored) == value
    assert len(store.read_bytes(stored)) == 8192 + excess


@pytest.mark.parametrize("value", [b"", b"\x00\xff\r\n", PNG, bytearray(PNG), memoryview(PNG)], ids=label)
def test_bytes_stay_intact(store: ResultStore, value: Any) -> None:
    """Bytes are never decoded, however few; they have a file of their own."""
    assert answer(store, "image/png", value, ["a"]) == Response("image/png", bytes(value))
    assert len(files_of(store)) == 1


def test_a_return_of_no_media_type_is_json(store: ResultStore) -> None:
    """pygeoapi processes may leave it out."""
    for media_type in (None, ""):
        assert answer(store, media_type, {"a": 1}, ["a"]) == Response(JSON, {"a": 1})


def test_what_pygeoapi_writes_as_json_is_stored_as_json(store: ResultStore) -> None:
    """Dates and the like are written as pygeoapi writes them."""
    assert answer(store, JSON, {"x": date(2026, 7, 1)}, ["a"]).content == {"x": "2026-07-01"}


@pytest.mark.parametrize("value", [{"x": object()}, {1, 2}, lambda: None, "lone surrogate \ud800"], ids=label)
def test_an_unusable_return_is_refused(store: ResultStore, value: Any) -> None:
    """What is neither text nor bytes nor JSON fails the job with a reason that its author understands."""
    with pytest.raises(UnusableReturnError, match="returned a") as refused:
        store_return(store, "job/1", JSON, value, ["a"])
    assert "returned a" in refused.value.client_message
    assert files_of(store) == []


@pytest.mark.parametrize("value", [{"zz": 1, "a": [1e16, 1.0, float("inf")]}, "ü\r\n\x00", PNG, ["x" * 9000]], ids=type)
def test_a_return_survives_the_job_store(store: ResultStore, job_store: JobStore, value: Any) -> None:
    """Through the job's row on every database the return comes back byte for byte."""
    claim = running(job_store)
    manifest = store_return(store, f"{claim.job_id}/1", "x/y", value, ["a", "b"])
    assert job_store.finish(claim, Outcome(JobStatus.SUCCESSFUL, SUCCESS.message, result=manifest))
    answered = respond(store, job_store.details(claim.job_id).result, {}, as_returned=True)
    assert answered.media_type == "x/y"
    assert repr(answered.content) == repr(value)


def test_deleting_a_job_deletes_its_values(store: ResultStore) -> None:
    """Those of every claim, and of no other job; deleting nothing is no error."""
    for folder in ("job/1", "job/2", "job2/1", "other/1"):
        store.write(folder, "return", "x/y", PNG, "binary")
    store.delete("job")
    assert files_of(store) == ["/job2/1/return", "/other/1/return"]
    store.delete("job")
    store.delete("never stored anything")


def test_claims_have_folders_of_their_own(store: ResultStore) -> None:
    """A worker that was given up cannot touch what a later one stored."""
    new = store.write("job/2", "return", "x/y", b"new", "binary")
    old = store.write("job/1", "return", "x/y", b"old", "binary")
    assert (store.read(new), store.read(old)) == (b"new", b"old")


@pytest.mark.parametrize("name", ["../../escape", "/etc/passwd", "..", ".hidden", "a b/ü", ""])
def test_names_stay_in_their_folder(store: ResultStore, name: str) -> None:
    """A value's name is made safe for file systems."""
    value = store.write("job/1", name, "x/y", b"x", "binary")
    (path,) = files_of(store)
    assert path.startswith("/job/1/")
    assert path.count("/") == 3
    assert store.read(value) == b"x"


def test_a_gone_file_is_no_result(store: ResultStore) -> None:
    """A value that somebody removed is not available; that is no failure of the store."""
    manifest = store_return(store, "job/1", "image/png", PNG, ["a"])
    store.delete("job")
    with pytest.raises(ResultNotAvailableError, match="job/1/return"):
        respond(store, manifest, {}, as_returned=False)


def test_no_manifest_is_no_result(store: ResultStore) -> None:
    """A job that ended without a result has none."""
    with pytest.raises(ResultNotAvailableError):
        respond(store, None, {}, as_returned=False)


@pytest.mark.parametrize("below", ["file", "device"])
def test_an_unusable_store_says_so(tmp_path: Path, below: str) -> None:
    """A store that cannot be written or read is an outage of its own, and the message names the YAML key."""
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    store = ResultStore(str(in_the_way / "results") if below == "file" else "/dev/null/results")
    with pytest.raises(ResultStoreError, match=r"server\.manager\.output_dir"):
        store.write("job/1", "return", "x/y", PNG, "binary")
    with pytest.raises(ResultStoreError):
        store.read(StoredValue("x/y", "binary", 1, location="job/1/return"))
    with pytest.raises(ResultStoreError):
        store.check()


def test_an_unknown_protocol_is_an_unusable_store() -> None:
    """So is an fsspec URL whose driver does not exist."""
    with pytest.raises(ResultStoreError, match="nonsense"):
        ResultStore("nonsense://bucket").check()


def test_a_check_leaves_nothing(store: ResultStore) -> None:
    """The store is tried by a file that is gone afterwards."""
    store.check()
    assert files_of(store) == []


class TestLimits:
    """A job stores no more than it may."""

    def test_all_values_count(self, store: ResultStore) -> None:
        """Small ones, large ones and files together; what goes beyond fails, and says how much there may be."""
        limited = store.limited(INLINE_BYTES + 1000)
        limited.write("job-1/1", "small", JSON, json.dumps("x" * 500), "json")
        limited.write("job-1/1", "large", "image/png", bytes(INLINE_BYTES), "binary")
        for write in (limited.write, limited.copy_in):
            content = bytes(600) if write == limited.write else io.BytesIO(bytes(600))
            with pytest.raises(OutputTooLargeError) as caught:
                write("job-1/1", "more", "image/png", content, "binary")
            assert str(INLINE_BYTES + 1000) in caught.value.client_message

    def test_endless_files(self, store: ResultStore) -> None:
        """A file is not read further than the limit."""

        class Endless(io.RawIOBase):
            given = 0

            def read(self, count: int = -1) -> bytes:
                self.given += count
                return bytes(count)

        source = Endless()
        with pytest.raises(OutputTooLargeError):
            store.limited(1000).copy_in("job-1/1", "endless", "a/b", source)
        assert source.given <= 8 * 1024 * 1024

    def test_a_value_that_replaces_another(self, store: ResultStore) -> None:
        """A flow that is tried again stores its outputs again: they do not add up."""
        limited = store.limited(1500)
        for _ in range(3):
            limited.write("job-1/1", "image", "image/png", bytes(1000), "binary")

    def test_jobs_do_not_share_a_limit(self, store: ResultStore) -> None:
        """What one job has stored does not count for the next; without a limit nothing does."""
        for number in range(3):
            store.limited(1000).write(f"job-{number}/1", "image", "image/png", bytes(1000), "binary")
            store.limited(None).write(f"job-{number}/1", "image", "image/png", bytes(1000), "binary")

    def test_files_of_a_flow_in_its_folder(self, tmp_path: Path) -> None:
        """What a flow has stored there itself counts as well, though nothing is copied."""
        own = tmp_path / "job-1" / "own.bin"
        own.parent.mkdir()
        own.write_bytes(bytes(INLINE_BYTES + 1))
        limited = ResultStore(str(tmp_path)).limited(INLINE_BYTES)
        with pytest.raises(OutputTooLargeError):
            store_location(limited, "job-1", "job-1/1", "own", "a/b", str(own), block_of(tmp_path))


def block_of(folder: Path) -> StorageBlock:
    return StorageBlock.from_document("local-file-system/x", {"basepath": str(folder)})


def test_files_are_never_executable(tmp_path: Path) -> None:
    """Also where the process returned a file that is."""
    script = tmp_path / "script.sh"
    script.write_text("#!/bin/sh\n" + "#" * INLINE_BYTES)
    script.chmod(0o777)
    store = ResultStore(str(tmp_path / "results"))
    for name, value in (("file", script), ("bytes", script.read_bytes()), ("text", script.read_text())):
        location = store_value(store, "job-1/1", name, "text/x-sh", value).location
        assert location is not None
        assert (tmp_path / "results" / location).stat().st_mode & 0o111 == 0


@pytest.mark.parametrize(
    "location", ["../secret", "job-1/../../secret", "/etc/hostname", "job-1/link", "job-1/folder/secret"]
)
def test_nothing_outside_of_the_store_is_read(tmp_path: Path, location: str) -> None:
    """Neither by its path nor by a link that a flow has left in its folder, whichever way the value is read."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "results" / "job-1"
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path)
    store = ResultStore(str(tmp_path / "results"))
    for read in (
        store.open,
        store.get,
        store.size,
        lambda path: store.read(StoredValue("a/b", "binary", 6, location=path)),
    ):
        with pytest.raises(ResultNotAvailableError, match="leads out of"):
            read(location)
