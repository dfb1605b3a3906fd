"""Laws of the classes that make flows processes, without Prefect's engine."""

import os
from typing import Any

import pytest
from prefect import flow
from pygeoapi.process.base import ProcessorExecuteError

import flows
from ogc_schema import validate
from pygeoapi_prefect import BasePrefectProcessor, FlowProcessor, schemas
from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.process.processor import flow_processes, is_flow, load_processor
from pygeoapi_prefect.runner.supervisor import fingerprint_of


def resource(dotted: str, **prefect: Any) -> dict[str, Any]:
    return {"type": "process", "processor": {"name": dotted, **({"prefect": prefect} if prefect else {})}}


def flow_resource(name: str, **prefect: Any) -> dict[str, Any]:
    return resource("pygeoapi_prefect.FlowProcessor", flow=f"flows:{name}", **prefect)


def test_a_flow_read_through_an_instance_still_runs() -> None:
    """Prefect's flows bind themselves to the instance they are read through; ours are handed out as they are."""
    processor = load_processor("simple-flow", resource("flows.SimpleFlowProcessor"))
    assert processor.process_flow is flows.simple_flow
    assert flows.SimpleFlowProcessor.process_flow is flows.simple_flow
    assert not hasattr(flows.simple_flow.fn, "__prefect_self__")
    assert not flows.simple_flow.ismethod


def test_subclasses_inherit_the_flow() -> None:
    """A subclass may change the description alone."""

    class Sub(flows.SimpleFlowProcessor):
        process_description = flows.SimpleFlowProcessor.process_description.model_copy(update={"id": "sub"})

    assert Sub({"name": "x", "process_id": "sub"}).flow is flows.simple_flow


@pytest.mark.parametrize("name", ["greet", "several", "login", "squares", "nothing"])
def test_descriptions_are_valid(name: str) -> None:
    """Every description made of a flow is one of OGC's, under the process's own id."""
    metadata = load_processor("my-id", flow_resource(name)).metadata
    validate(metadata, "process")
    assert metadata["id"] == "my-id"


def test_metadata_overrides() -> None:
    """The configuration has the last word on what is described."""
    processor = load_processor("g", flow_resource("greet", metadata={"title": "T", "inputs": {"name": {"title": "N"}}}))
    assert processor.metadata["title"] == "T"
    assert processor.metadata["inputs"]["name"]["title"] == "N"
    assert processor.metadata["inputs"]["name"]["schema"]["type"] == "string"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: load_processor("x", resource("pygeoapi_prefect.FlowProcessor")), ["resources.x", "flow is missing"]),
        (lambda: load_processor("x", flow_resource("absent")), ["resources.x", "has no 'absent'"]),
        (lambda: load_processor("x", flow_resource("START")), ["has no 'START'"]),
        (lambda: load_processor("x", flow_resource("Statistics")), ["is no flow", "@prefect.flow"]),
        (
            lambda: load_processor("other", resource("flows.SimpleFlowProcessor")),
            ["'simple-flow'", "resources.other", "must be the same"],
        ),
    ],
)
def test_configurations_that_cannot_be(made, words: list[str]) -> None:
    """Each is refused where it is first seen, naming what is wrong and what to do."""
    with pytest.raises(ConfigurationError) as caught:
        made()
    for word in words:
        assert word in str(caught.value)


def test_breaches_of_the_contract() -> None:
    """A flow that does not persist its result, one that takes a part of the parameters, and a class without a flow."""

    @flow
    def forgetful(job_id: str, result_storage_block: str, process_description: Any, execution_request: Any) -> None: ...

    @flow(persist_result=True)
    def partial(job_id: str, execution_request: Any) -> None: ...

    @flow(persist_result=True)
    def whole(job_id: str, result_storage_block: str, process_description: Any, execution_request: Any) -> None: ...

    description = schemas.ProcessDescription(id="x", version="1", inputs={}, outputs={})
    for attributes, words in [
        ({"process_flow": forgetful, "process_description": description}, "persist_result=True"),
        ({"process_flow": partial, "process_description": description}, "process_description"),
        ({"process_flow": whole}, "needs the class variable process_description"),
        ({"process_description": description}, "must be a function decorated with @prefect.flow"),
        ({"process_flow": len, "process_description": description}, "must be a function decorated with @prefect.flow"),
    ]:
        processor_class = type("Breach", (BasePrefectProcessor,), attributes)
        with pytest.raises(ConfigurationError, match=words):
            processor_class({"name": "x", "process_id": "x"})


def test_other_managers_are_told() -> None:
    """A flow runs through our manager only, and says so."""
    processor = FlowProcessor({"name": "x", "prefect": {"flow": "flows:nothing"}})
    with pytest.raises(ProcessorExecuteError, match=r"pygeoapi_prefect\.PrefectManager"):
        processor.execute({})


def test_flows_are_told_from_processors() -> None:
    """Also among processors that cannot be imported."""
    resources = {
        "a": flow_resource("greet"),
        "b": resource("HelloWorld"),
        "c": resource("processors_that_are_not_there.X"),
        "simple-flow": resource("flows.SimpleFlowProcessor"),
    }
    assert flow_processes(resources) == ["a", "simple-flow"]
    assert not is_flow(load_processor("b", resources["b"]))


def test_a_changed_flow_is_another_configuration(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner is replaced when the code of a flow has changed, as when that of a processor has."""
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "my_changing_flows.py"
    module.write_text("")
    manager_def = {"processes": {"a": resource("pygeoapi_prefect.FlowProcessor", flow="my_changing_flows:a")}}
    before = fingerprint_of(manager_def)
    assert fingerprint_of(manager_def) == before
    os.utime(module, (1, 1))
    assert fingerprint_of(manager_def) != before
