"""
The requests of OGC's executable test suite, made from the description of the Echo process as the suite makes them.

The suite itself is written in Java. What is here are the rules by which it builds requests and judges answers, from the
published source of ets-ogcapi-processes10, version 1.3.
"""

import base64
import json
from typing import Any

import httpx
import pytest

from conformance.answers import RESULTS, content_of, document, get, links, parts, problem, status_info, value_in
from conformance.requirements import EXCEPTIONS, requirement
from serving import Server, eventually

TEXT = "teststring"
TIFF = b"II*\x00" + bytes(range(256))
HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}


def branches(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas whose types the suite reads: itself where it has a type, else its ``oneOf`` that have one."""
    return [one for one in ([schema] if "type" in schema else schema.get("oneOf", [])) if "type" in one]


def is_bbox(schema: dict[str, Any]) -> bool:
    """The suite asks each member of an ``allOf`` for its format, and fails at the first that has none."""
    for member in schema.get("allOf", []) if "type" not in schema and "oneOf" not in schema else []:
        if member["format"] == "ogc-bbox":
            return True
    return False


def default_input(schema: dict[str, Any]) -> Any:
    """What the suite sends for an input in any request; None where it sends nothing."""
    value = None
    types = branches(schema)
    for one in [*types, *(branch["items"] for branch in types if branch["type"] == "array")]:
        if one["type"] == "string" and "format" not in schema and "contentMediaType" not in one:
            value = TEXT
        elif one["type"] == "object":
            value = {"value": TEXT}
    return value


def request_body(description: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    """A request for every output, with the default inputs and these."""
    defaults = {name: default_input(one["schema"]) for name, one in description["inputs"].items()}
    return {
        "inputs": {name: value for name, value in {**defaults, **inputs}.items() if value is not None},
        "outputs": {name: {"transmissionMode": "value"} for name in description["outputs"]},
    }


@pytest.fixture(scope="module")
def description(server: Server) -> dict[str, Any]:
    return dict(document(server.client.get("/processes/echo", headers=HEADERS), "process"))


@pytest.fixture(scope="module")
def first(description: dict[str, Any]) -> str:
    """The first input, in whose output the suite looks for its text."""
    return str(next(iter(description["inputs"])))


def sent(server: Server, body: Any, **headers: str) -> httpx.Response:
    return server.client.post("/processes/echo/execution", json=body, headers={**HEADERS, **headers})


def followed(server: Server, response: httpx.Response) -> httpx.Response:
    """The results of an asynchronous request, found by links alone: results, else monitor, until there are results."""

    def results() -> httpx.Response | None:
        info = status_info(server.client.get(followed_url[0], headers=HEADERS))
        assert info["status"] != "failed", info
        if links(info, RESULTS):
            return get(server, links(info, RESULTS)[0])
        followed_url[0] = links(info, "monitor")[0]
        return None

    followed_url = [response.headers["location"]]
    return eventually(results, within=20, what="a results link")


def with_bbox(description: dict[str, Any]) -> dict[str, Any]:
    name = next(name for name, one in description["inputs"].items() if is_bbox(one["schema"]))
    bbox = {"bbox": [51.9, 7, 52, 7.1], "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}
    return {**request_body(description, **{name: bbox}), "outputs": {name: {"transmissionMode": "value"}}}


def with_array(description: dict[str, Any]) -> dict[str, Any]:
    name = next(name for name, one in description["inputs"].items() if one["schema"].get("type") == "array")
    values = {"integer": [1, 2, 3], "string": ["test1", "test2", "test3"]}
    value = values[description["inputs"][name]["schema"]["items"]["type"]]
    return {**request_body(description, **{name: value}), "outputs": {name: {"transmissionMode": "value"}}}


def with_binary(description: dict[str, Any]) -> dict[str, Any]:
    name, schema = next(
        (name, one["schema"])
        for name, one in description["inputs"].items()
        if any(branch.get("contentEncoding") == "binary" for branch in branches(one["schema"]))
    )
    format_ = {"mediaType": schema["contentMediaType"], "encoding": "base64"}
    return request_body(description, **{name: {"value": base64.b64encode(TIFF).decode(), "format": format_}})


def with_object(description: dict[str, Any]) -> dict[str, Any]:
    return request_body(description)


BUILDERS = [request_body, with_bbox, with_array, with_binary, with_object]


@requirement("core/process-execute-inputs", "core/process-execute-input-inline-bbox")
@pytest.mark.every_front
@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
@pytest.mark.parametrize("prefer", ["", "respond-async"])
@pytest.mark.parametrize("form", ["raw", "document", None])
def test_ets_requests_are_executed(server, build, prefer, form):
    """Each request of the suite is a 200 or 201, in whatever mode and form."""
    description = server.client.get("/processes/echo", headers=HEADERS).json()
    body = build(description) | ({"response": form} if form else {})
    response = sent(server, body, **({"Prefer": prefer} if prefer else {}))
    assert response.status_code == (201 if prefer else 200), response.text


@requirement("core/process-execute-sync-raw-value-multi")
@pytest.mark.parametrize("accept", ["multipart/related", "*/*"])
def test_ets_finds_its_text_in_a_part(server, description, first, accept):
    """All outputs raw: a part has the text, although most outputs have nothing that was given for them."""
    found = parts(sent(server, request_body(description), Accept=accept))
    assert first in found
    assert TEXT.encode() in content_of(found[first])


@requirement("core/process-execute-sync-raw-value-multi")
def test_ets_accepts_json_alone(server, description):
    """The suite says so with every request; it takes parts all the same, and a document as well."""
    response = sent(server, {**request_body(description), "response": "raw"})
    assert response.status_code == 200
    assert TEXT in response.text


@requirement("core/process-execute-sync-raw-value-one")
def test_ets_finds_its_text_in_one_raw_output(server, description, first):
    """The output of the first input's name, alone, is the text."""
    body = {**request_body(description), "outputs": {first: {"transmissionMode": "value"}}, "response": "raw"}
    assert TEXT in sent(server, body).text


@requirement("core/process-execute-sync-document")
def test_ets_document(server, description, first):
    """A document of all outputs has those that were given."""
    content = document(sent(server, {**request_body(description), "response": "document"}), "relaxed/results")
    assert value_in(content[first]) == TEXT


@requirement("core/job-results-async-raw-value-one")
def test_ets_follows_links_to_the_text(server, description, first):
    """From ``Location`` the links of the job lead to the results, however long it takes."""
    body = request_body(description, pause=1)
    body["outputs"] = {first: {"transmissionMode": "value"}}
    response = sent(server, {**body, "response": "raw"}, Prefer="respond-async")
    assert TEXT in followed(server, response).text


@requirement("core/job-results-exception/results-not-ready")
def test_ets_result_is_not_ready(server, description, first):
    """A pause of 5, an integer, is slept: until then the results are not ready."""
    body = {"inputs": {first: TEXT, "pause": 5}, "outputs": {first: {"transmissionMode": "value"}}, "response": "raw"}
    response = sent(server, body, Prefer="respond-async")
    location = response.headers["location"]
    assert server.client.get(location, headers=HEADERS).json()["status"] in ("accepted", "running")
    problem(server.client.get(f"{location}/results", headers=HEADERS), 404, f"{EXCEPTIONS}/result-not-ready")
    server.client.delete(location)


@requirement("core/process-execute-input-validation")
@pytest.mark.every_front
def test_ets_wrong_input(server):
    """
    An input of a wrong type is a 400 whose media type is that which the client accepts: JSON.

    The suite takes ``application/problem+json`` elsewhere, but not here; it does not accept it either.
    """
    description = server.client.get("/processes/echo", headers=HEADERS).json()
    wrong = {
        name: {"type": "wrong/type_4711"}
        for name, one in description["inputs"].items()
        if any("contentMediaType" in branch for branch in branches(one["schema"]) if branch["type"] == "string")
    }
    assert wrong
    response = sent(server, request_body(description, **wrong))
    problem(response, 400)
    assert response.headers["content-type"].partition(";")[0] == "application/json"


@requirement("core/job-results-failed")
def test_ets_invalid_request(server):
    """A request that has nothing of a request is refused."""
    assert 400 <= sent(server, {"invalid-execute-request": "true)"}).status_code < 500


@requirement("core/process-execute-inputs")
def test_ets_reference_is_named_by_href_and_format(server, description):
    """The suite's reference has its media type below ``format``. Whatever becomes of fetching it, it is understood."""
    schema = description["inputs"]["image"]["schema"]
    reference = {"href": "http://127.0.0.1:9/image.tif", "format": {"mediaType": schema["contentMediaType"]}}
    response = sent(server, request_body(description, image=reference))
    assert response.status_code == 502, json.loads(response.text)
