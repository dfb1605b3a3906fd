"""Inputs by reference: what processes get of them, through a real server."""

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect.types.names import raise_on_name_alphanumeric_dashes_only

from pygeoapi_prefect.exceptions import (
    MissingJobParameterError,
    ReferenceFailedError,
    ReferenceRefusedError,
    ReferenceTooLargeError,
)
from pygeoapi_prefect.jobs import JobSecrets
from pygeoapi_prefect.process.description import FunctionSignature
from pygeoapi_prefect.process.flow_runs import flow_run_parameters
from pygeoapi_prefect.process.handed_over import HandedOver, read_order
from pygeoapi_prefect.process.input_values import linked_inputs
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.process.references import fetch_for, file_name
from pygeoapi_prefect.references.content import in_line
from serving import Server, assert_problem, eventually, running
from web_server import Answering, answering, response

STRING = {"type": "string"}
BASE64 = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/tiff"}
XML = {"type": "string", "contentMediaType": "application/gml+xml"}
OBJECT = {"type": "object"}
MIXED = {"oneOf": [XML, BASE64, {"allOf": [{"format": "geojson-feature"}, OBJECT]}]}
JSON = b'{"a": [1, 2.5, null]}'
PARSED = json.loads(JSON)
TIFF = b"II*\x00\xff\xfe"
TIFF_TEXT = base64.b64encode(TIFF).decode()


@pytest.mark.parametrize(
    ("content", "media_type", "schema", "value"),
    [
        # the schema takes no string
        (JSON, "application/json", OBJECT, PARSED),
        (JSON, "text/plain", OBJECT, PARSED),
        (JSON, None, OBJECT, PARSED),
        (JSON, None, {"$ref": "x", "properties": {}}, PARSED),
        (b"[1, 2]", "application/octet-stream", {"type": "array", "items": {"type": "number"}}, [1, 2]),
        (b"2.5", "text/plain", {"type": ["number", "null"]}, 2.5),
        (b"\xef\xbb\xbf{}", "application/json", OBJECT, {}),
        ('{"a": "é"}'.encode("utf-16"), "application/json", OBJECT, {"a": "é"}),
        ('{"a": "é"}'.encode("latin-1"), "application/json; charset=latin-1", OBJECT, {"a": "é"}),
        # the schema takes strings alone
        (JSON, "application/json", STRING, JSON.decode()),
        (b"plain", "text/plain", STRING, "plain"),
        ("é".encode("latin-1"), "text/plain; charset=ISO-8859-1", STRING, "é"),
        ("é".encode(), "text/csv", STRING, "é"),
        (b"\xef\xbb\xbfa;b", "text/csv; charset=utf-8", STRING, "a;b"),
        (b"plain", None, STRING, "plain"),
        (b"plain", "application/octet-stream", STRING, "plain"),
        (TIFF, "application/octet-stream", STRING, TIFF_TEXT),
        (TIFF, "image/tiff", STRING, TIFF_TEXT),
        (b"plain", "text/plain", BASE64, base64.b64encode(b"plain").decode()),
        (TIFF, None, BASE64, TIFF_TEXT),
        (TIFF, None, {"type": "string", "format": "byte"}, TIFF_TEXT),
        (TIFF, None, {"contentEncoding": "binary"}, TIFF_TEXT),
        # the schema takes either
        (JSON, "application/geo+json", MIXED, PARSED),
        (b"<gml/>", "application/gml+xml; version=3.2", MIXED, "<gml/>"),
        (TIFF, "image/tiff; application=geotiff", MIXED, TIFF_TEXT),
        (JSON, "application/json", {}, PARSED),
        (JSON, "application/json", None, PARSED),
        (JSON, "text/plain", {}, JSON.decode()),
        (TIFF, "image/png", {}, TIFF_TEXT),
        (b"text", None, True, "text"),
    ],
)
def test_a_process_gets_what_it_would_have_got_in_line(
    tmp_path: Path, content: bytes, media_type: str | None, schema: Any, value: Any
) -> None:
    """JSON, text or base64: as the schema has it, and where it leaves a choice, as the media type says."""
    path = tmp_path / "value"
    path.write_bytes(content)
    assert in_line(path, media_type, schema, shown="It") == value


