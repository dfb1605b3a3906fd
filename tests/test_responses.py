"""The form in which outputs are answered: raw, as parts, in a document, by reference, one by one."""

import base64
import email
import json
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import fsspec
import httpx
import pytest

from ogc_schema import validate
from pygeoapi_prefect.exceptions import OGC_EXCEPTIONS, ResultNotAvailableError, UnknownOutputError
from pygeoapi_prefect.results import (
    OutputLinks,
    Response,
    ResultStore,
    StoredFile,
    outputs_manifest,
    respond,
    store_return,
    store_value,
)
from pygeoapi_prefect.results.http_headers import disposition, safe_media_type
from pygeoapi_prefect.results.multipart import Part, multipart_related
from pygeoapi_prefect.results.responses import LARGE_BYTES
from serving import eventually, free_port

JSON, GEOJSON, TEXT, HTML = "application/json", "application/geo+json", "text/plain", "text/html"
PNG = b"\r\n--\r\n\x00\xff" + bytes(range(256)) * 40 + b"\r\n"
POINT = {"type": "Point", "coordinates": [7.1, 51.9]}
REFERENCE, BASE64 = {"transmissionMode": "reference"}, {"format": {"encoding": "base64"}}
LINKS = OutputLinks("https://example.org/api", "job-1")
HREF = "https://example.org/api/jobs/job-1/results?outputs="


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path / "results"))


def values(store: ResultStore, **outputs: tuple[str, Any]) -> dict[str, Any]:
    """The manifest of a flow with these outputs."""
    return outputs_manifest({name: store_value(store, "job-1/1", name, *output) for name, output in outputs.items()})


def kept(manifest: dict[str, Any]) -> dict[str, Any]:
    """As the job's row gives it back."""
    again: dict[str, Any] = json.loads(json.dumps(manifest))
    return again


def answer(store: ResultStore, manifest: dict[str, Any], request: dict[str, Any], **options: Any) -> Response:
    return respond(store, kept(manifest), request, **{"as_returned": False, "links": LINKS, **options})


def parts_of(response: Response) -> dict[str, Message]:
    """The parts by their Content-IDs, as Python's ``email`` reads them."""
    raw = f"Content-Type: {response.media_type}\r\n\r\n".encode() + response.content
    message = email.message_from_bytes(raw)
    assert (message.get_content_type(), message.defects) == ("multipart/related", [])
    parts: Any = message.get_payload()
    return {part["Content-ID"]: part for part in parts}


def split_by_hand(response: Response) -> list[tuple[bytes, bytes]]:
    """Head and body of each part, by nothing but the boundary."""
    boundary = response.media_type.partition("boundary=")[2].partition(";")[0].encode()
    first, *parts, last = (b"\r\n" + response.content).split(b"\r\n--" + boundary)
    assert (first, last) == (b"", b"--\r\n")
    heads_and_bodies = [part.removeprefix(b"\r\n").partition(b"\r\n\r\n") for part in parts]
    return [(head, body) for head, _, body in heads_and_bodies]


def sent(content_type: str, content: Any) -> bytes:
    """The body of a raw response."""
    if isinstance(content, bytes):
        return content
    return (content if isinstance(content, str) and content_type != JSON else json.dumps(content)).encode()


def q(value: Any, media_type: str = JSON, **more: Any) -> dict[str, Any]:
    return {"value": value, "mediaType": media_type, **more}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# what one output is: (media type, value, raw content type, raw content, member of a document)
