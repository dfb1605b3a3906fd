"""Requirements on execute requests: what is taken, what is refused, and in which mode it runs."""

import base64
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from uuid import uuid4

import pytest

from conformance.answers import (
    content_of,
    document,
    ended,
    execute,
    get,
    job_ids,
    link_headers,
    parts,
    problem,
    status_info,
    value_in,
)
from conformance.requirements import requirement
from pygeoapi_prefect.examples.echo import CRS84, CRS84H, GEOJSON, GEOTIFF, XML
from serving import Server

TIFF = b"II*\x00" + bytes(range(256))
BASE64 = base64.b64encode(TIFF).decode()
POINT = {"type": "Point", "coordinates": [7.1, 51.9]}
BBOX = {"bbox": [7, 51.9, 7.1, 52], "crs": CRS84}


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    """A web server on this host whose every path is the TIFF, but ``/text`` and ``/gone``."""

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = 404 if self.path == "/gone" else 200
            content, media_type = (b"plain", "text/plain") if self.path == "/text" else (TIFF, "image/tiff")
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as files:
        Thread(target=files.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{files.server_port}"
        files.shutdown()


def echoed(server: Server, **inputs: object) -> dict[str, object]:
    """The outputs of the Echo process, unqualified, from a results document."""
    response = execute(server, "echo", {"inputs": {"string": "s", **inputs}, "response": "document"})
    return {name: value_in(entry) for name, entry in document(response, "relaxed/results").items()}


# ---------------------------------------------------------------- what is taken


@requirement("core/process-execute-op", "core/process-execute-request")
@pytest.mark.every_front
def test_core_process_execute_request(server):
    """A request with every member of ``execute.yaml`` that is no callback is executed."""
    body = {
        "inputs": {"string": "teststring"},
        "outputs": {"string": {"transmissionMode": "value", "format": {"mediaType": "application/json"}}},
        "response": "document",
    }
    assert document(execute(server, "echo", body), "relaxed/results") == {"string": "teststring"}


@requirement("core/process-execute-inputs")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("string", "Grüße, 世界"),
        ("string", 'a < b > c & "d"'),
        ("measure", -1.5),
        ("measure", 3),
        ("pause", 0),
        ("pause", 0.01),
        ("date", "2026-01-02T03:04:05Z"),
        ("array", [1, 2, 3]),
        ("array", [1]),
        ("array", []),
    ],
)
def test_core_process_execute_inputs_in_line(server, name, value):
    """A value that stands in the request reaches the process as it is, and comes back."""
    assert echoed(server, **{name: value})[name] == value


@requirement("core/process-execute-input-array")
@pytest.mark.parametrize(("names", "count"), [("a", 1), (["a"], 1), (["a", "b", "c"], 3), ([{"value": "a"}, "b"], 2)])
def test_core_process_execute_input_array(server, names, count):
    """An input that may be repeated takes an array, also of a single value, and the value alone."""
    response = execute(server, "repeated", {"inputs": {"names": names}, "response": "document"})
    assert document(response, "relaxed/results") == {"count": f"{count} m"}


@requirement("core/process-execute-input-inline-object")
@pytest.mark.parametrize(
    "qualifier", [{}, {"mediaType": "application/json"}, {"format": {"mediaType": "application/json"}}]
)
def test_core_process_execute_input_inline_object(server, qualifier):
    """An object is taken as a qualified value."""
    value = {"name": "a", "count": 2}
    assert echoed(server, complexObject={"value": value, **qualifier})["complexObject"] == value


