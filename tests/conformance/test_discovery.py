"""Requirements on the landing page, the conformance declaration, the API definition and the processes."""

from typing import Any

import pytest
from pygeoapi.openapi import validate_openapi_document

from conformance.answers import document, get, links, problem
from conformance.conftest import PROCESSORS
from conformance.requirements import CONFORMANCE, EXCEPTIONS, RELATIONS, requirement
from ogc_schema import validate
from serving import Server

DECLARED = ("core", "ogc-process-description", "json", "oas30", "job-list", "callback", "dismiss")
ANYWHERE = ("/", "/conformance", "/processes", "/processes/echo", "/jobs")


@pytest.fixture(scope="module")
def definition(server: Server) -> dict[str, Any]:
    """The OpenAPI document."""
    return dict(server.client.get("/openapi", params={"f": "json"}).json())


@requirement("core/http")
@pytest.mark.parametrize("path", ANYWHERE)
def test_core_http(server, path):
    """HTTP 1.1 is spoken: HEAD answers as GET does, without the content."""
    head = server.client.head(path, params={"f": "json"})
    assert (head.http_version, head.status_code, head.content) == ("HTTP/1.1", 200, b"")


@requirement("core/landingpage-op", "core/landingpage-success")
def test_core_landingpage(server):
    """
    The landing page leads to the API definition, the conformance declaration and the processes.

    pygeoapi writes the relation ``conformance`` without the base of OGC's relations, as OGC API - Common names it.
    """
    page = document(server.client.get("/", params={"f": "json"}), "landingPage")
    assert links(page, "service-desc") + links(page, "service-doc")
    for hrefs in (
        links(page, "conformance") + links(page, f"{RELATIONS}/conformance"),
        links(page, f"{RELATIONS}/processes"),
    ):
        assert hrefs
        assert all(get(server, href).status_code == 200 for href in hrefs)


@requirement("core/api-definition-op", "core/api-definition-success", "oas30/oas-definition-1")
def test_core_api_definition(server):
    """Each API definition that the landing page names is there, as OpenAPI 3.0 in JSON and as a page in HTML."""
    page = document(server.client.get("/", params={"f": "json"}), "landingPage")
    media_types = set()
    for href in links(page, "service-desc") + links(page, "service-doc"):
        response = get(server, href)
        assert response.status_code == 200, href
        media_types.add(response.headers["content-type"].replace(" ", ""))
    assert "application/vnd.oai.openapi+json;version=3.0" in media_types
    assert any(media_type.startswith("text/html") for media_type in media_types)


@requirement("core/conformance-op", "core/conformance-success")
@pytest.mark.every_front
def test_core_conformance(server):
    """Every conformance class that is met is declared, and no other of this standard."""
    declared = document(server.client.get("/conformance", params={"f": "json"}, follow_redirects=True), "confClasses")[
        "conformsTo"
    ]
    ours = {uri for uri in declared if uri.startswith(CONFORMANCE)}
    assert ours == {f"{CONFORMANCE}/{name}" for name in DECLARED}


@requirement("core/process-list", "core/process-list-success", "json/definition")
@pytest.mark.every_front
def test_core_process_list(server):
    """Each process is listed, as JSON also to clients that state no preference."""
    for query in ({}, {"f": "json"}):
        content = document(server.client.get("/processes", params=query), "processList")
        assert {process["id"] for process in content["processes"]} == set(PROCESSORS)


@requirement("core/pl-limit-definition", "core/pl-limit-response")
@pytest.mark.parametrize("limit", [1, 2, len(PROCESSORS)])
def test_core_pl_limit(server, limit):
    """No more processes are listed than asked for, and no fewer as long as there are some."""
    content = document(server.client.get("/processes", params={"f": "json", "limit": limit}), "processList")
    assert len(content["processes"]) == limit


@requirement("core/pl-limit-definition")
@pytest.mark.parametrize("limit", ["0", "-1", "many", "1.5"])
def test_core_pl_limit_is_a_positive_integer(server, limit):
    """Other limits are refused with 400."""
    problem(server.client.get("/processes", params={"f": "json", "limit": limit}), 400)


@requirement("core/pl-links")
def test_core_pl_links(server):
    """The list links to itself and to itself in every other media type."""
    content = document(server.client.get("/processes", params={"f": "json"}), "processList")
    assert len(links(content, "self")) == 1
    assert links(content, "alternate")
    assert all(get(server, href).status_code == 200 for href in links(content, "self") + links(content, "alternate"))


@requirement(
    "core/process",
    "core/process-success",
    "ogc-process-description/json-encoding",
    "ogc-process-description/inputs-def",
    "ogc-process-description/input-def",
    "ogc-process-description/outputs-def",
    "ogc-process-description/output-def",
)
@pytest.mark.parametrize("process_id", sorted(PROCESSORS))
def test_core_process_success(server, process_id):
    """Each process has a description that OGC's schema takes, with its inputs and outputs and their schemas."""
    description = document(server.client.get(f"/processes/{process_id}", params={"f": "json"}), "process")
    assert description["id"] == process_id
    for one in [*description["inputs"].values(), *description["outputs"].values()]:
        validate(one["schema"], "schema")


