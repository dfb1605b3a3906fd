"""The standard's models: what is read, what is written, and that a flow written for them runs."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from prefect import flow, get_run_logger
from prefect.blocks.core import Block
from prefect.filesystems import LocalFileSystem
from prefect.logging import disable_run_logger
from prefect.serializers import JSONSerializer
from pydantic import ValidationError
from pygeoapi.process import echo, hello_world, shapely_functions
from referencing import Registry, Resource

from pygeoapi_prefect import exceptions, schemas

OGC_SCHEMAS = Path(__file__).parent / "ogc_schemas"
UNQUALIFIED = {"type": "Feature", "geometry": None, "properties": {"value": 1}}


def ogc_schema(name: str) -> dict[str, Any]:
    return json.loads((OGC_SCHEMAS / f"{name}.json").read_text())


def validate(instance: Any, name: str) -> None:
    """Raise unless *instance* satisfies OGC's schema *name*."""
    contents = [json.loads(path.read_text()) for path in OGC_SCHEMAS.glob("*.json")]
    registry = Registry().with_resources((content["$id"], Resource.from_contents(content)) for content in contents)
    jsonschema.Draft7Validator(ogc_schema(name), registry=registry).validate(instance)


def through_json(value: Any) -> Any:
    """What a client gets of *value*: tells tuples from lists and keys from numbers no more."""
    return json.loads(json.dumps(value))


# ---------------------------------------------------------------- a processor and its flow, as users write them


@flow(persist_result=True)
def simple_flow(
    job_id: str,
    result_storage_block: str | None,
    process_description: schemas.ProcessDescription,
    execution_request: schemas.ExecuteRequest,
) -> schemas.JobStatusInfoInternal:
    """Greet somebody, and store the greeting through a Prefect block."""
    logger = get_run_logger()
    logger.debug("Starting execution...")
    try:
        name = execution_request.inputs["name"].root
    except KeyError:
        raise exceptions.MissingJobParameterError("Cannot process without a name")  # noqa: B904  as users write it
    else:
        msg = execution_request.inputs.get("message")
        message = msg.root if msg is not None else ""
    storage = Block.load(result_storage_block) if result_storage_block is not None else LocalFileSystem()
    result_value = f"Hello {name}! {message}".strip()
    result_path = f"{job_id}/output-result.txt"
    storage.write_path(result_path, result_value.encode("utf-8"))
    return schemas.JobStatusInfoInternal(
        jobID=job_id,
        processID=process_description.id,
        status=schemas.JobStatus.successful,
        generated_outputs={
            "result": schemas.OutputExecutionResultInternal(
                location=f"{storage.basepath}/{result_path}",
                media_type=(process_description.outputs["result"].schema_.content_media_type),
            )
        },
    )


process_description = schemas.ProcessDescription(
    id="simple-flow",  # id MUST match key given in pygeoapi config
    version="0.0.1",
    title="Simple flow Processor",
    jobControlOptions=[
        schemas.ProcessJobControlOption.SYNC_EXECUTE,
        schemas.ProcessJobControlOption.ASYNC_EXECUTE,
    ],
    inputs={
        "name": schemas.ProcessInput(title="Name", schema=schemas.ProcessIOSchema(type=schemas.ProcessIOType.STRING)),
        "message": schemas.ProcessInput(
            title="Message", schema=schemas.ProcessIOSchema(type=schemas.ProcessIOType.STRING), minOccurs=0
        ),
    },
    outputs={
        "result": schemas.ProcessOutput(
            schema=schemas.ProcessIOSchema(type=schemas.ProcessIOType.STRING, contentMediaType="text/plain")
        )
    },
)

DESCRIPTION_AS_JSON = {
    "id": "simple-flow",
    "version": "0.0.1",
    "title": "Simple flow Processor",
    "jobControlOptions": ["sync-execute", "async-execute"],
    "inputs": {
        "name": {"title": "Name", "schema": {"type": "string"}},
        "message": {"title": "Message", "schema": {"type": "string"}, "minOccurs": 0},
    },
    "outputs": {"result": {"schema": {"type": "string", "contentMediaType": "text/plain"}}},
}


# ---------------------------------------------------------------- descriptions


