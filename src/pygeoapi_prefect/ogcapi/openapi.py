"""The paths of processes and jobs in pygeoapi's OpenAPI document."""

import functools
import importlib.resources
import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Protocol
from urllib.parse import quote

import yaml
from pygeoapi import l10n
from pygeoapi.process.base import BaseProcessor

from pygeoapi_prefect.ogcapi.openapi_schema import openapi_schema
from pygeoapi_prefect.schemas.codes import JobControlOption, ResponseForm

JSON = "application/json"
HTML = "text/html"
JSON_LD = "application/ld+json"
MULTIPART = "multipart/related"
BINARY = {"type": "string", "format": "binary"}

_NOT_IN_NAMES = re.compile("[^A-Za-z0-9_.-]+")
_NOT_IN_OPERATION_IDS = re.compile("[^A-Za-z0-9]+")


class DescribingManager(Protocol):
    """What is needed of the manager."""

    supports_subscribing: bool

    @property
    def processes(self) -> Mapping[str, Any]: ...
    def get_processor(self, process_id: str) -> BaseProcessor: ...


def complete(document: dict[str, Any], manager: DescribingManager, locale: Any, *, limits_users: bool = False) -> None:
    """
    Put our paths in place of pygeoapi's.

    Mends: stock names no parameters, no schema of inputs, half of the answers, and refers to schemas on other hosts
    (row B11).

    Args:
        document: pygeoapi's document; changed.
        manager: Describes the processes. Neither Prefect nor a database is asked.
        locale: Of the texts.
        limits_users: Whether the jobs of one user that wait are limited.
    """
    paths = document["paths"]
    for path in [one for one in paths if one.split("/")[1] in ("processes", "jobs")]:
        del paths[path]
    components = document.setdefault("components", {})
    for kind, parts in _shared().items():
        components.setdefault(kind, {}).update(deepcopy(parts))
    if not manager.supports_subscribing:
        del components["schemas"]["subscriber"]
    if manager.processes:
        paths["/processes"] = {"get": _process_list()}
    taken: set[str] = set()
    for process_id in manager.processes:
        # pygeoapi hides these, too
        if not process_id.startswith("_"):
            metadata = _in_one_language(manager.get_processor(process_id).metadata, locale)
            operations = _Process(process_id, metadata, components["schemas"], _operation_name(process_id, taken))
            path = process_path(process_id)
            paths[path] = {"get": operations.describe()}
            paths[f"{path}/execution"] = {"post": operations.execute(manager.supports_subscribing, limits_users)}
    paths |= _job_paths()


def process_path(process_id: str) -> str:
    """Of a process, in the document."""
    return f"/processes/{quote(process_id, safe='')}"


def _in_one_language(metadata: Mapping[str, Any], locale: Any) -> dict[str, Any]:
    """The texts only: to pygeoapi a schema, too, may look like a text in several languages."""

    def translated(described: Mapping[str, Any]) -> dict[str, Any]:
        texts = {key: l10n.translate(described[key], locale) for key in ("title", "description") if key in described}
        return {**described, **texts}

    parts = {
        kind: {name: translated(one) for name, one in (metadata.get(kind) or {}).items()}
        for kind in ("inputs", "outputs")
    }
    return translated(metadata) | parts


@functools.cache
def _shared() -> dict[str, Any]:
    file = importlib.resources.files(__package__).joinpath("components.yaml")
    parts: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return parts


def _operation_name(process_id: str, taken: set[str]) -> str:
    """Of letters and digits, as generated code needs it, and unlike that of any other process."""
    name = base = "".join(word.capitalize() for word in _NOT_IN_OPERATION_IDS.split(process_id)) or "Process"
    number = 2
    while name.lower() in taken:
        name, number = f"{base}{number}", number + 1
    taken.add(name.lower())
    return name