@requirement("core/process")
@pytest.mark.parametrize(
    ("process_id", "options"),
    [
        ("echo", ["async-execute", "dismiss", "sync-execute"]),
        ("async-only", ["async-execute", "dismiss"]),
        ("sync-only", ["dismiss", "sync-execute"]),
    ],
)
def test_core_process_says_how_it_may_be_executed(server, process_id, options):
    """``jobControlOptions`` are those of the process, in description and list; and every job may be dismissed."""
    description = document(server.client.get(f"/processes/{process_id}", params={"f": "json"}), "process")
    content = document(server.client.get("/processes", params={"f": "json"}), "processList")
    (summary,) = [process for process in content["processes"] if process["id"] == process_id]
    assert sorted(description["jobControlOptions"]) == options
    assert sorted(summary["jobControlOptions"]) == options


@requirement("core/process")
def test_core_process_leads_on(server):
    """The description links to where the process is executed, and to itself."""
    description = document(server.client.get("/processes/echo", params={"f": "json"}), "process")
    assert len(links(description, "self")) == 1
    (href,) = links(description, f"{RELATIONS}/execute")
    assert server.client.post(href, json={"inputs": {"string": "s"}, "response": "document"}).status_code == 200


@requirement(
    "ogc-process-description/input-mixed-type",
    "ogc-process-description/output-mixed-type",
    "ogc-process-description/input-binary",
)
def test_ogc_process_description_mixed_and_binary(server):
    """A value of several media types has a schema for each (``oneOf``); a binary one says its encoding and type."""
    description = document(server.client.get("/processes/echo", params={"f": "json"}), "process")
    for values in (description["inputs"], description["outputs"]):
        branches = values["complexObject"]["schema"]["oneOf"]
        assert [branch["contentMediaType"] for branch in branches] == ["application/json", "application/xml"]
        binary = values["image"]["schema"]
        assert (binary["type"], binary["contentEncoding"]) == ("string", "binary")
        assert binary["contentMediaType"].startswith("image/tiff")


@requirement("core/process-exception/no-such-process")
@pytest.mark.every_front
def test_core_no_such_process(server):
    """A process that is not there is a 404 with the standard's type, described or executed."""
    no_such_process = f"{EXCEPTIONS}/no-such-process"
    problem(server.client.get("/processes/nothing", params={"f": "json"}), 404, no_such_process)
    problem(server.client.post("/processes/nothing/execution", json={"inputs": {}}), 404, no_such_process)


@requirement("core/test-process")
def test_core_test_process(server):
    """There is a process that OGC's test suite can test."""
    assert server.client.get("/processes/echo", params={"f": "json"}).status_code == 200


@requirement("oas30/oas-definition-2")
def test_oas30_definition_is_valid(definition):
    """The API definition is a valid OpenAPI 3.0 document."""
    assert definition["openapi"].startswith("3.0")
    assert validate_openapi_document(definition)


@requirement("oas30/oas-impl")
def test_oas30_impl(definition, server):
    """What the API definition offers to read without further knowledge is there."""
    ours = [path for path in definition["paths"] if path.split("/")[1] in ("processes", "jobs", "conformance")]
    assert {"/processes", "/processes/echo", "/jobs"} <= set(ours)
    readable = [path for path in ours if "{" not in path and "get" in definition["paths"][path]]
    answers = {path: server.client.get(path, params={"f": "json"}).status_code for path in readable}
    assert answers == dict.fromkeys(readable, 200)


@requirement("oas30/completeness", "oas30/exceptions-codes")
def test_oas30_completeness(definition):
    """Each operation on processes and jobs says its success and the errors that a client may cause."""
    for path, operations in definition["paths"].items():
        if path.split("/")[1] not in ("processes", "jobs"):
            continue
        for method, operation in operations.items():
            if method not in ("get", "post", "delete"):
                continue
            codes = set(operation["responses"])
            assert any(code.startswith("2") for code in codes), (method, path)
            assert any(code.startswith("4") for code in codes) or "default" in codes, (method, path)
            if "{" in path or path.count("/") > 1:
                assert "404" in codes or "default" in codes, (method, path)


@requirement("core/pl-limit-definition", "job-list/type-definition", "job-list/processID-definition")
@requirement("job-list/status-definition", "job-list/datetime-definition", "job-list/duration-definition")
@requirement("job-list/limit-definition")
@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/processes", {"limit"}),
        ("/jobs", {"type", "processID", "status", "datetime", "minDuration", "maxDuration", "limit"}),
    ],
)
def test_oas30_parameters_are_defined(definition, path, names):
    """The parameters that the standard defines for a list are those of the API definition."""
    operation = definition["paths"][path]["get"]
    parameters = [resolved(definition, parameter) for parameter in operation.get("parameters", [])]
    assert names <= {parameter["name"] for parameter in parameters if parameter["in"] == "query"}


def resolved(definition: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """What a ``$ref`` within the document stands for."""
    if "$ref" not in node:
        return node
    prefix, *keys = node["$ref"].split("/")
    assert prefix == "#", f"{node} leads out of the document"
    for key in keys:
        definition = definition[key]
    return definition