def test_a_description_is_written_as_the_standard_asks():
    """A description made in Python is valid, and says what was given and nothing more."""
    validate(process_description.to_ogc(), "process")
    assert process_description.to_ogc() == DESCRIPTION_AS_JSON
    assert process_description.model_dump(by_alias=True, exclude_none=True) == DESCRIPTION_AS_JSON


def test_a_description_is_read_by_pythons_names():
    """Inside, members have Python's names, and what is left out has its default."""
    assert process_description.outputs["result"].schema_.content_media_type == "text/plain"
    assert process_description.inputs["name"].min_occurs == 1
    assert process_description.inputs["message"].min_occurs == 0
    assert process_description.inputs["name"].max_occurs == 1
    assert process_description.output_transmission == list(schemas.TransmissionMode)
    assert process_description.links == []


@pytest.mark.parametrize("module", [hello_world, echo, shapely_functions])
def test_descriptions_of_pygeoapi_come_back_as_they_were(module):
    """Languages, examples, formats and misplaced members included: nothing is lost, nothing is added."""
    metadata = through_json(module.PROCESS_METADATA)
    assert schemas.ProcessDescription.model_validate(metadata).to_ogc() == metadata
    text = schemas.ProcessDescription.model_validate_json(json.dumps(metadata)).model_dump_json(by_alias=True)
    assert json.loads(text) == metadata


def test_links_metadata_and_additional_parameters_come_back_as_they_were():
    """So do the members that pygeoapi's own processes do not have."""
    description = {
        **DESCRIPTION_AS_JSON,
        "keywords": {"en": ["wind"], "fr": ["vent"]},
        "metadata": [{"title": "Method", "role": "about", "href": "https://example.org/method", "lang": "en"}],
        "additionalParameters": {
            "role": "https://example.org/roles",
            "parameters": [{"name": "ram", "value": [16, 1.5, "GiB", [1], {"a": None}]}],
        },
        "outputTransmission": ["value", "reference"],
        "links": [{"href": {"en": "https://example.org/en"}, "rel": "about", "length": 12}],
    }
    model = schemas.ProcessDescription.model_validate(description)
    assert model.to_ogc() == description
    assert model.additional_parameters.parameters[0].name == "ram"
    assert model.metadata[0].role == "about"


def test_each_keyword_of_the_standards_schema_has_a_field():
    """ProcessIOSchema knows every keyword of ``schema.yaml`` and ``reference.yaml``, and no other."""
    _, keywords = ogc_schema("schema")["oneOf"]
    fields = schemas.ProcessIOSchema.model_fields.items()
    assert {field.alias or name for name, field in fields} == {*keywords["properties"], "$ref"}


# references in other schemas are left to pygeoapi's descriptions: strictly read, OGC's schema takes none there, for
# its ``oneOf`` then matches twice
SCHEMAS = {
    "reference": {"$ref": "https://example.org/schema"},
    "number": {
        "title": "Speed",
        "description": "In m/s.",
        "type": "number",
        "multipleOf": 0.5,
        "minimum": 0,
        "maximum": 75.0,
        "exclusiveMinimum": True,
        "exclusiveMaximum": False,
        "default": 1,
        "example": 2.5,
        "nullable": True,
        "deprecated": False,
    },
    "text": {
        "type": "string",
        "format": "regex",
        "minLength": 0,
        "maxLength": 5,
        "pattern": "^a",
        "enum": ["a", "ab"],
        "contentMediaType": "application/json",
        "contentEncoding": "base64",
        "contentSchema": "https://example.org/schema",
    },
    "array": {"type": "array", "items": {"type": "string"}, "minItems": 0, "maxItems": 2, "uniqueItems": True},
    "object": {
        "type": "object",
        "properties": {"a": {"type": "integer", "readOnly": True}, "b": {"writeOnly": True}},
        "required": ["a"],
        "additionalProperties": {"not": {"type": "string"}},
        "minProperties": 0,
        "maxProperties": 2,
    },
    "closed object": {"type": "object", "additionalProperties": False},
    "combinations": {
        "oneOf": [{"type": "string"}, {"type": "integer"}],
        "anyOf": [{"minimum": 1}],
        "allOf": [{"format": "ogc-bbox"}, {"properties": {"bbox": {"type": "array"}}}],
    },
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_a_schema_comes_back_as_it_was(schema):
    """Every keyword keeps its value and its type: 0 stays 0, 75.0 stays 75.0, false stays false. It stays valid."""
    written = schemas.ProcessIOSchema.model_validate(schema).to_ogc()
    assert json.dumps(written, sort_keys=True) == json.dumps(schema, sort_keys=True)
    validate({**DESCRIPTION_AS_JSON, "inputs": {"a": {"schema": written}}}, "process")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"], "const": None},
        {"exclusiveMinimum": 0, "examples": [None], "$defs": {"a": {"x": None}}},
        {"items": True, "not": False, "contentSchema": {"type": "object"}},
        {"default": None},
    ],
)
def test_later_json_schema_comes_back_as_it_was(schema):
    """Keywords that the standard does not know are kept, and null where it is a value."""
    assert schemas.ProcessIOSchema.model_validate(schema).to_ogc() == schema


