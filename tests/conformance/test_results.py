"""Requirements on outputs: raw and as a document, one and several, by value and by reference, at once and later."""

import base64
import json
from typing import Any

import httpx
import pytest

from conformance.answers import (
    RESULTS,
    content_of,
    document,
    ended,
    execute,
    get,
    link_headers,
    links,
    parts,
    problem,
    reached,
    submitted,
    value_in,
)
from conformance.conftest import blocked
from conformance.processes import PICTURE
from conformance.requirements import EXCEPTIONS, requirement
from pygeoapi_prefect.examples.echo import GEOJSON, GEOTIFF, XML
from serving import Server

TIFF = b"II*\x00" + bytes(range(256))
BASE64 = base64.b64encode(TIFF).decode()
POINT = {"type": "Point", "coordinates": [7.1, 51.9]}
INPUTS = {
    "string": "teststring",
    "measure": 1.5,
    "array": [1, 2],
    "boundingBox": {"bbox": [1, 2, 3, 4]},
    "complexObject": {"value": "<a/>", "mediaType": XML},
    "geometry": {"value": POINT, "mediaType": GEOJSON},
    "image": BASE64,
}
VALUE, REFERENCE = {"transmissionMode": "value"}, {"transmissionMode": "reference"}


def answered(server: Server, way: str, body: dict[str, Any]) -> httpx.Response:
    """
    The answer to a request with its outputs.

    Args:
        server: The server.
        way: ``at once``, of the synchronous request; ``afterwards``, of the results of a job that started at once;
            ``queued``, of a job that waited first.
        body: The execute request.
    """
    if way == "at once":
        return execute(server, "echo", body)
    if way == "queued":
        with blocked(server):
            job_id = submitted(server, "queued", body)
            assert reached(server, job_id, "accepted")
    else:
        job_id = submitted(server, "echo", body)
    info = ended(server, job_id)
    assert info["status"] == "successful", info
    return server.client.get(f"/jobs/{job_id}/results")


ways = pytest.mark.parametrize("way", ["at once", "afterwards", "queued"])


@requirement("core/process-execute-sync-raw-value-one", "core/job-results-async-raw-value-one", "core/job-results")
@pytest.mark.parametrize("way", ["at once", "afterwards"])
@pytest.mark.parametrize(
    ("name", "media_types", "content"),
    [
        ("string", {"application/json", "text/plain"}, "teststring"),
        ("measure", {"application/json"}, 1.5),
        ("array", {"application/json"}, [1, 2]),
        ("boundingBox", {"application/json"}, {"bbox": [1, 2, 3, 4]}),
        ("complexObject", {XML}, b"<a/>"),
        ("geometry", {GEOJSON}, POINT),
        ("image", {GEOTIFF}, TIFF),
    ],
)
def test_core_raw_value_one(server, way, name, media_types, content):
    """One raw output is answered alone, in the media type of its description, byte by byte."""
    response = answered(server, way, {"inputs": INPUTS, "outputs": {name: VALUE}, "response": "raw"})
    assert response.status_code == 200, response.text
    full = response.headers["content-type"]
    assert {full, full.partition(";")[0]} & media_types
    if isinstance(content, bytes):
        assert response.content == content
    else:
        assert (response.text if full.startswith("text/plain") else response.json()) == content


@requirement("core/process-execute-sync-raw-value-multi", "core/job-results-async-raw-value-multi")
@ways
def test_core_raw_value_multi(server, way):
    """Several raw outputs are the parts of one answer, each with its id, its media type and its bytes."""
    outputs = {"string": VALUE, "image": VALUE, "geometry": VALUE}
    found = parts(answered(server, way, {"inputs": INPUTS, "outputs": outputs, "response": "raw"}))
    assert set(found) == set(outputs)
    assert found["image"].get_content_type() == "image/tiff"
    assert content_of(found["image"]) == TIFF
    assert json.loads(content_of(found["geometry"])) == POINT
    assert b"teststring" in content_of(found["string"])


@requirement("core/process-execute-sync-raw-mixed-multi", "core/job-results-async-raw-mixed-multi")
@ways
def test_core_raw_mixed_multi(server, way):
    """A part by reference is empty and says where its content is."""
    outputs = {"string": VALUE, "image": REFERENCE}
    found = parts(answered(server, way, {"inputs": INPUTS, "outputs": outputs, "response": "raw"}))
    assert set(found) == set(outputs)
    assert b"teststring" in content_of(found["string"])
    assert content_of(found["image"]) == b""
    assert get(server, str(found["image"]["Content-Location"])).content == TIFF


@requirement("core/process-execute-sync-raw-ref", "core/job-results-async-raw-ref")
@ways
@pytest.mark.parametrize("names", [("image",), ("image", "geometry")], ids=len)
def test_core_raw_ref(server, way, names):
    """Raw outputs by reference are links, and no content."""
    outputs = dict.fromkeys(names, REFERENCE)
    response = answered(server, way, {"inputs": INPUTS, "outputs": outputs, "response": "raw"})
    assert (response.status_code, response.content) == (204, b"")
    hrefs = [link["url"] for link in link_headers(response) if link.get("rel") != "monitor"]
    contents = [get(server, href) for href in hrefs]
    assert len(contents) == len(names)
    assert any(content.content == TIFF for content in contents)
    assert len(names) == 1 or any(content.text.startswith("{") and content.json() == POINT for content in contents)