OUTPUTS: dict[str, tuple[str, Any, str, Any, Any]] = {
    "number": (JSON, 1.5, JSON, 1.5, 1.5),
    "false": (JSON, False, JSON, False, False),
    "JSON text": (JSON, "x", JSON, "x", "x"),
    "list": (JSON, [{"a": 1}], JSON, [{"a": 1}], [{"a": 1}]),
    "object": (JSON, {"x": 1}, JSON, {"x": 1}, q({"x": 1})),
    "object with a value": (JSON, {"value": 5}, JSON, {"value": 5}, q({"value": 5})),
    "object with parameters": (f"{JSON}; charset=utf-8", [1], f"{JSON}; charset=utf-8", [1], [1]),
    "large object": (JSON, {"x": "x" * 9000}, JSON, {"x": "x" * 9000}, q({"x": "x" * 9000})),
    "GeoJSON": (GEOJSON, POINT, GEOJSON, POINT, q(POINT, GEOJSON)),
    "GeoJSON as text": (GEOJSON, json.dumps(POINT), GEOJSON, json.dumps(POINT), q(POINT, GEOJSON)),
    "box": (JSON, {"bbox": [1, 2, 3, 4]}, JSON, {"bbox": [1, 2, 3, 4]}, {"bbox": [1, 2, 3, 4]}),
    "box of another system": (
        JSON,
        {"bbox": [1, 2, 3, 4], "crs": "http://www.opengis.net/def/crs/EPSG/0/25832"},
        JSON,
        {"bbox": [1, 2, 3, 4], "crs": "http://www.opengis.net/def/crs/EPSG/0/25832"},
        q({"bbox": [1, 2, 3, 4], "crs": "http://www.opengis.net/def/crs/EPSG/0/25832"}),
    ),
    "feature with a bbox": (JSON, {"bbox": [1, 2, 3, 4], "id": 1}, JSON, {"bbox": [1, 2, 3, 4], "id": 1}, None),
    "text": (TEXT, "ü", f"{TEXT}; charset=utf-8", "ü", "ü"),
    "text in another charset": (f"{TEXT};charset=x", "ü", f"{TEXT};charset=x", "ü", "ü"),
    "large text": (TEXT, "ü" * 9000, f"{TEXT}; charset=utf-8", "ü" * 9000, "ü" * 9000),
    "markup": (HTML, "<p>", f"{HTML}; charset=utf-8", "<p>", q("<p>", HTML)),
    "XML": ("application/xml", "<a/>", "application/xml", "<a/>", q("<a/>", "application/xml")),
    "bytes": ("image/png", PNG, "image/png", PNG, q(b64(PNG), "image/png", encoding="base64")),
    "no bytes": ("image/png", b"", "image/png", b"", q("", "image/png", encoding="base64")),
    "bytes of text": ("text/csv", b"a,b\r\n1,2\r\n", "text/csv", b"a,b\r\n1,2\r\n", q("a,b\r\n1,2\r\n", "text/csv")),
    "bytes of no text": ("text/csv", b"\xff", "text/csv", b"\xff", q(b64(b"\xff"), "text/csv", encoding="base64")),
    "bytes of JSON": (GEOJSON, b'{"type": 1}', GEOJSON, b'{"type": 1}', q({"type": 1}, GEOJSON)),
    "bytes of no JSON": (JSON, b"{", JSON, b"{", q(b64(b"{"), JSON, encoding="base64")),
    "qualified": (JSON, q("<a/>", "text/xml"), "text/xml; charset=utf-8", "<a/>", q("<a/>", "text/xml")),
    "qualified bytes": (
        JSON,
        q(b64(PNG), "image/png", encoding="base64"),
        "image/png",
        PNG,
        q(b64(PNG), "image/png", encoding="base64"),
    ),
    "qualified object": (JSON, q(POINT, GEOJSON, schema="x"), GEOJSON, POINT, q(POINT, GEOJSON, schema="x")),
    "no base64": (JSON, q("ü", "x/y", encoding="base64"), JSON, q("ü", "x/y", encoding="base64"), None),
    "link": (JSON, {"href": "https://x.org/a"}, JSON, {"href": "https://x.org/a"}, {"href": "https://x.org/a"}),
    "no media type": ("tiff\r\nX: y", b"II", "application/octet-stream", b"II", None),
}