def test_no_member_is_null_unless_null_is_a_value():
    """None given for a text leaves the text out; None as a default value is null."""
    schema = schemas.ProcessIOSchema(title=None, default=None)
    assert schema.to_ogc() == {"default": None}


def test_both_names_of_a_field_mean_the_same():
    """Prefect writes Python's names in results and the standard's in parameters; both are read."""
    by_ogc = schemas.ProcessInput.model_validate({"schema": {"contentMediaType": "a/b"}, "maxOccurs": "unbounded"})
    by_python = schemas.ProcessInput.model_validate(
        {"schema_": {"content_media_type": "a/b"}, "max_occurs": "unbounded"}
    )
    assert by_python == by_ogc
    assert by_python.to_ogc() == {"schema": {"contentMediaType": "a/b"}, "maxOccurs": "unbounded"}


def test_a_default_that_was_filled_is_written():
    """A link that is appended to a description without links is there."""
    description = schemas.ProcessDescription(id="a", version="1")
    description.links.append(schemas.Link(href="https://example.org"))
    assert description.to_ogc()["links"] == [{"href": "https://example.org"}]
    assert schemas.ProcessDescription(id="a", version="1").links == []


def test_a_description_always_has_inputs_and_outputs():
    """pygeoapi's list of processes fails without them."""
    assert schemas.ProcessDescription(id="a", version="1").to_ogc() == {
        "id": "a",
        "version": "1",
        "inputs": {},
        "outputs": {},
    }


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"version": None}, "version"),
        ({"jobControlOptions": ["run"]}, "jobControlOptions.0"),
        ({"inputs": {"a": {}}}, "inputs.a.schema"),
        ({"outputs": {"a": {"schema": {"minLength": "many"}}}}, "outputs.a.schema.minLength"),
    ],
)
def test_a_wrong_description_is_refused(change, where):
    """The error names the member."""
    with pytest.raises(ValidationError) as caught:
        schemas.ProcessDescription.model_validate({**DESCRIPTION_AS_JSON, **change})
    assert [".".join(map(str, error["loc"])) for error in caught.value.errors()] == [where]


# ---------------------------------------------------------------- flows


def request(**inputs: Any) -> schemas.ExecuteRequest:
    return schemas.ExecuteRequest.model_validate({"inputs": inputs})


def run_flow(execution_request: Any, description: Any = process_description) -> schemas.JobStatusInfoInternal:
    """Cast the parameters as Prefect does, then call the function without Prefect's engine."""
    parameters = simple_flow.validate_parameters(
        {
            "job_id": "job-1",
            "result_storage_block": None,
            "process_description": description,
            "execution_request": execution_request,
        }
    )
    with disable_run_logger():
        return simple_flow.fn(**parameters)


@pytest.mark.parametrize("as_json", [False, True], ids=["models", "JSON"])
def test_a_flow_runs(as_json, tmp_path, monkeypatch):
    """It gets models, whether the caller gave models or the JSON that Prefect stores; and its outputs are found."""
    monkeypatch.chdir(tmp_path)
    execution_request = request(name="Ada", message={"value": "Good day.", "mediaType": "text/plain"})
    parameters = {"description": process_description, "execution_request": execution_request}
    if as_json:
        parameters = through_json(simple_flow.serialize_parameters(parameters))
        assert parameters["description"] == DESCRIPTION_AS_JSON
    info = run_flow(**parameters)
    assert (tmp_path / "job-1" / "output-result.txt").read_text() == "Hello Ada! Good day."
    assert info.status is schemas.JobStatus.SUCCESSFUL
    assert (info.job_id, info.process_id) == ("job-1", "simple-flow")
    assert info.generated_outputs["result"].media_type == "text/plain"
    assert info.generated_outputs["result"].location.endswith("job-1/output-result.txt")