@requirement("core/process-execute-input-mixed-type")
@pytest.mark.parametrize(
    ("value", "media_type"), [({"name": "a"}, "application/json"), ("<name>a</name>", XML), ("teststring", XML)]
)
@pytest.mark.parametrize("is_nested", [False, True])
def test_core_process_execute_input_mixed_type(server, value, media_type, is_nested):
    """
    Where a value may be of several media types, a qualified value says which one it has.

    The standard writes the media type beside the value; its test suite, and 2.0, below ``format``.
    """
    qualifier = {"format": {"mediaType": media_type}} if is_nested else {"mediaType": media_type}
    body = {"inputs": {"string": "s", "complexObject": {"value": value, **qualifier}}, "response": "document"}
    output = document(execute(server, "echo", body), "relaxed/results")["complexObject"]
    assert value_in(output) == value


@requirement("core/process-execute-input-inline-binary")
@pytest.mark.parametrize(
    "image",
    [
        BASE64,
        {"value": BASE64, "encoding": "base64", "mediaType": GEOTIFF},
        {"value": BASE64, "format": {"mediaType": GEOTIFF, "encoding": "base64"}},
    ],
    ids=["plain", "qualified", "format"],
)
def test_core_process_execute_input_inline_binary(server, image):
    """Binary values are taken in base64 and come back byte by byte."""
    response = execute(server, "echo", {"inputs": {"string": "s", "image": image}, "outputs": {"image": {}}})
    assert (response.status_code, response.content) == (200, TIFF)
    assert response.headers["content-type"] == GEOTIFF


@requirement("core/process-execute-input-inline-bbox")
@pytest.mark.parametrize(
    "bbox",
    [
        {"bbox": [7, 51.9, 7.1, 52]},
        BBOX,
        {"bbox": [51.9, 7, 52, 7.1], "crs": CRS84},
        {"bbox": [170, -10, -170, 10], "crs": CRS84},
        {"bbox": [7, 51.9, 0, 7.1, 52, 10], "crs": CRS84H},
    ],
    ids=["no crs", "crs", "of the test suite", "antimeridian", "height"],
)
def test_core_process_execute_input_inline_bbox(server, bbox):
    """Bounding boxes with 4 and 6 numbers are taken, with and without a reference system."""
    assert echoed(server, boundingBox=bbox)["boundingBox"]["bbox"] == bbox["bbox"]


@requirement("core/process-execute-inputs")
def test_core_process_execute_inputs_geometry(server):
    """GeoJSON is taken, and answered in its own media type."""
    body = {"inputs": {"string": "s", "geometry": {"value": POINT, "mediaType": GEOJSON}}, "outputs": {"geometry": {}}}
    response = execute(server, "echo", body)
    assert (response.status_code, response.json()) == (200, POINT)
    assert response.headers["content-type"].partition(";")[0] == GEOJSON


@requirement("core/process-execute-inputs")
@pytest.mark.parametrize(
    "reference", [{"type": GEOTIFF}, {}, {"format": {"mediaType": GEOTIFF}}], ids=["type", "href alone", "format"]
)
def test_core_process_execute_inputs_by_reference(server, files, reference):
    """A value is fetched from where the request says; ``format`` is how the test suite names the media type."""
    image = {"href": f"{files}/image.tif", **reference}
    response = execute(server, "echo", {"inputs": {"string": "s", "image": image}, "outputs": {"image": {}}})
    assert (response.status_code, response.content) == (200, TIFF)


@requirement("core/process-execute-inputs")
def test_core_process_execute_inputs_by_reference_that_is_gone(server, files):
    """A reference that cannot be fetched fails the job with a reason that names the input."""
    body = {"inputs": {"string": "s", "image": {"href": f"{files}/gone", "type": GEOTIFF}}}
    assert "image" in problem(execute(server, "echo", body), 400)["detail"]


@requirement("core/process-execute-inputs")
def test_a_process_without_inputs_needs_none(server):
    """``inputs`` may be left out."""
    assert execute(server, "two", {"response": "document"}).json() == {"first": "one", "second": 2}


@requirement("core/process-execute-request")
@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
def test_core_process_execute_request_media_type(server, content_type):
    """The body is JSON, whatever parameters its media type has."""
    response = server.client.post(
        "/processes/greeting/execution",
        content='{"inputs": {"name": "Zoë"}}'.encode(),
        headers={"Content-Type": content_type},
    )
    assert (response.status_code, response.json()) == (200, "Hello Zoë")