@pytest.mark.parametrize(
    ("content", "media_type", "schema", "message"),
    [
        (b"<html>", "text/html", OBJECT, "It holds no JSON."),
        (b'{"a": NaN}', "application/json", OBJECT, "It holds no JSON."),
        (b"[" * 100_000, "application/json", OBJECT, "It holds no JSON."),
        (b"1" * 10_000, "application/json", OBJECT, "It holds no JSON."),
        (b"\xff\xff", "text/plain", STRING, "It holds no text in utf-8."),
        (b"x", "text/plain; charset=klingon", STRING, "It holds no text in klingon."),
        (b"x", "text/plain; charset=hex", STRING, "It holds no text in hex."),
    ],
)
def test_wrong_content_is_told(tmp_path: Path, content: bytes, media_type: str, schema: Any, message: str) -> None:
    """Content that is not what it claims, or not what the schema wants, is the client's error."""
    path = tmp_path / "value"
    path.write_bytes(content)
    with pytest.raises(ReferenceFailedError) as refused:
        in_line(path, media_type, schema, shown="It")
    assert refused.value.client_message == message
    assert refused.value.http_status_code == 400


@pytest.mark.parametrize(
    ("link", "name"),
    [
        ({"href": "https://example.org/data/dem.tif?sig=1"}, "dem.tif"),
        ({"href": "https://example.org/a%20b%2Fc.tif"}, "c.tif"),
        ({"href": "https://example.org/%2e%2e%2f%2e%2e"}, "input"),
        ({"href": "https://example.org/..%00.tif"}, "_.tif"),
        ({"href": "https://example.org/.ssh"}, "ssh"),
        ({"href": "https://example.org/-rf"}, "rf"),
        ({"href": "https://example.org/collections/items", "type": "application/json"}, "items.json"),
        ({"href": "https://example.org/", "type": "image/tiff; application=geotiff"}, "input.tiff"),
        ({"href": "https://example.org"}, "input"),
        ({"href": "http://[::1"}, "input"),
        ({"href": "https://example.org/" + "x" * 300 + ".tif"}, "x" * 96 + ".tif"),
    ],
)
def test_files_have_harmless_names(link: dict[str, str], name: str) -> None:
    """The name of a file is that in the URL as far as it names nothing else, with a suffix that libraries know."""
    assert file_name(link) == name


def order(resource: Mapping[str, Any] | None = None, **limits: Any) -> JobOrder:
    processor = {"type": "process", "processor": {"name": "processors.Received"}}
    return JobOrder("job-1", "ndvi", {**processor, **(resource or {})}, {"inputs": {}}, "job-1", limits)


def test_allow_internal_requests_counts_for_its_process() -> None:
    """pygeoapi's own key beside ``processor`` opens loopback addresses for one process."""
    with answering(response(b"text")) as server:
        link = {"href": server.url}
        fetch = fetch_for(order({"allow_internal_requests": True}))
        assert fetch is not None
        assert fetch("text", link, {"schema": STRING}) == "text"
        for resource in ({}, {"allow_internal_requests": False}, {"allow_internal_requests": "no"}):
            closed = fetch_for(order(resource))
            assert closed is not None
            with pytest.raises(ReferenceRefusedError):
                closed("text", link, {"schema": STRING})
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("max_bytes", "key"),
    [(1000, "processor.prefect.references"), (50, "server.manager.reference_max_bytes")],
)
def test_the_operator_learns_which_limit_to_change(monkeypatch: pytest.MonkeyPatch, max_bytes: int, key: str) -> None:
    """A value has a limit of its own, which a process that takes files does without."""
    monkeypatch.setattr("pygeoapi_prefect.process.references.MAX_VALUE_BYTES", 100)
    fetch = fetch_for(order(allowed_hosts=["127.0.0.1"], max_bytes=max_bytes))
    assert fetch is not None
    with answering(response(bytes(101))) as server, pytest.raises(ReferenceTooLargeError) as refused:
        fetch("raster", {"href": server.url}, {"schema": BASE64})
    assert key in str(refused.value)
    assert refused.value.client_message == f"Input 'raster': {server.url} is larger than {min(100, max_bytes)} bytes."