def test_a_flow_may_miss_an_input():
    """A missing input is a KeyError in the flow; its own error is a 400 for the client."""
    with pytest.raises(exceptions.MissingJobParameterError) as caught:
        run_flow(request(message="Hi"))
    assert caught.value.http_status_code == 400


# ---------------------------------------------------------------- input values

PLAIN: dict[str, Any] = {
    "text": "Ada",
    "empty text": "",
    "number": 1.5,
    "whole number with a fraction": 2.0,
    "integer": 3,
    "true": True,
    "false": False,
    "null": None,
    "object": {"a": {"b": [1, None]}},
    "empty object": {},
    "array": ["a", 1, 2.5, None, True, [1]],
    "array of one": ["a"],
    "empty array": [],
    "array of objects": [{"a": 1}, UNQUALIFIED],
    "array in an array": [[{"value": 1}]],
    "feature": UNQUALIFIED,
    "feature with a bbox": {**UNQUALIFIED, "bbox": [1, 2, 3, 4]},
    "STAC asset": {"href": "https://example.org/a.tif", "roles": ["data"]},
    "measure": {"value": 1, "unit": "m"},
    "bbox of 5": {"bbox": [1, 2, 3, 4, 5]},
    "bbox of texts": {"bbox": ["1", "2", "3", "4"]},
    "bbox of truths": {"bbox": [True, True, False, False]},
    "href that is no text": {"href": 5},
    "media type that is no text": {"value": 1, "mediaType": 5},
    "Python's name of a member": {"value": 1, "media_type": "text/plain"},
    "format that is no format": {"value": 1, "format": "csv"},
    "format with a strange member": {"value": 1, "format": {"a": 1}},
    "reference with a strange format": {"href": "https://example.org/a.tif", "format": {"encoding": "base64"}},
    "member that a model of ours has": {"values": [{"value": 1}]},
    "the other": {"root": 1},
}
PNG = {"value": "iVBORw0KGgo=", "encoding": "base64", "mediaType": "image/png"}
BBOX_4 = {"bbox": [51.9, 7, 52.1, 7.5]}
BBOX_6 = {"bbox": [51.9, 7, 0, 52.1, 7.5, 10], "crs": "http://www.opengis.net/def/crs/OGC/0/CRS84h"}
HREF = {"href": "https://example.org/a.tif", "type": "image/tiff", "rel": "item", "title": "A", "hreflang": "en"}
SPECIAL: dict[str, tuple[type, Any, Any]] = {
    "base64 binary": (schemas.QualifiedInputValue, PNG, "iVBORw0KGgo="),
    "qualified text": (schemas.QualifiedInputValue, {"value": "a"}, "a"),
    "qualified null": (schemas.QualifiedInputValue, {"value": None}, None),
    "qualified object": (schemas.QualifiedInputValue, {"value": UNQUALIFIED, "schema": "https://a.b"}, UNQUALIFIED),
    "qualified array": (schemas.QualifiedInputValue, {"value": [{"value": 1}]}, [{"value": 1}]),
    "schema in place": (schemas.QualifiedInputValue, {"value": 1, "schema": {"type": "integer"}}, 1),
    "reference": (schemas.InputReference, HREF, HREF),
    "reference alone": (schemas.InputReference, {"href": "a"}, {"href": "a"}),
    "bbox of 4": (schemas.BoundingBox, BBOX_4, BBOX_4),
    "bbox of 6": (schemas.BoundingBox, BBOX_6, BBOX_6),
    "array of qualified values": (schemas.InputValueList, [PNG, {"value": [1]}], ["iVBORw0KGgo=", [1]]),
    "array of one qualified value": (schemas.InputValueList, [{"value": 1}], [1]),
    "array of references": (schemas.InputValueList, [HREF, HREF], [HREF, HREF]),
    "mixed array": (
        schemas.InputValueList,
        ["a", {"value": "b"}, BBOX_4, UNQUALIFIED],
        ["a", "b", BBOX_4, UNQUALIFIED],
    ),
}
CASES = [pytest.param(schemas.InputValue, sent, sent, id=name) for name, sent in PLAIN.items()]
CASES += [pytest.param(*case, id=name) for name, case in SPECIAL.items()]