def manifests(store: ResultStore, media_type: str, value: Any) -> Iterator[dict[str, Any]]:
    """Every kind of manifest that holds this output, ``a``."""
    yield values(store, a=(media_type, value))
    yield store_return(store, "job-1/2", media_type, value, ["a"])
    yield store_return(store, "job-1/3", media_type, value, ["a", "b"], requested_outputs=["a"])
    if media_type == JSON and not isinstance(value, bytes | str):
        yield store_return(store, "job-1/4", JSON, {"id": "a", "value": value}, ["a"])
        yield store_return(store, "job-1/5", JSON, {"a": value, "b": 5}, ["a", "b"])


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_is_the_same_from_wherever(store: ResultStore, name: str) -> None:
    """
    However a process returned it, by value an output is answered raw as it is, and in a document as the schema of
    results has it; with or without links, asked for by the execute request or later.
    """
    media_type, value, raw_type, raw, member = OUTPUTS[name]
    for manifest in manifests(store, media_type, value):
        for request, options in (({"outputs": {"a": {}}}, {}), ({}, {"outputs": ["a"]}), ({"outputs": ["a"]}, {})):
            response = answer(store, manifest, request, **options)
            assert (response.status, response.media_type, response.loaded()) == (HTTPStatus.OK, raw_type, raw)
        document = answer(store, manifest, {"outputs": {"a": {}}, "response": "document"})
        assert (document.status, document.media_type, list(document.content)) == (HTTPStatus.OK, JSON, ["a"])
        assert member is None or document.content == {"a": member}
        validate(document.content, "relaxed/results")
        json.dumps(document.content)


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_is_the_same_as_a_part(store: ResultStore, name: str) -> None:
    """A part has the type and the very bytes that the output has alone."""
    media_type, value, raw_type, raw, _ = OUTPUTS[name]
    for manifest in manifests(store, media_type, value):
        if "values" not in manifest:
            continue
        both = {"values": {**manifest["values"], **values(store, b=(JSON, 1))["values"]}}
        part = parts_of(answer(store, both, {}))["<a>"]
        assert part["Content-Type"] == raw_type
        assert part.get_payload(decode=True) == sent(raw_type, raw)


@pytest.mark.parametrize("name", OUTPUTS)
def test_base64_is_what_the_client_wants(store: ResultStore, name: str) -> None:
    """A client that asks for base64 in a document gets the bytes of the raw response so; a link is no value."""
    media_type, value, raw_type, raw, _ = OUTPUTS[name]
    (member,) = answer(
        store, values(store, a=(media_type, value)), {"outputs": {"a": BASE64}, "response": "document"}
    ).content.values()
    if name == "link":
        assert member == value
        return
    assert base64.b64decode(member["value"], validate=True) == sent(raw_type, raw)
    assert (member["encoding"], member["mediaType"].partition(";")[0]) == ("base64", raw_type.partition(";")[0])


SEVERAL: dict[str, tuple[str, Any]] = {"number": (JSON, 1), "image": ("image/png", PNG), "text": (TEXT, "a\nü")}