def test_nothing_is_left_of_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A fetched value is in memory, and nowhere else."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fetch = fetch_for(order(allowed_hosts=["127.0.0.1"]))
    assert fetch is not None
    with answering(response(b"text")) as server:
        assert fetch("text", {"href": server.url}, {"schema": STRING}) == "text"
    assert list(tmp_path.iterdir()) == []


def test_limits_travel_with_a_job() -> None:
    """A deployment's flow run fetches by the limits of the configuration of the server."""
    limits = {"allowed_hosts": ["data.example.org"], "max_bytes": 5, "timeout": 7.5}
    handed_over = HandedOver("job-1", "ndvi", {"processor": {"name": "x"}}, {"inputs": {}}, "/storage", limits)
    assert read_order(handed_over.order_json(), "job-1", JobSecrets()).reference_limits == limits


@pytest.mark.parametrize("job_id", ["my-job", "My.Job_1", "x" * 64, "c0ffee00-0000-4000-8000-000000000000"])
def test_every_job_id_makes_the_name_of_a_block(job_id: str) -> None:
    """Secrets of a deployed process are kept under a name that Prefect takes, whatever id the client proposed."""
    name = HandedOver.secret_block_of(job_id)
    assert raise_on_name_alphanumeric_dashes_only(name) == name
    assert name != HandedOver.secret_block_of(job_id.swapcase())


def test_what_is_awaited_is_not_missing() -> None:
    """The arguments that need no fetching are known before, a Dask cluster among them; what else is missing is told."""

    def flow(text: str, number: int, other: str) -> str:
        return text

    signature = FunctionSignature(flow)
    assert signature.arguments({"number": 1, "other": "x"}, awaited={"text"}) == {"number": 1, "other": "x"}
    with pytest.raises(MissingJobParameterError, match="'other'"):
        signature.arguments({"number": 1}, awaited={"text"})


@pytest.mark.parametrize(
    ("value", "is_linked"),
    [
        ({"href": "x"}, True),
        ([1, {"href": "x"}], True),
        ({"value": [{"href": "x"}]}, True),
        ("http://example.org", False),
        ([1, 2], False),
        ({"value": {"a": 1}}, False),
        ({"bbox": [1, 2, 3, 4]}, False),
    ],
)
def test_links_are_found(value: Any, is_linked: bool) -> None:
    """Links that stand for a value, or for an item of one, are known before anything is fetched."""
    asked = replace(order(), request={"inputs": {"a": value, "b": 1}})
    assert linked_inputs(asked) == ({"a"} if is_linked else set())


def test_signatures_of_links_are_shown_to_nobody() -> None:
    """Prefect and the command line show where an input comes from, but not what lets everybody fetch it."""
    inputs = {
        "a": {"href": "https://x.org/a?sig=s"},
        "b": [1, {"href": "https://x.org/b?sig=s", "type": "t/t"}],
        "c": 1,
    }
    assert flow_run_parameters("job-1", {"inputs": inputs})["inputs"] == {
        "a": {"href": "https://x.org/a"},
        "b": [1, {"href": "https://x.org/b", "type": "t/t"}],
        "c": 1,
    }


# ---------------------------------------------------------------- through a server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    received = {"name": "processors.Received"}
    processors = {
        "value": received,
        "file": {**received, "prefect": {"references": "file"}},
        "link": {**received, "prefect": {"references": "link"}},
        "limited": {**received, "prefect": {"time_limit": 1}},
    }
    folder = tmp_path_factory.mktemp("references")
    manager = {"allowed_hosts": ["127.0.0.1"], "reference_max_bytes": 100_000, "reference_timeout": 30}
    with running(Server(folder, processors=processors, manager=manager)) as server:
        yield server


def test_values(served: Server) -> None:
    """Each input is as if it had been sent in-line, alone or as an item beside others."""
    with (
        answering(response(TIFF, Content_Type="image/tiff")) as raster,
        answering(response(b'{"type": "Feature"}', Content_Type="application/geo+json")) as feature,
        answering(response(b"one")) as text,
        answering(response(b"2")) as number,
    ):
        sent = {
            "raster": {"href": raster.url, "type": "image/tiff"},
            "feature": {"href": feature.url},
            "texts": ["zero", {"href": text.url, "type": "text/plain"}, {"value": "two"}],
            "numbers": [1, {"href": number.url}],
        }
        answered = served.execute("value", sent)
    assert answered.status_code == 200, answered.text
    assert answered.json()["data"] == {
        "raster": TIFF_TEXT,
        "feature": {"type": "Feature"},
        "texts": ["zero", "one", "two"],
        "numbers": [1, 2],
    }