@pytest.mark.parametrize(("kind", "sent", "root"), CASES)
def test_an_input_value_is_of_one_kind(kind, sent, root):
    """The kind is told by the members; ``root`` is what the process computes with, to the type of each number."""
    value = request(a=sent).inputs["a"]
    assert type(value) is kind
    assert json.dumps(value.root, sort_keys=True) == json.dumps(root, sort_keys=True)


@pytest.mark.parametrize(("kind", "sent", "root"), CASES)
def test_an_input_value_is_written_as_it_was_sent(kind, sent, root):
    """In every way of writing, so that Prefect's stored parameters make the same request again."""
    execution_request = request(a=sent)
    assert execution_request.model_dump() == {"inputs": {"a": sent}}
    assert execution_request.to_ogc() == {"inputs": {"a": sent}}
    text = execution_request.model_dump_json()
    assert json.loads(text) == {"inputs": {"a": sent}}
    assert schemas.ExecuteRequest.model_validate_json(text) == execution_request
    assert type(schemas.ExecuteRequest(inputs=execution_request.inputs).inputs["a"]) is kind


def test_qualified_values_tell_their_format():
    """Media type, encoding and schema stand beside the value, also when they were sent in a ``format``."""
    image = request(a=PNG).inputs["a"]
    assert (image.media_type, image.encoding, image.schema_) == ("image/png", "base64", None)
    format_ = {"mediaType": "image/png", "encoding": "base64"}
    assert request(a={"value": PNG["value"], "format": format_}).inputs["a"] == image


@pytest.mark.parametrize(
    ("format_", "type_"), [({}, {}), ({"mediaType": "image/tiff"}, {"type": "image/tiff"})], ids=["none", "TIFF"]
)
def test_references_tell_their_media_type(format_, type_):
    """It is the link's ``type``, also when it was sent in a ``format``."""
    reference = {"href": "https://example.org/a.tif"}
    assert request(a={**reference, "format": format_}).inputs["a"] == request(a={**reference, **type_}).inputs["a"]


def test_items_tell_their_kinds():
    """The items of a list keep their kinds and media types."""
    image, text, box = request(a=[PNG, "a", BBOX_4]).inputs["a"].values
    assert image.media_type == "image/png"
    assert type(text) is schemas.InputValue
    assert box.bbox == BBOX_4["bbox"]


def test_a_box_without_crs_is_in_crs84():
    """With heights where it has six numbers; one that was sent stays."""
    assert request(a=BBOX_4).inputs["a"].crs == "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    assert request(a={"bbox": [0] * 6}).inputs["a"].crs == "http://www.opengis.net/def/crs/OGC/0/CRS84h"
    assert request(a={**BBOX_4, "crs": "urn:x"}).inputs["a"].crs == "urn:x"


def test_references_tell_where_and_what():
    """URL and media type."""
    reference = request(a=HREF).inputs["a"]
    assert (reference.href, reference.type) == (HREF["href"], HREF["type"])


# ---------------------------------------------------------------- execute requests


def test_an_execute_request_comes_back_as_it_was():
    """With selected outputs, form of the response, subscriber and members that 1.0 does not know."""
    body = {
        "process": "https://example.org/processes/a",
        "inputs": {"a": 1},
        "outputs": {
            "b": {"format": {"mediaType": "a/b", "schema": {"type": "object"}}, "transmissionMode": "reference"},
            "c": {},
        },
        "response": "document",
        "subscriber": {"successUri": "https://example.org/done", "failedUri": "https://example.org/failed"},
    }
    model = schemas.ExecuteRequest.model_validate(body)
    assert model.to_ogc() == body
    assert model.response is schemas.ResponseForm.DOCUMENT
    assert model.outputs["b"].format.media_type == "a/b"
    assert model.outputs["b"].transmission_mode is schemas.TransmissionMode.REFERENCE
    assert model.outputs["c"].transmission_mode is schemas.TransmissionMode.VALUE
    assert model.subscriber.success_uri == "https://example.org/done"


