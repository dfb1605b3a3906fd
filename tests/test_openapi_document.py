"""Laws of the OpenAPI document: what it says of processes and jobs is whole, valid, and needs nobody else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from babel import Locale
from openapi_spec_validator import validate
from pygeoapi.openapi import get_oas
from pygeoapi.process.hello_world import HelloWorldProcessor

from pygeoapi_prefect import ogcapi
from pygeoapi_prefect.ogcapi import openapi
from pygeoapi_prefect.ogcapi.openapi_schema import openapi_schema
from serving import configuration

PROCESSORS: dict[str, dict[str, Any]] = {
    "hello-world": {"name": "HelloWorld"},
    "hello_world": {"name": "HelloWorld"},
    "a/b": {"name": "HelloWorld"},
    "shapely": {"name": "ShapelyFunctions"},
    "sync-only": {"name": "processors.SyncOnlySleep"},
    "async-only": {"name": "processors.AsyncOnly"},
    "bytes": {"name": "processors.Bytes"},
    "several": {"name": "processors.Several"},
}


@pytest.fixture
def generate(tmp_path: Path):
    """Makes pygeoapi's document, with further keys of ``server.manager``."""

    def make(**manager: Any) -> dict[str, Any]:
        made: dict[str, Any] = get_oas(configuration(tmp_path, 5000, manager, {}, PROCESSORS))
        return made

    yield make
    ogcapi.uninstall()