class TestSeveral:
    """Several raw outputs."""

    def test_parts(self, store: ResultStore) -> None:
        """Each is a part with its id and type, whose bytes are intact; equal outputs are equal responses."""
        manifest = values(store, **SEVERAL)
        response = answer(store, manifest, {"response": "raw"})
        assert response == answer(store, manifest, {"response": "raw"})
        assert {name: part.get_content_type() for name, part in parts_of(response).items()} == {
            "<number>": JSON,
            "<image>": "image/png",
            "<text>": TEXT,
        }
        bodies = [b"1", PNG, "a\nü".encode()]
        assert [part.get_payload(decode=True) for part in parts_of(response).values()] == bodies
        assert [body for _, body in split_by_hand(response)] == bodies
        assert response.media_type.endswith('; type="application/json"')

    def test_as_a_document(self, store: ResultStore) -> None:
        """A client that would rather have JSON gets the document, as one does that asked for it."""
        manifest = values(store, **SEVERAL)
        document = answer(store, manifest, {"response": "document"})
        assert answer(store, manifest, {"response": "raw"}, prefers_json=True) == document
        assert list(document.content) == list(SEVERAL)

    def test_mixed(self, store: ResultStore) -> None:
        """A part by reference is empty and says where its content is."""
        request = {"outputs": {"number": {}, "image": REFERENCE}}
        parts = parts_of(answer(store, values(store, **SEVERAL), request))
        assert parts["<image>"]["Content-Location"] == f"{HREF}image"
        assert parts["<image>"].get_payload(decode=True) == b""
        assert parts["<number>"]["Content-Location"] is None
        assert parts["<number>"].get_payload(decode=True) == b"1"

    def test_the_boundary_is_nowhere_else(self) -> None:
        """Parts that hold another response of the same kind, or what looks like a boundary, stay whole."""
        inner_type, inner = multipart_related([Part("x", TEXT, b"--\r\n")])
        media_type, body = multipart_related([Part("a", inner_type, inner), Part("b", TEXT, inner)])
        response = Response(media_type, body)
        assert [content for _, content in split_by_hand(response)] == [inner, inner]
        assert parts_of(response)["<b>"].get_payload(decode=True) == inner

    @pytest.mark.parametrize("output_id", ["a\r\nX-Evil: 1", "a>b", "ü", 'a"b', "a b", "%61"])
    def test_ids_inject_nothing(self, store: ResultStore, output_id: str) -> None:
        """An id of whatever characters is one header, and can be read from it."""
        manifest = values(store, **{output_id: (JSON, 1), "other": (JSON, 2)})
        ids = list(parts_of(answer(store, manifest, {})))
        quoted, other = (text.removeprefix("<").removesuffix(">") for text in ids)
        assert (parse_qs(f"id={quoted}")["id"], other) == ([output_id], "other")


class TestReferences:
    """Outputs that the client wants as links."""

    def test_raw(self, store: ResultStore) -> None:
        """No content, and a link to each, whose title is the output's id."""
        request = {"outputs": {"image": REFERENCE, "text": REFERENCE}, "response": "raw"}
        for options in ({}, {"prefers_json": True}):
            response = answer(store, values(store, **SEVERAL), request, **options)
            assert (response.status, response.content) == (HTTPStatus.NO_CONTENT, b"")
            assert response.headers["Link"] == (
                f'<{HREF}image>; rel="http://www.opengis.net/def/rel/ogc/1.0/results"; type="image/png"; '
                f'title="image", <{HREF}text>; rel="http://www.opengis.net/def/rel/ogc/1.0/results"; '
                'type="text/plain"; title="text"'
            )

    def test_document(self, store: ResultStore) -> None:
        """A link stands in the place of the value; a document that has one has the values of the others."""
        request = {"outputs": {"image": REFERENCE, "number": {}}, "response": "document"}
        document = answer(store, values(store, **SEVERAL), request).content
        assert document == {"number": 1, "image": {"href": f"{HREF}image", "type": "image/png", "title": "image"}}
        validate(document, "relaxed/results")

    def test_a_link_of_the_process(self, store: ResultStore) -> None:
        """What a process left elsewhere is linked there, whatever characters its address has."""
        manifest = store_return(store, "job-1/1", JSON, {"href": "https://x.org/a b>\r\nX: ü", "type": "x/y"}, ["a"])
        header = answer(store, manifest, {"outputs": {"a": REFERENCE}}).headers["Link"]
        assert header.startswith("<https://x.org/a%20b%3E%0D%0AX:%20%C3%BC>; rel=")
        assert header.endswith('type="x/y"; title="a"')

    def test_links_lead_to_the_value(self, store: ResultStore) -> None:
        """What a link names is answered raw and by value, even to a request for references."""
        manifest = values(store, **{"a,b & c": ("image/png", PNG), "a": (JSON, 1), "b & c": (JSON, 2)})
        request = {"outputs": dict.fromkeys(["a,b & c", "a", "b & c"], REFERENCE), "response": "document"}
        href = answer(store, manifest, request).content["a,b & c"]["href"]
        named = parse_qs(urlsplit(href).query)["outputs"]
        response = answer(store, manifest, request, outputs=named)
        assert (response.media_type, response.loaded()) == ("image/png", PNG)

    def test_without_an_address(self, store: ResultStore) -> None:
        """Where the server's address is not known, references are answered by value."""
        request = {"outputs": {"number": REFERENCE}}
        assert answer(store, values(store, **SEVERAL), request, links=None).content == 1

    def test_what_cannot_be_told_apart(self, store: ResultStore) -> None:
        """A return without outputs has nothing to link to: it is answered whole, by value."""
        manifest = store_return(store, "job-1/1", JSON, {"x": 1}, ["a", "b"])
        assert answer(store, manifest, {"outputs": {"a": REFERENCE}}).content == {"x": 1}
        assert answer(store, manifest, {}, outputs=["return"]).content == {"x": 1}

    def test_stores_that_sign_nothing(self, store: ResultStore) -> None:
        """Local folders, and what is not in a file, are linked on this server whatever is configured."""
        links = OutputLinks(LINKS.base_url, LINKS.job_id, 60)
        request = {"outputs": {"image": REFERENCE, "number": REFERENCE}, "response": "document"}
        for other in (store, ResultStore(f"memory://{uuid4().hex}")):
            document = answer(other, values(other, **SEVERAL), request, links=links).content
            assert [link["href"] for link in document.values()] == [f"{HREF}number", f"{HREF}image"]


