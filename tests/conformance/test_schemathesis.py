"""
The server against its own OpenAPI document, by requests that nobody thought of.

schemathesis makes them from the document: valid ones and ones that are wrong in some way. The seed is fixed, so that a
failure comes again.
"""

from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving import Server

MAX_EXAMPLES = 20
"""For each operation; a request takes some 20 ms."""

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

OPERATIONS = [
    ("get", "/processes"),
    ("get", "/processes/echo"),
    ("post", "/processes/echo/execution"),
    ("post", "/processes/greeting/execution"),
    ("post", "/processes/repeated/execution"),
    ("post", "/processes/two/execution"),
    ("get", "/jobs"),
    ("get", "/jobs/{jobId}"),
    ("delete", "/jobs/{jobId}"),
    ("get", "/jobs/{jobId}/results"),
]

RIGHT, WRONG = GenerationMode.POSITIVE, GenerationMode.NEGATIVE

CASES = [
    *((RIGHT, *operation) for operation in OPERATIONS),
    # any text may be the id of a job
    *((WRONG, *operation) for operation in OPERATIONS if operation[0] != "delete"),
]


@pytest.fixture(scope="module")
def definition(server: Server) -> dict[str, Any]:
    """The generated OpenAPI document, of which only our paths are left."""
    document = dict(yaml.safe_load(server.openapi_path.read_text()))
    document["paths"] = {
        path: operations
        for path, operations in document["paths"].items()
        if path.split("/")[1] in ("processes", "jobs")
    }
    return document


def test_the_document_refers_to_nothing_outside(definition):
    """Who reads it fetches nothing else."""

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*map(references, node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    assert {reference for reference in references(definition["paths"]) if not reference.startswith("#/")} == set()


def test_every_operation_is_tried(definition):
    """What is offered for the Echo process and for jobs is in the table of this file."""
    methods = ("get", "post", "put", "patch", "delete")
    offered = {
        (method, path)
        for path, operations in definition["paths"].items()
        for method in methods
        if method in operations and (path.startswith("/jobs") or path in ("/processes", "/processes/echo"))
    }
    assert offered <= set(OPERATIONS)


@pytest.mark.parametrize(("mode", "method", "path"), CASES)
def test_answers_are_as_documented(server, definition, mode, method, path):
    """No request is answered with a server error, or with what the document does not have."""
    schema = schemathesis.openapi.from_dict(definition)
    schema.config.update(base_url=server.url)
    operation = schema[path][method.upper()]

    @seed(1)
    @settings(
        max_examples=MAX_EXAMPLES,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict):
            # neither a sleep of an hour nor a call to a stranger
            case.body.pop("subscriber", None)
            if isinstance(case.body.get("inputs"), dict):
                case.body["inputs"].pop("pause", None)
                case.body["inputs"].pop("seconds", None)
        case.call_and_validate(checks=CHECKS)

    answers()