# ---------------------------------------------------------------- what is refused

REFUSED = {
    "missing": ("echo", {"inputs": {}}, "string"),
    "no inputs": ("echo", {}, "string"),
    "wrong type": ("echo", {"inputs": {"string": 1}}, "string"),
    "null": ("echo", {"inputs": {"string": None}}, "string"),
    "unknown input": ("echo", {"inputs": {"string": "s", "strnig": "s"}}, "strnig"),
    "number as text": ("echo", {"inputs": {"string": "s", "measure": "1.5"}}, "measure"),
    "boolean as number": ("echo", {"inputs": {"string": "s", "measure": True}}, "measure"),
    "below minimum": ("echo", {"inputs": {"string": "s", "pause": -1}}, "pause"),
    "no date": ("echo", {"inputs": {"string": "s", "date": "yesterday"}}, "date"),
    "wrong items": ("echo", {"inputs": {"string": "s", "array": [1, "two"]}}, "array"),
    "no array": ("echo", {"inputs": {"string": "s", "array": 1}}, "array"),
    "bbox of 5": ("echo", {"inputs": {"string": "s", "boundingBox": {"bbox": [1, 2, 3, 4, 5]}}}, "boundingBox"),
    "bbox of text": ("echo", {"inputs": {"string": "s", "boundingBox": {"bbox": ["a", 2, 3, 4]}}}, "boundingBox"),
    "bbox crs": (
        "echo",
        {"inputs": {"string": "s", "boundingBox": {"bbox": [1, 2, 3, 4], "crs": "urn:ogc:def:crs:EPSG:6.6:4326"}}},
        "boundingBox",
    ),
    "incomplete object": (
        "echo",
        {"inputs": {"string": "s", "complexObject": {"value": {"count": 1}}}},
        "complexObject",
    ),
    "no base64": ("echo", {"inputs": {"string": "s", "image": "no base64!"}}, "image"),
    "of the test suite": ("echo", {"inputs": {"string": "s", "image": {"type": "wrong/type_4711"}}}, "image"),
    "other media type": (
        "echo",
        {"inputs": {"string": "s", "image": {"value": BASE64, "encoding": "base64", "mediaType": "image/png"}}},
        "image",
    ),
    "other media type by reference": (
        "echo",
        {"inputs": {"string": "s", "image": {"href": "https://example.org/a", "type": "text/html"}}},
        "image",
    ),
    "no URL": ("echo", {"inputs": {"string": "s", "image": {"href": "file:///etc/passwd"}}}, "image"),
    "no geometry": ("echo", {"inputs": {"string": "s", "geometry": {"value": {"type": "Circle"}}}}, "geometry"),
    "too short": ("greeting", {"inputs": {"name": ""}}, "name"),
    "too many": ("repeated", {"inputs": {"names": ["a", "b", "c", "d"]}}, "names"),
    "too few": ("repeated", {"inputs": {"names": []}}, "names"),
    "one too long": ("repeated", {"inputs": {"names": ["a", "too long"]}}, "names"),
    "not in enum": ("repeated", {"inputs": {"names": ["a"], "unit": "mile"}}, "unit"),
    "unknown output": ("echo", {"inputs": {"string": "s"}, "outputs": {"sound": {}}}, "sound"),
    "unknown mode": (
        "echo",
        {"inputs": {"string": "s"}, "outputs": {"string": {"transmissionMode": "mail"}}},
        "string",
    ),
    "unknown format": (
        "echo",
        {"inputs": {"string": "s"}, "outputs": {"image": {"format": {"mediaType": "image/png"}}}},
        "image",
    ),
}


