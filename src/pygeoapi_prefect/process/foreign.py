"""
Processes that run as deployments which somebody else made, as ``pygeoapi-prefect`` 0.9 had them.

Such a flow takes ``processor_id``, ``pygeoapi_job_id``, ``inputs`` and ``outputs``, and a task of it persists
``(media type, value)`` in Prefect's result storage. Nothing of its code is imported here.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pygeoapi.process.base import BaseProcessor, ProcessorExecuteError

from pygeoapi_prefect.exceptions import ConfigurationError, InvalidInputsError
from pygeoapi_prefect.schemas import ProcessDescription

PARAMETERS = frozenset({"processor_id", "pygeoapi_job_id", "inputs", "outputs"})
"""Of a flow that was written for 0.9."""

MAX_PARAMETER_BYTES = 512 * 1024
"""The most that Prefect Cloud takes. A server of one's own would store more, in every flow run."""

DEFAULT_VERSION = "0.0.1-dev"


class ForeignProcessor(BaseProcessor):
    """
    The description of such a process: what ``processor.prefect.metadata`` says of it.

    Attributes:
        undescribed: ``inputs`` and ``outputs``, as far as nobody has described any.
    """

    def __init__(self, processor_def: Mapping[str, Any]) -> None:
        """
        Args:
            processor_def: The process's ``processor`` section, and ``process_id``.

        Raises:
            ConfigurationError: The metadata is no description; names the YAML key.
        """
        process_id = str(processor_def["process_id"])
        metadata = processor_def["prefect"].get("metadata") or {}
        # 0.9 executed asynchronously unless it was told otherwise
        described = describe_by_metadata(process_id, metadata, ["async-execute", "dismiss"])
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        super().__init__({**processor_def, "name": name}, described)
        self.supports_outputs = bool(described["outputs"])
        self.undescribed = {part for part in ("inputs", "outputs") if not described[part]}

    def execute(self, data: dict[str, Any], outputs: Any = None) -> tuple[Any, Any]:
        """Refused: the deployment runs through our manager only."""
        raise ProcessorExecuteError(f"Process {self.metadata['id']!r} runs as a deployment of Prefect")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}> {self.metadata['id']}"


def describe_by_metadata(
    process_id: str, metadata: Mapping[str, Any], job_control_options: Sequence[str]
) -> dict[str, Any]:
    """
    The whole process description, as OGC's ``process.yaml``, from nothing but ``processor.prefect.metadata``.

    Args:
        process_id: Its ``id``.
        metadata: Any part of it but ``id``; what is missing has the default of 0.9.
        job_control_options: Where *metadata* has none.

    Raises:
        ConfigurationError: The metadata is no description; names the YAML key.
    """
    title = process_id.replace("-", " ").replace("_", " ").capitalize()
    # pygeoapi's OpenAPI document and HTML pages need some of these
    described = {
        "version": DEFAULT_VERSION,
        "title": title,
        "description": metadata.get("title", title),
        "keywords": [],
        "links": [],
        "jobControlOptions": list(job_control_options),
        **{key: value for key, value in metadata.items() if value is not None},
        "id": process_id,
    }
    described["outputTransmission"] = described.get("outputTransmission") or ["value", "reference"]
    for part in ("inputs", "outputs"):
        described[part] = {name: _corrected(one) for name, one in (described.get(part) or {}).items()}
    try:
        written = ProcessDescription.model_validate(described).to_ogc()
    except ValidationError as error:
        key = f"resources.{process_id}.processor.prefect.metadata"
        complaints = [f"{'.'.join([key, *map(str, one['loc'])])}: {one['msg']}" for one in error.errors()]
        raise ConfigurationError("; ".join(complaints)) from error
    for one in written["inputs"].values():
        one.setdefault("minOccurs", 1)
        one.setdefault("maxOccurs", 1)
    return described | written


def _corrected(described: Any) -> Any:
    """``type: bool`` is what pygeoapi's own examples once taught (pygeoapi#2316), and 0.9 let it pass."""
    if not isinstance(described, Mapping):
        return described
    schema = described.get("schema")
    if isinstance(schema, Mapping) and schema.get("type") == "bool":
        return {**described, "schema": {**schema, "type": "boolean"}}
    return dict(described)


def flow_arguments(process_id: str, job_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """
    What a flow that was written for 0.9 is called with.

    Args:
        process_id: Its ``processor_id``.
        job_id: Its ``pygeoapi_job_id``.
        request: The execute request.
    """
    outputs = request.get("outputs") or {}
    if not isinstance(outputs, Mapping):
        outputs = {name: {} for name in outputs}
    return {
        "processor_id": process_id,
        "pygeoapi_job_id": job_id,
        "inputs": dict(request.get("inputs") or {}),
        "outputs": dict(outputs),
    }


def flow_run_of_job(process_id: str, job_id: str, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """
    Name and parameters of the flow run of a job.

    The name is that of 0.9: templates of result keys and names in flows depend on it. The inputs are whole, and
    everybody who sees Prefect sees them.

    Raises:
        InvalidInputsError: An input is secret, or they are larger than Prefect takes.
    """
    inputs = request.get("inputs") or {}
    if secrets := [name for name in request.get("secret_inputs") or () if name in inputs]:
        raise InvalidInputsError(
            f"Process {process_id!r} has secret inputs, and its deployment would show them in Prefect. Declare its "
            "flow with processor.prefect.flow and deploy it with `pygeoapi plugins prefect deploy`.",
            user_msg=f"This process cannot take secret inputs: {', '.join(secrets)}.",
        )
    parameters = flow_arguments(process_id, job_id, request)
    size = len(json.dumps(parameters).encode())
    if size > MAX_PARAMETER_BYTES:
        raise InvalidInputsError(
            user_msg=f"The inputs take {size} bytes, and this process takes {MAX_PARAMETER_BYTES} at most. Give large "
            "ones as links.",
        )
    return f"pygeoapi_job_{job_id}", parameters