def test_files(served: Server) -> None:
    """The process gets paths in the job's own folder, which goes with the job."""
    with answering(response(b"text")) as text:
        found = served.execute("file", {"text": {"href": text.url + ".txt"}, "any": {"href": text.url}}).json()
    paths = [found["data"]["text"], found["data"]["any"]]
    assert [Path(path).name for path in paths] == ["data.txt", "data"]
    assert found["files"] == dict.fromkeys(paths, "text")
    assert all(path.startswith(found["scratch"]) for path in paths)
    eventually(lambda: not Path(found["scratch"]).exists(), within=10)


def test_links(served: Server) -> None:
    """A process may want the link itself: nothing is fetched then."""
    with answering(response(b"text")) as text:
        sent = {"raster": {"href": text.url}, "texts": [{"href": "http://169.254.169.254/"}]}
        assert served.execute("link", sent).json()["data"] == sent
    assert text.requests == []


REFUSED: dict[str, tuple[bytes, str, int, str]] = {
    "not there": (response(b"", "404 Not Found"), "text", 400, "{url} answered 404."),
    "broken": (response(b"", "500 Oops"), "text", 502, "{url} answered 500."),
    "too large": (response(bytes(100_001)), "raster", 400, "{url} is larger than 100000 bytes."),
    "no JSON": (response(b"<html>"), "feature", 400, "{url} holds no JSON."),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_failed_fetch_fails_the_job(served: Server, why: str) -> None:
    """With its reason, and the status that says whose fault it is."""
    answer, name, status, message = REFUSED[why]
    with answering(answer) as server:
        problem = assert_problem(served.execute("value", {name: {"href": f"{server.url}?token=s3cr3t"}}), status)
    assert problem["detail"] == f"Input {name!r}: {message.format(url=server.url)}"
    assert "s3cr3t" not in served.runner_log()


def test_content_that_does_not_fit(served: Server) -> None:
    """What stands at a reference is held against the schema, as if it had been sent."""
    with answering(response(b"x" * 21)) as server:
        problem = assert_problem(served.execute("value", {"text": {"href": server.url}}), 400)
    assert "'text'" in problem["detail"]


@pytest.mark.parametrize("href", ["http://169.254.169.254/latest/meta-data", "http://127.0.0.2:1/", "http://[::1]:1/"])
def test_internal_addresses_are_refused(served: Server, href: str) -> None:
    """A client does not have this server ask what it cannot ask itself, and learns nothing by trying."""
    problem = assert_problem(served.execute("value", {"text": {"href": href}}), 400)
    assert problem["detail"] == "Input 'text': This server may not ask that address."


def dripping(over: threading.Event) -> Callable[[Callable[[bytes], None]], None]:
    def drip(send: Callable[[bytes], None]) -> None:
        send(b"HTTP/1.1 200 OK\r\n\r\n")
        while not over.wait(0.05):
            send(b"x")

    return drip


@pytest.fixture
def slow() -> Iterator[Answering]:
    """A server that drips."""
    over = threading.Event()
    with answering(dripping(over)) as server:
        yield server
        over.set()


def test_a_dismissal_ends_the_fetching(served: Server, slow: Answering) -> None:
    """The job says what it waits for, and lets go of it when it is dismissed."""
    job_id = served.submit("value", {"text": {"href": slow.url}})
    eventually(lambda: served.job(job_id)["message"] == "Fetching input 'text'", within=20)
    assert served.client.delete(f"/jobs/{job_id}").status_code == 200
    assert slow.is_left.wait(10)
    assert served.job(job_id)["status"] == "dismissed"


def test_the_time_limit_counts_the_fetching(served: Server, slow: Answering) -> None:
    """A job that fetches for longer than it may run is stopped."""
    job = served.wait_for(served.submit("limited", {"text": {"href": slow.url}}))
    assert (job["status"], job["message"]) == ("failed", "The job ran longer than its process may: 1 seconds")
    assert slow.is_left.wait(10)