@requirement("core/process-execute-input-validation")
@pytest.mark.parametrize(("process_id", "body", "name"), REFUSED.values(), ids=REFUSED.keys())
def test_core_process_execute_input_validation(server, process_id, body, name):
    """What does not fit the description is refused with 400, the value is named, and no job is made."""
    before = job_ids(server, processID=process_id)
    answer = problem(execute(server, process_id, body), 400)
    assert any(name in error["pointer"] for error in answer["errors"])
    assert name in answer["detail"]
    assert job_ids(server, processID=process_id) == before


@requirement("core/process-execute-input-validation")
def test_core_process_execute_input_validation_tells_everything_at_once(server):
    """Every violation is named in one answer."""
    body = {"inputs": {"measure": "x", "array": [1, "two"], "other": 1}, "outputs": {"sound": {}}, "response": "loud"}
    pointers = " ".join(error["pointer"] for error in problem(execute(server, "echo", body), 400)["errors"])
    assert all(name in pointers for name in ("string", "measure", "array", "other", "sound", "response"))


@requirement("core/process-execute-input-validation")
def test_core_process_execute_input_validation_by_reference(server, files):
    """A referenced value is held against the description once it is there."""
    geometry = {"href": f"{files}/text", "type": GEOJSON}
    assert (
        "geometry" in problem(execute(server, "echo", {"inputs": {"string": "s", "geometry": geometry}}), 400)["detail"]
    )


MALFORMED = {
    "nothing": b"",
    "no JSON": b'{"inputs": ',
    "array": b"[]",
    "text": b'"inputs"',
    "number": b"1",
    "null": b"null",
    "true": b"true",
    "no text": b"\xff\xfe\x00",
    "inputs null": b'{"inputs": null}',
    "inputs array": b'{"inputs": ["string"]}',
    "inputs text": b'{"inputs": "string"}',
    "outputs text": b'{"inputs": {"string": "s"}, "outputs": "string"}',
    "response": b'{"inputs": {"string": "s"}, "response": "loud"}',
    "response null": b'{"inputs": {"string": "s"}, "response": null}',
    "subscriber": b'{"inputs": {"string": "s"}, "subscriber": "http://example.org"}',
    "no number": b'{"inputs": {"string": "s", "measure": NaN}}',
    "deep": b'{"inputs": {"string": ' + b"[" * 20_000 + b"]" * 20_000 + b"}}",
}


@requirement("core/process-execute-request")
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_core_process_execute_request_is_refused(server, body):
    """A body that is no execute request is a 400, whatever it is instead."""
    response = server.client.post(
        "/processes/echo/execution", content=body, headers={"Content-Type": "application/json"}
    )
    problem(response, 400)


# ---------------------------------------------------------------- in which mode

GREET = {"inputs": {"name": "Ada"}}


@requirement("core/process-execute-default-execution-mode")
@pytest.mark.parametrize(("process_id", "status"), [("greeting", 200), ("sync-only", 200), ("async-only", 201)])
def test_core_process_execute_default_execution_mode(server, process_id, status):
    """Without a preference a process is executed synchronously where it can be."""
    assert execute(server, process_id, GREET).status_code == status


PREFERENCES = {
    "respond-async": 201,
    "Respond-Async": 201,
    "respond-async ,foo": 201,
    "respond-async, wait=10": 201,
    "wait=10, respond-async": 201,
    "respond-async; foo=bar": 201,
    'handling=lenient, respond-async, return="minimal"': 201,
    "wait=30": 200,
    "wait": 200,
    "respond-sync": 200,
    "return=minimal": 200,
    "respond-asynchronously": 200,
    'foo="respond-async"': 200,
    "": 200,
}


@requirement("core/process-execute-auto-execution-mode")
@pytest.mark.parametrize(("prefer", "status"), PREFERENCES.items())
def test_core_process_execute_auto_execution_mode(server, prefer, status):
    """
    ``respond-async`` is heeded as RFC 7240 has it: among others, with parameters, in any case; what is unknown is not.

    With ``wait`` beside it a server may wait before it answers 201, and answer 200 when the job is done by then.
    """
    response = execute(server, "greeting", GREET, Prefer=prefer)
    allowed = {200, 201} if "wait=" in prefer and status == 201 else {status}
    assert response.status_code in allowed
    if response.status_code == 201:
        assert "respond-async" in response.headers["preference-applied"]