class TestChoice:
    """Requests for some of a job's outputs."""

    @pytest.mark.parametrize(
        ("outputs", "expected"),
        [(["text,number"], ["text", "number"]), (["number", "image"], ["number", "image"]), ([], list(SEVERAL))],
    )
    def test_several(self, store: ResultStore, outputs: list[str], expected: list[str]) -> None:
        """Those that are named, in that order; all where none is."""
        document = answer(store, values(store, **SEVERAL), {"response": "document"}, outputs=outputs).content
        assert list(document) == expected
        assert list(parts_of(answer(store, values(store, **SEVERAL), {}, outputs=outputs))) == [
            f"<{name}>" for name in expected
        ]

    @pytest.mark.parametrize("outputs", [["nothing"], ["text,nothing"], ["text", ""], [","]])
    def test_unknown(self, store: ResultStore, outputs: list[str]) -> None:
        """An output that there is not is said to the client, by its name."""
        with pytest.raises(UnknownOutputError) as caught:
            answer(store, values(store, **SEVERAL), {}, outputs=outputs)
        assert (caught.value.http_status_code, caught.value.ogc_exception_code) == (
            404,
            f"{OGC_EXCEPTIONS}/no-such-output",
        )
        assert repr(outputs[-1].split(",")[-1]) in caught.value.client_message

    def test_not_selected(self, store: ResultStore) -> None:
        """What the execute request did not select is no output of the job."""
        with pytest.raises(UnknownOutputError):
            answer(store, values(store, **SEVERAL), {"outputs": ["text"]}, outputs=["image"])

    @pytest.mark.parametrize("wanted", [{}, [], None])
    def test_none_named(self, store: ResultStore, wanted: Any) -> None:
        """An execute request that names no outputs selects all of them, as 1.0 has it."""
        request = {"outputs": wanted, "response": "document"}
        assert list(answer(store, values(store, **SEVERAL), request).content) == list(SEVERAL)