def test_no_selection_is_not_an_empty_one():
    """Without ``outputs`` all are wanted, with ``{}`` none; without ``response`` they are wanted raw."""
    assert request().outputs is None
    assert schemas.ExecuteRequest(outputs={}).outputs == {}
    assert schemas.ExecuteRequest(outputs={}).to_ogc() == {"outputs": {}}
    assert request().response is schemas.ResponseForm.RAW


@pytest.mark.parametrize(
    "body",
    [{"inputs": [1]}, {"inputs": None}, {"outputs": ["a"]}, {"response": "xml"}, {"subscriber": {}}],
    ids=json.dumps,
)
def test_what_is_no_execute_request_is_refused(body):
    """Types of members are the standard's."""
    with pytest.raises(ValidationError):
        schemas.ExecuteRequest.model_validate(body)


# ---------------------------------------------------------------- statuses


def test_a_status_is_written_without_nulls():
    """A running job has no end; times are RFC 3339 in UTC, whatever their zone was."""
    created = datetime(2026, 1, 31, 13, 0, 0, 250_000, timezone(timedelta(hours=1)))
    info = schemas.StatusInfo(
        jobID="1", processID="a", status="running", created=created, started=created.astimezone(UTC), progress=0
    )
    validate(info.to_ogc(), "statusInfo")
    assert info.to_ogc() == {
        "jobID": "1",
        "processID": "a",
        "type": "process",
        "status": "running",
        "created": "2026-01-31T12:00:00.250000Z",
        "started": "2026-01-31T12:00:00.250000Z",
        "progress": 0,
    }
    assert json.loads(info.model_dump_json(by_alias=True)) == info.to_ogc()
    assert schemas.StatusInfo.model_validate(info.to_ogc()) == info


@pytest.mark.parametrize(
    "change", [{"created": "2026-01-31T12:00:00"}, {"progress": 101}, {"progress": -1}, {"status": "done"}]
)
def test_a_wrong_status_is_refused(change):
    """Times need a zone, progress is in percent."""
    with pytest.raises(ValidationError):
        schemas.StatusInfo.model_validate({"jobID": "1", "status": "running", **change})


def test_a_flows_return_survives_prefects_json():
    """What is stored as the flow's result is read again as the same model, with what it generated."""
    info = schemas.JobStatusInfoInternal(
        job_id="1",
        process_id="a",
        status=schemas.JobStatus.FAILED,
        generated_outputs={"b": schemas.OutputExecutionResultInternal(location="s3://a/b", media_type=None)},
    )
    again = JSONSerializer().loads(JSONSerializer().dumps(info))
    assert type(again) is schemas.JobStatusInfoInternal
    assert again == info
    assert again.generated_outputs["b"].location == "s3://a/b"


def test_clients_do_not_learn_locations():
    """The standard's form of a flow's return is the status alone."""
    info = schemas.JobStatusInfoInternal(
        jobID="1", status="successful", generated_outputs={"b": {"location": "s3://secret/b"}}
    )
    validate(info.to_ogc(), "statusInfo")
    assert info.to_ogc() == {"jobID": "1", "type": "process", "status": "successful"}


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("codes", "name"),
    [
        (schemas.JobStatus, "statusCode"),
        (schemas.JobControlOption, "jobControlOptions"),
        (schemas.TransmissionMode, "transmissionMode"),
    ],
)
def test_code_lists_are_the_standards(codes, name):
    """Each code once."""
    assert [str(code) for code in codes] == ogc_schema(name)["enum"]


def test_types_are_the_standards():
    """Of inputs and outputs."""
    _, keywords = ogc_schema("schema")["oneOf"]
    assert [str(type_) for type_ in schemas.ProcessIOType] == keywords["properties"]["type"]["enum"]


def test_two_names_are_one_enum():
    """Statuses have pygeoapi's lower-case names too, job control options the name that descriptions use."""
    assert schemas.ProcessJobControlOption is schemas.JobControlOption
    for status in schemas.JobStatus:
        assert getattr(schemas.JobStatus, status.value) is status


def test_every_public_name_is_there():
    """What ``__all__`` promises can be imported, and what is not there is an AttributeError."""
    assert [name for name in schemas.__all__ if not hasattr(schemas, name)] == []
    assert not hasattr(schemas, "ProcessDescriptoin")


def test_a_status_costs_no_pydantic():
    """The job store and the command line import a code list, and no model library with it."""
    script = "import sys; from pygeoapi_prefect.schemas import JobStatus; assert 'pydantic' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