def ours(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the paths of processes and jobs only."""
    paths = {path: item for path, item in document["paths"].items() if path.split("/")[1] in ("processes", "jobs")}
    responses = {name: one for name, one in document["components"]["responses"].items() if "problem" in name}
    return document | {"paths": paths, "components": document["components"] | {"responses": responses}}


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for item in ours(document)["paths"].values() for operation in item.values()]


def test_the_document_is_valid(generate):
    """It is an OpenAPI 3.0 document, also with callbacks, for all kinds of processes."""
    validate(ours(generate()))


def test_nothing_is_fetched(generate, tmp_path):
    """References lead into the document, and to generate it makes neither folder nor file nor database."""
    references = re.findall(r'"\$ref": "([^"]*)"', json.dumps(ours(generate())))
    assert {one.partition("/")[0] for one in references} == {"#"}
    assert list(tmp_path.iterdir()) == []


def test_operations_can_be_told_apart(generate):
    """Operation ids are letters and digits and unique, whatever is in the ids of the processes."""
    ids = [operation["operationId"] for operation in operations(generate())]
    assert len({one.lower() for one in ids}) == len(ids)
    assert [one for one in ids if not re.fullmatch("[A-Za-z0-9]+", one)] == []
    assert {"executeHelloWorldJob", "executeHelloWorld2Job", "executeABJob"} <= set(ids)


def test_every_operation_names_its_parameters_and_errors(generate):
    """Filters, paging, headers, and problem documents are where they can be used."""
    paths = generate()["paths"]

    def names(path: str, method: str = "get") -> list[str]:
        return [one["$ref"].rpartition("/")[2] for one in paths[path][method]["parameters"]]

    filters = ["job-type", "job-processID", "job-status", "job-datetime", "minDuration", "maxDuration"]
    assert names("/jobs") == ["f", "limit", "offset", *filters]
    assert names("/processes") == ["f", "limit", "offset"]
    assert names("/processes/hello-world/execution", "post") == ["Prefer", "Idempotency-Key"]
    assert names("/jobs/{jobId}", "delete") == ["jobId"]
    for operation in operations(generate()):
        assert {"405", "500", "default"} <= set(operation["responses"])


def test_limits_and_signed_links_are_described_where_there_are_any(generate):
    """429 where the jobs of a user are limited, and the parameters of signed links where this server signs them."""

    def found(**manager: Any) -> tuple[bool, list[str], Any]:
        document = generate(**manager)
        validate(ours(document))
        execution = document["paths"]["/processes/hello-world/execution"]["post"]
        results = document["paths"]["/jobs/{jobId}/results"]["get"]
        names = [one["$ref"].rpartition("/")[2] for one in results["parameters"]]
        return "429" in execution["responses"], names[3:], results.get("security")

    auth = {"issuer": "https://issuer.example.org", "audience": "here"}
    secret = "not a good one, for it stands here: 0123456789"
    assert found() == (False, [], None)
    assert found(max_waiting_per_user=5, link_secret=secret) == (True, ["expires", "signature"], None)
    assert found(auth=auth) == (False, [], [{"token": []}])
    assert found(auth=auth, link_secret=secret) == (False, ["expires", "signature"], [{"token": []}, {}])


def test_the_request_has_the_inputs_of_the_process(generate):
    """In line, qualified or by reference; required without a default; and the outputs that there are."""
    path = generate()["paths"]["/processes/hello-world/execution"]["post"]
    schema = path["requestBody"]["content"]["application/json"]["schema"]
    inputs = schema["properties"]["inputs"]
    assert inputs["required"] == ["name"]
    in_line, _, by_reference = inputs["properties"]["name"]["anyOf"]
    assert (in_line, by_reference) == ({"type": "string"}, {"$ref": "#/components/schemas/link"})
    assert list(schema["properties"]["outputs"]["properties"]) == ["echo"]
    assert schema["required"] == ["inputs"]


def test_answers_are_those_of_the_process(generate):
    """Multipart for several outputs; 200 where a job may be synchronous, 201 where it may be asynchronous."""
    paths = generate()["paths"]

    def responses(process_id: str) -> dict[str, Any]:
        found: dict[str, Any] = paths[f"/processes/{process_id}/execution"]["post"]["responses"]
        return found

    assert "multipart/related" in responses("several")["200"]["content"]
    assert "multipart/related" not in responses("hello-world")["200"]["content"]
    assert "201" not in responses("sync-only")
    assert "200" not in responses("async-only")
    assert responses("hello-world")["201"]["headers"]["Location"] == {"$ref": "#/components/headers/Location"}


class Described:
    """A manager with one process, which calls back."""

    supports_subscribing = True

    def __init__(self, **metadata: Any) -> None:
        self.processor = HelloWorldProcessor({"name": "hello"})
        self.processor.metadata = {**self.processor.metadata, **metadata}
        self.processes = {"hello": {}}

    def get_processor(self, process_id: str) -> HelloWorldProcessor:
        return self.processor


def test_each_output_has_its_media_types(generate):
    """Bytes are binary, JSON of any kind has its schema, and to describe them changes nothing in the process."""
    image = {"type": "string", "contentEncoding": "binary", "contentMediaType": "image/tiff"}
    feature = {"oneOf": [{"type": "object", "contentMediaType": "application/geo+json"}, {"type": "object"}]}
    manager = Described(outputs={"image": {"schema": image}, "feature": {"schema": feature}})
    openapi.complete(document := generate(), manager, Locale("en"))
    content = document["paths"]["/processes/hello/execution"]["post"]["responses"]["200"]["content"]
    assert set(content) == {"image/tiff", "application/geo+json", "application/json", "multipart/related"}
    assert content["image/tiff"] == {"schema": {"type": "string", "format": "binary"}}
    assert manager.processor.metadata["outputs"]["image"]["schema"]["contentMediaType"] == "image/tiff"
    validate(ours(document))


def test_callbacks_are_described_where_there_are_any(generate):
    """Only with a manager that calls back; the three URIs, by the expressions of the request."""
    document = generate()
    openapi.complete(document, Described(), Locale("en"))
    callbacks = document["paths"]["/processes/hello/execution"]["post"]["callbacks"]
    assert {name: next(iter(one)) for name, one in callbacks.items()} == {
        "jobCompleted": "{$request.body#/subscriber/successUri}",
        "jobInProgress": "{$request.body#/subscriber/inProgressUri}",
        "jobFailed": "{$request.body#/subscriber/failedUri}",
    }
    validate(ours(document))


def test_stock_document_is_what_the_wrapper_mends(generate):
    """Without compliance: no parameters of the job list, references to other hosts, the output by itself."""
    paths = ours(generate(ogc_compliance=False))["paths"]
    assert "parameters" not in paths["/jobs"]["get"]
    assert "https://" in json.dumps(paths)
    execution = paths["/processes/hello-world/execution"]["post"]
    assert "schemas/execute.yaml" in json.dumps(execution["requestBody"])
    assert "503" not in execution["responses"]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        ({"const": 3}, {"enum": [3]}),
        ({"anyOf": [{"type": "null"}]}, {"anyOf": [{"nullable": True, "enum": [None]}]}),
        ({"exclusiveMinimum": 0}, {"minimum": 0, "exclusiveMinimum": True}),
        ({"type": "array"}, {"type": "array", "items": {}}),
        ({"type": "object", "required": []}, {"type": "object"}),
        ({"$ref": "https://example.org/x"}, {"description": "See https://example.org/x"}),
        ({"type": "string", "contentEncoding": "base64"}, {"type": "string", "format": "byte"}),
        ({"if": {}, "then": {}, "$schema": "x", "$comment": "y", "type": "string"}, {"type": "string"}),
        ({"type": "array", "prefixItems": [{}, {}]}, {"type": "array", "items": {}}),
        ({"properties": {"type": {"type": "string"}}}, {"properties": {"type": {"type": "string"}}}),
        ({"examples": [1, 2]}, {"example": 1}),
        ({"patternProperties": {"a": {}}, "additionalProperties": False}, {}),
        (True, {}),
    ],
)
def test_schemas_are_put_in_the_words_of_openapi(schema, expected):
    """What OpenAPI 3.0 says otherwise is said so; what it cannot say is left out."""
    assert openapi_schema(schema, lambda name, definition: "") == expected


def test_definitions_become_components_once():
    """Also those that refer to themselves."""
    components: dict[str, Any] = {}

    def component(name: str, definition: Any) -> str:
        if definition is not None:
            assert name not in components
            components[name] = definition
        return f"#/components/schemas/{name}"

    schema = {
        "$ref": "#/$defs/tree",
        "$defs": {"tree": {"properties": {"left": {"$ref": "#/$defs/tree"}, "right": {"$ref": "#/$defs/tree"}}}},
    }
    reference = {"$ref": "#/components/schemas/tree"}
    assert openapi_schema(schema, component) == reference
    assert components == {"tree": {"properties": {"left": reference, "right": reference}}}