class TestHeaders:
    """What browsers may do with outputs."""

    @pytest.mark.parametrize(
        "media_type",
        [
            HTML,
            "Image/SVG+XML",
            "text/xsl",
            "application/xml; x=y",
            "application/xhtml+xml",
            "multipart/x-mixed-replace; boundary=x",
        ],
    )
    def test_active_content(self, store: ResultStore, media_type: str) -> None:
        """An output that a browser would run is no part of this site, nor is what is answered as it was returned."""
        returned = store_return(store, "job-1/1", media_type, "<svg/>", ["a"])
        for response in (
            answer(store, values(store, a=(media_type, "<svg/>")), {}),
            answer(store, returned, {}, as_returned=True),
        ):
            assert response.headers["Content-Security-Policy"] == "sandbox"

    def test_no_header_within_a_media_type(self, store: ResultStore) -> None:
        """What a process returned is octets where its media type is none."""
        returned = store_return(store, "job-1/1", "text/plain\r\nX-Evil: 1", "x", ["a"])
        assert answer(store, returned, {}, as_returned=True).media_type == "application/octet-stream"

    @pytest.mark.parametrize("output", [*SEVERAL.values(), (HTML, {"a": 1}), (JSON, {"a": 1})])
    @pytest.mark.parametrize("request_", [{}, {"response": "document"}])
    @pytest.mark.parametrize("declared", [["a"], []])
    def test_no_guesses(
        self, store: ResultStore, output: tuple[str, Any], request_: dict[str, Any], declared: list[str]
    ) -> None:
        """No output is taken for something else than it says."""
        manifest = store_return(store, "job-1/1", *output, declared)
        assert answer(store, manifest, request_).headers["X-Content-Type-Options"] == "nosniff"

    def test_file_names(self, store: ResultStore) -> None:
        """Bytes have a file name; what is shown as text has none."""
        headers = answer(store, values(store, image=("image/png", PNG)), {}).headers
        assert headers["Content-Disposition"] == 'inline; filename="image.png"'
        assert "Content-Disposition" not in answer(store, values(store, text=(TEXT, "x")), {}).headers

    @pytest.mark.parametrize(
        ("output_id", "media_type", "expected"),
        [
            ("../../etc/passwd", "image/png", "_.._etc_passwd.png"),
            ('a"\r\nX: y', "x/unknown", "a_X_y"),
            ("slope.png", "image/png; a=b", "slope.png"),
            ("ü", "image/png", "_.png"),
            ("..", "image/png", "output.png"),
        ],
    )
    def test_safe_file_names(self, output_id: str, media_type: str, expected: str) -> None:
        """A file name has no folder, no quotes and no line ends, whatever the id is."""
        assert disposition(output_id, media_type) == f'inline; filename="{expected}"'

    @pytest.mark.parametrize(
        ("media_type", "is_safe"),
        [
            ("image/tiff; application=geotiff; profile=cloud-optimized", True),
            ('multipart/related; boundary="a b"', True),
            ("application/vnd.x+json;version=1", True),
            ("image", False),
            ("", False),
            ("image/png\r\nX-Evil: 1", False),
            ("image/png\n", False),
            ("image/pn g", False),
            ("text/ü", False),
            ("image/png; x", False),
            ('image/png; x="a\r\nb"', False),
        ],
    )
    def test_media_types(self, media_type: str, is_safe: bool) -> None:
        """What is no media type is octets; nothing but a media type gets into a header."""
        assert safe_media_type(media_type) == (media_type if is_safe else "application/octet-stream")