@requirement("core/process-execute-auto-execution-mode")
def test_preferences_in_two_headers_are_one_list(server):
    """RFC 7240, section 2: several ``Prefer`` headers are one."""
    headers = [("Prefer", "handling=lenient"), ("Prefer", "respond-async")]
    response = server.client.post("/processes/greeting/execution", json=GREET, headers=headers)
    assert response.status_code == 201


@requirement("core/process-execute-auto-execution-mode")
@pytest.mark.parametrize(("process_id", "status"), [("sync-only", 200), ("async-only", 201)])
@pytest.mark.parametrize("prefer", ["respond-async", "wait=10"])
def test_a_process_is_executed_as_it_can_be(server, process_id, status, prefer):
    """A preference that the process cannot meet is passed over."""
    assert execute(server, process_id, GREET, Prefer=prefer).status_code == status


@requirement("core/process-execute-auto-execution-mode")
def test_wait_ends_when_the_client_wants(server):
    """``wait=1``: a job that is not done by then is answered as an asynchronous one, and goes on."""
    response = execute(server, "greeting", {"inputs": {"name": "Ada", "seconds": 3}}, Prefer="wait=1")
    job_id = status_info(response, 201)["jobID"]
    assert ended(server, job_id)["status"] == "successful"


@requirement("core/process-execute-success-async")
@pytest.mark.every_front
@pytest.mark.parametrize("response_form", ["raw", "document"])
def test_core_process_execute_success_async(server, response_form):
    """An accepted job is a 201 with its address and its statusInfo, whatever form its results shall have."""
    response = execute(server, "echo", {"inputs": {"string": "s"}, "response": response_form}, Prefer="respond-async")
    info = status_info(response, 201)
    assert info["status"] in ("accepted", "running", "successful")
    assert response.headers["location"] == f"{server.url}/jobs/{info['jobID']}"
    assert response.headers["preference-applied"] == "respond-async"
    assert info["processID"] == "echo"
    assert status_info(server.client.get(response.headers["location"]))["jobID"] == info["jobID"]


@pytest.mark.every_front
def test_a_request_sent_again_makes_no_second_job(server):
    """The same ``Idempotency-Key`` and body is the same job, under fronts that change the case of headers as well."""
    headers = {"Prefer": "respond-async", "Idempotency-Key": f'"{uuid4()}"'}
    answers = [execute(server, "greeting", GREET, **headers) for _ in range(2)]
    assert len({status_info(answer, 201)["jobID"] for answer in answers}) == 1


@requirement("core/job-results-success-sync")
@pytest.mark.every_front
def test_core_job_results_success_sync(server):
    """A synchronous answer links to the job that was made, which tells its status."""
    response = execute(server, "echo", {"inputs": {"string": "s"}, "response": "document"})
    (href,) = [link["url"] for link in link_headers(response) if link.get("rel") == "monitor"]
    info = status_info(get(server, href))
    assert (info["status"], info["processID"]) == ("successful", "echo")


@requirement("core/process-execute-default-outputs")
def test_core_process_execute_default_outputs(server):
    """No ``outputs`` means all of them."""
    inputs = {"string": "s", "measure": 1.5, "image": BASE64}
    every = {"string": {}, "measure": {}, "image": {}}
    without = execute(server, "echo", {"inputs": inputs, "response": "document"})
    assert set(document(without, "relaxed/results")) == set(every)
    assert (
        without.json() == execute(server, "echo", {"inputs": inputs, "outputs": every, "response": "document"}).json()
    )
    raw = parts(execute(server, "echo", {"inputs": inputs}))
    assert set(raw) == set(every)
    assert content_of(raw["image"]) == TIFF