def _parameter(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/parameters/{name}"}


def _schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _document(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    content = {JSON: {"schema": schema}, JSON_LD: {"schema": schema}, HTML: {"schema": {"type": "string"}}}
    return {"description": description, "content": content}


def _problems(*statuses: int) -> dict[str, Any]:
    named = {str(status): {"$ref": f"#/components/responses/problem{status}"} for status in statuses}
    return named | {"default": {"$ref": "#/components/responses/problem"}}


def _accepted(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "headers": _headers("Location", "Preference-Applied"),
        "content": {JSON: {"schema": _schema("statusInfo")}},
    }


def _by_reference() -> dict[str, Any]:
    return {"description": "Nothing but outputs by reference, linked to", "headers": _headers("Link", "Location")}


def _process_list() -> dict[str, Any]:
    return {
        "summary": "Processes",
        "description": "Processes",
        "tags": ["server"],
        "operationId": "getProcesses",
        "parameters": [_parameter(name) for name in ("f", "limit", "offset")],
        "responses": {
            "200": _document("The processes", _schema("processList")),
            **_problems(400, 405, 406, 500),
        },
    }


def _job_paths() -> dict[str, Any]:
    tags = ("jobs",)
    filters = ("job-type", "job-processID", "job-status", "job-datetime", "minDuration", "maxDuration")
    results = {
        "description": "The results, as the execute request asked for them",
        "content": {
            JSON: {"schema": {}},
            MULTIPART: {"schema": dict(BINARY)},
            HTML: {"schema": {"type": "string"}},
            "*/*": {"schema": dict(BINARY)},
        },
    }
    return {
        "/jobs": {
            "get": {
                "summary": "Jobs",
                "description": "Jobs, newest first",
                "tags": list(tags),
                "operationId": "getJobs",
                "parameters": [_parameter(name) for name in ("f", "limit", "offset", *filters)],
                "responses": {
                    "200": _document("The jobs", _schema("jobList")),
                    **_problems(400, 405, 406, 500, 503),
                },
            }
        },
        "/jobs/{jobId}": {
            "get": {
                "summary": "Status of a job",
                "description": "Status of a job",
                "tags": list(tags),
                "operationId": "getJob",
                "parameters": [_parameter("jobId"), _parameter("f")],
                "responses": {
                    "200": _document("The job", _schema("statusInfo")),
                    **_problems(400, 404, 405, 406, 500, 503),
                },
            },
            "delete": {
                "summary": "Dismiss or remove a job",
                "description": "Dismisses a job that has not ended, and removes one that has",
                "tags": list(tags),
                "operationId": "deleteJob",
                "parameters": [_parameter("jobId")],
                "responses": {
                    "200": {"description": "The job", "content": {JSON: {"schema": _schema("statusInfo")}}},
                    **_problems(404, 405, 500, 503),
                },
            },
        },
        "/jobs/{jobId}/results": {
            "get": {
                "summary": "Results of a job",
                "description": "Results of a job",
                "tags": list(tags),
                "operationId": "getJobResults",
                "parameters": [_parameter(name) for name in ("jobId", "outputs", "f")],
                "responses": {"200": results, "204": _by_reference(), **_problems(400, 404, 405, 500, 503)},
            }
        },
    }


class _Process:
    """
    The operations of one process.

    Args:
        process_id: Key of the process in the configuration.
        metadata: Its description, in one language.
        schemas: The document's; definitions of the process are added to them.
        name: For operation ids.
    """

    def __init__(self, process_id: str, metadata: dict[str, Any], schemas: dict[str, Any], name: str) -> None:
        self._id = process_id
        self._metadata = metadata
        self._schemas = schemas
        self._name = name
        self._description = str(metadata.get("description") or "")
        self._outputs = {
            output_id: self._translated(output.get("schema"), f"output.{output_id}")
            for output_id, output in (metadata.get("outputs") or {}).items()
        }

    def describe(self) -> dict[str, Any]:
        return {
            "summary": "Get process metadata",
            "description": self._description,
            "tags": [self._id],
            "operationId": f"describe{self._name}Process",
            "parameters": [_parameter("f")],
            "responses": {
                "200": _document("The description of the process", _schema("process")),
                **_problems(400, 404, 405, 406, 500, 503),
            },
        }

    def execute(self, callbacks: bool, limits_users: bool) -> dict[str, Any]:
        """
        Args:
            callbacks: Whether clients may be called back.
            limits_users: Whether one of them may have too many jobs that wait.
        """
        request: dict[str, Any] = {"schema": self._request(callbacks)}
        if "example" in self._metadata:
            request["example"] = self._metadata["example"]
        operation = {
            "summary": f"Execute {self._metadata.get('title') or self._id}",
            "description": self._description,
            "tags": [self._id],
            "operationId": f"execute{self._name}Job",
            "parameters": [_parameter("Prefer"), _parameter("Idempotency-Key")],
            "requestBody": {"description": "Execute request", "required": True, "content": {JSON: request}},
            "responses": self._responses() | (_problems(429) if limits_users else {}),
        }
        if callbacks:
            operation["callbacks"] = {
                event: _callback(uri, description, schema)
                for event, uri, description, schema in (
                    ("jobCompleted", "successUri", "The results", self._results()),
                    ("jobInProgress", "inProgressUri", "The job", _schema("statusInfo")),
                    ("jobFailed", "failedUri", "Why the job failed", _schema("exception")),
                )
            }
        return operation

    # ------------------------------------------------------------ the request

    def _request(self, callbacks: bool) -> dict[str, Any]:
        inputs = self._inputs()
        properties: dict[str, Any] = {
            "inputs": inputs,
            "outputs": {
                "description": "The outputs that are wanted; all without it",
                "type": "object",
                "properties": {output_id: _schema("output") for output_id in self._outputs},
            },
            "response": {
                "type": "string",
                "enum": [form.value for form in ResponseForm],
                "default": ResponseForm.RAW.value,
            },
            "jobID": {
                "description": "An identifier that the client proposes",
                "type": "string",
                "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
            },
        }
        if callbacks:
            properties["subscriber"] = _schema("subscriber")
        request = {"type": "object", "properties": properties}
        return request | ({"required": ["inputs"]} if inputs.get("required") else {})

    def _inputs(self) -> dict[str, Any]:
        properties, required = {}, []
        for input_id, declared in (self._metadata.get("inputs") or {}).items():
            schema = declared.get("schema")
            properties[input_id] = self._input(input_id, declared)
            has_default = isinstance(schema, Mapping) and "default" in schema
            if declared.get("minOccurs", 1) and not has_default:
                required.append(input_id)
        inputs = {"type": "object", "properties": properties}
        return inputs | ({"required": required} if required else {})

    def _input(self, input_id: str, declared: Mapping[str, Any]) -> dict[str, Any]:
        """Values in line, with what they are, or by reference; several where the process takes several."""
        schema = self._translated(declared.get("schema"), f"input.{input_id}")
        qualified = {
            "allOf": [
                _schema("format"),
                {"type": "object", "required": ["value"], "properties": {"value": deepcopy(schema)}},
            ]
        }
        one = {"anyOf": [schema, qualified, _schema("link")]}
        most = declared.get("maxOccurs", 1)
        texts = {key: declared[key] for key in ("title", "description") if declared.get(key)}
        if most == 1:
            return one | texts
        several: dict[str, Any] = {"type": "array", "items": deepcopy(one)}
        if isinstance(most, int):
            several["maxItems"] = most
        return {"anyOf": [*one["anyOf"], several]} | texts

    def _translated(self, schema: Any, place: str) -> dict[str, Any]:
        def component(name: str, definition: Any) -> str:
            key = _NOT_IN_NAMES.sub("_", f"{self._name}.{place}.{name}")
            if definition is not None:
                self._schemas[key] = definition
            return f"#/components/schemas/{key}"

        return openapi_schema(schema, component)

    # ------------------------------------------------------------ the answers

    def _responses(self) -> dict[str, Any]:
        options = self._metadata.get("jobControlOptions") or [JobControlOption.SYNC_EXECUTE]
        responses: dict[str, Any] = {}
        if JobControlOption.SYNC_EXECUTE in options:
            responses |= {"200": self._sync(), "204": _by_reference()}
        if JobControlOption.ASYNC_EXECUTE in options:
            responses["201"] = _accepted("The job was accepted and runs asynchronously")
        return responses | _problems(400, 404, 405, 409, 413, 415, 422, 500, 503)

    def _sync(self) -> dict[str, Any]:
        raw: dict[str, list[Any]] = {}
        for output_id, output in (self._metadata.get("outputs") or {}).items():
            for media_type in _media_types(output.get("schema")):
                is_json = media_type == JSON or media_type.endswith("+json")
                raw.setdefault(media_type, []).append(deepcopy(self._outputs[output_id] if is_json else BINARY))
        raw.setdefault(JSON, []).append(self._results())
        if len(self._outputs) > 1:
            raw[MULTIPART] = [dict(BINARY)]
        content = {
            media_type: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
            for media_type, schemas in raw.items()
        }
        headers = _headers("Location", "Link", "Preference-Applied")
        return {"description": "The results of a synchronous execution", "headers": headers, "content": content}

    def _results(self) -> dict[str, Any]:
        """The document with outputs by their ids."""
        properties = {
            output_id: {
                "anyOf": [
                    deepcopy(schema),
                    {"type": "object", "required": ["value"], "properties": {"value": {}}},
                    _schema("link"),
                ]
            }
            for output_id, schema in self._outputs.items()
        }
        return {"allOf": [_schema("results"), {"type": "object", "properties": properties}]}


def _callback(uri: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Source: OGC 18-062r2, requirements class "Callback"."""
    post = {
        "requestBody": {"description": description, "content": {JSON: {"schema": schema}}},
        "responses": {"200": {"description": "It was received"}},
    }
    return {f"{{$request.body#/subscriber/{uri}}}": {"post": post}}


def _media_types(schema: Any) -> list[str]:
    """Of an output; JSON for what names none."""
    if not isinstance(schema, Mapping):
        return [JSON]
    if isinstance(schema.get("contentMediaType"), str):
        return [schema["contentMediaType"]]
    branches = [one for key in ("oneOf", "anyOf") for one in schema.get(key) or ()]
    return list(dict.fromkeys(found for one in branches for found in _media_types(one))) or [JSON]