class TestFiles:
    """Outputs in files."""

    @pytest.mark.parametrize(("excess", "is_file"), [(0, False), (1, True)])
    def test_large_ones_are_not_read(self, store: ResultStore, excess: int, is_file: bool) -> None:
        """A file above 8 MiB is handed on as a file, from which the same bytes come."""
        assert LARGE_BYTES == 8 * 1024 * 1024
        data = bytes(range(256)) * (LARGE_BYTES // 256) + b"x" * excess
        for manifest in (values(store, a=("x/y", data)), store_return(store, "job-1/2", "x/y", data, ["a"])):
            response = answer(store, manifest, {})
            assert isinstance(response.content, StoredFile) is is_file
            assert response.loaded() == data
            if is_file:
                with response.content.open() as file:
                    assert (response.content.value.size, file.read(1)) == (len(data), b"\x00")

    @pytest.mark.parametrize("request_", [{}, {"response": "document"}, {"outputs": ["image"]}])
    def test_gone_ones(self, store: ResultStore, request_: dict[str, Any]) -> None:
        """A file that is gone is no result, in whatever form it is wanted."""
        manifest = values(store, **SEVERAL)
        store.delete("job-1")
        with pytest.raises(ResultNotAvailableError):
            answer(store, manifest, request_)

    def test_only_what_is_wanted_is_read(self, store: ResultStore) -> None:
        """Files of outputs that nobody wants, or only a link to, need not be there."""
        manifest = values(store, **SEVERAL)
        store.delete("job-1")
        assert answer(store, manifest, {"outputs": ["number"]}).content == 1
        assert answer(store, manifest, {"outputs": {"image": REFERENCE}}).status == HTTPStatus.NO_CONTENT


def is_up(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResultStore]:
    """A result store in a bucket of a real S3 server."""
    port = free_port()
    with (tmp_path_factory.mktemp("s3") / "s3.log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        client = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "eu-central-1"}
        options = {"key": "key", "secret": "secret", "client_kwargs": client}
        eventually(lambda: is_up(client["endpoint_url"]), within=30, what="an answer of the S3 server")
        fsspec.filesystem("s3", **options).mkdir("outputs")
        yield ResultStore("s3://outputs/below", options)
    finally:
        server.terminate()
        server.wait(10)


class TestObjectStore:
    """Result stores that answer links themselves."""

    LINKS = OutputLinks(LINKS.base_url, LINKS.job_id, 60)

    def test_signed_links(self, bucket: ResultStore) -> None:
        """A file has a link that works without credentials, for so long; what is in no file has one of this server."""
        request = {"outputs": dict.fromkeys(SEVERAL, REFERENCE), "response": "document"}
        document = answer(bucket, values(bucket, **SEVERAL), request, links=self.LINKS).content
        assert (document["number"]["href"], document["text"]["href"]) == (f"{HREF}number", f"{HREF}text")
        signed = document["image"]["href"]
        assert signed.startswith(f"{bucket.options['client_kwargs']['endpoint_url']}/outputs/below/job-1/1/image?")
        response = httpx.get(signed)
        assert (response.status_code, response.content) == (200, PNG)
        assert response.headers["content-type"] == document["image"]["type"] == "image/png"
        lifetime = parse_qs(urlsplit(signed).query)
        assert lifetime.get("X-Amz-Expires", ["60"]) == ["60"]

    def test_in_every_form(self, bucket: ResultStore) -> None:
        """The store's links stand in headers and in parts as well."""
        manifest = values(bucket, **SEVERAL)
        raw = answer(bucket, manifest, {"outputs": {"image": REFERENCE}}, links=self.LINKS)
        href = raw.headers["Link"].partition("<")[2].partition(">")[0]
        assert httpx.get(href).content == PNG
        both = parts_of(answer(bucket, manifest, {"outputs": {"image": REFERENCE, "text": {}}}, links=self.LINKS))
        assert httpx.get(both["<image>"]["Content-Location"]).content == PNG

    def test_the_server_s_links_where_configured(self, bucket: ResultStore) -> None:
        """Without the setting nobody is sent to the store."""
        request = {"outputs": {"image": REFERENCE}, "response": "document"}
        document = answer(bucket, values(bucket, **SEVERAL), request).content
        assert document["image"]["href"] == f"{HREF}image"

    def test_credentials_that_cannot_sign(
        self, bucket: ResultStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        """Then this server's links are as good, and the operator reads why."""
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "nothing"))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        without = ResultStore(bucket.url, {"client_kwargs": bucket.options["client_kwargs"]})
        request = {"outputs": {"image": REFERENCE}, "response": "document"}
        document = answer(without, values(bucket, **SEVERAL), request, links=self.LINKS).content
        assert document["image"]["href"] == f"{HREF}image"
        assert [record for record in caplog.records if "signs no URLs" in record.getMessage()]