@requirement("core/process-execute-sync-document", "core/job-results-async-document")
@ways
@pytest.mark.parametrize("mode", [VALUE, REFERENCE, {}], ids=["value", "reference", "default"])
def test_core_document(server, way, mode):
    """A document has each output by its id: by value, or with the address where the value is."""
    outputs = {"string": mode, "image": mode, "geometry": mode}
    response = answered(server, way, {"inputs": INPUTS, "outputs": outputs, "response": "document"})
    found = document(response, "relaxed/results")
    assert set(found) == set(outputs)
    if mode == REFERENCE:
        assert all("href" in entry for entry in found.values())
        assert get(server, found["image"]["href"]).content == TIFF
        assert get(server, found["geometry"]["href"]).json() == POINT
        assert found["image"]["type"] == GEOTIFF
    else:
        assert value_in(found["string"]) == "teststring"
        assert base64.b64decode(value_in(found["image"])) == TIFF
        assert found["image"]["mediaType"] == GEOTIFF
        assert value_in(found["geometry"]) == POINT


@requirement("core/process-execute-sync-document")
@pytest.mark.every_front
def test_core_document_of_one(server):
    """A document of one output is an object as well."""
    body = {"inputs": INPUTS, "outputs": {"string": {}}, "response": "document"}
    assert document(execute(server, "echo", body), "relaxed/results") == {"string": "teststring"}


@requirement("core/process-execute-sync-raw-value-one")
@pytest.mark.every_front
def test_bytes_are_answered_intact(server):
    """Bytes that a process returns are the content of the answer, in their media type."""
    response = execute(server, "picture", {"inputs": {}})
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    assert response.content == PICTURE


@requirement("core/process-execute-sync-raw-value-multi")
@pytest.mark.every_front
def test_two_outputs_are_two_parts(server):
    """A process of two outputs, asked for nothing, answers both raw."""
    found = parts(execute(server, "two", {"inputs": {}}))
    assert set(found) == {"first", "second"}
    assert json.loads(content_of(found["second"])) == 2


@requirement("core/job-results", "json/definition")
@pytest.mark.every_front
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_results_are_json_by_default(server, accept):
    """Who states no preference, or one for anything, gets the result as JSON and no page."""
    job_id = submitted(server, "greeting", {"inputs": {"name": "Ada"}, "response": "document"})
    ended(server, job_id)
    response = server.client.get(f"/jobs/{job_id}/results", headers={"Accept": accept})
    assert document(response, "relaxed/results") == {"result": "Hello Ada"}


@requirement("core/job-results")
def test_results_are_where_the_job_says(server):
    """The results link of a job leads to its results, in the media type that it names."""
    job_id = submitted(server, "picture", {"inputs": {}})
    info = ended(server, job_id)
    (link,) = [link for link in info["links"] if link["rel"] == RESULTS]
    response = get(server, link["href"])
    assert response.content == PICTURE
    assert response.headers["content-type"] == link["type"]


@requirement("core/job-results-exception/no-such-job")
@pytest.mark.every_front
def test_core_job_results_no_such_job(server):
    """Results of a job that is not there are a 404 with the standard's type."""
    problem(server.client.get("/jobs/nothing/results"), 404, f"{EXCEPTIONS}/no-such-job")


@requirement("core/job-results-exception/results-not-ready")
@pytest.mark.every_front
def test_core_job_results_not_ready(server):
    """Results of a running job, and of one that waits, are a 404 with the standard's type."""
    with blocked(server) as running:
        waiting = submitted(server, "queued", {"inputs": {"string": "s"}})
        for job_id in (running, waiting):
            problem(server.client.get(f"/jobs/{job_id}/results"), 404, f"{EXCEPTIONS}/result-not-ready")
        assert reached(server, waiting, "accepted")
        server.client.delete(f"/jobs/{waiting}")


@requirement("core/job-results-failed")
@pytest.mark.every_front
@pytest.mark.parametrize("is_sync", [True, False])
@pytest.mark.parametrize(("how", "status"), [("refuse", 400), ("break", 500)])
def test_core_job_results_failed(server, how, status, is_sync):
    """A job that failed is answered with the status of its reason: of the client, or of the server."""
    body = {"inputs": {"how": how}}
    if is_sync:
        answer = problem(execute(server, "fail", body), status)
    else:
        job_id = submitted(server, "fail", body)
        assert ended(server, job_id)["status"] == "failed"
        answer = problem(server.client.get(f"/jobs/{job_id}/results"), status)
    assert how == "break" or "The depth is above the ground." in answer["detail"]


@requirement("core/job-results-failed")
def test_results_of_a_dismissed_job(server):
    """A dismissed job has no results: an error of the client, and no page."""
    job_id = submitted(server, "echo", {"inputs": {"string": "s", "pause": 600}})
    server.client.delete(f"/jobs/{job_id}")
    response = server.client.get(f"/jobs/{job_id}/results")
    assert response.status_code in (404, 410)
    problem(response, response.status_code)
    assert links(server.client.get(f"/jobs/{job_id}").json(), RESULTS) == []
