"""From the inputs of a job's execute request to what its process computes with."""

from collections.abc import Collection, Mapping
from typing import Any

from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.process.references import fetch_for
from pygeoapi_prefect.schemas import ExecuteRequest
from pygeoapi_prefect.schemas.execution import InputValue
from pygeoapi_prefect.validation import RequestValidator

_OURS = frozenset({"secret_inputs", "has_access_token"})
"""What :meth:`~pygeoapi_prefect.jobs.records.JobSecrets.hide` has added to the request."""


def input_values(order: JobOrder, metadata: Mapping[str, Any], *, but: Collection[str] = ()) -> dict[str, Any]:
    """
    The values by input id: qualified ones unwrapped, references fetched as the process wants them.

    Args:
        order: The job.
        metadata: The process description.
        but: Inputs to leave out.

    Raises:
        InvalidInputsError: A value does not fit.
        ReferenceRefusedError: A reference leads where this server may not ask.
        ReferenceFailedError: What a reference leads to cannot be had, or is of no use.
    """
    # the path of a file is not what the schema is about
    is_checked = order.settings.validate_inputs and order.settings.references != "file"
    validator = RequestValidator(order.process_id, metadata, strict=is_checked)
    inputs = {name: value for name, value in order.inputs.items() if name not in but}
    return validator.values(inputs, fetch=fetch_for(order))


def linked_inputs(order: JobOrder) -> frozenset[str]:
    """The inputs that have to be fetched; maybe also some that only look like it, such as assets of STAC."""
    if order.settings.references == "link":
        return frozenset()
    return frozenset(name for name, value in order.inputs.items() if _may_have_link(value))


def _may_have_link(value: Any) -> bool:
    if isinstance(value, dict) and "value" in value:
        value = value["value"]
    return any(isinstance(one, dict) and "href" in one for one in (value if isinstance(value, list) else [value]))


def execute_request(order: JobOrder, metadata: Mapping[str, Any]) -> ExecuteRequest:
    """
    The request as flows see it that want it whole: inputs keep their kind where its ``root`` is the value.

    Args:
        order: The job.
        metadata: The process description.

    Raises:
        Exception: As :func:`input_values`.
    """
    sent = {key: value for key, value in order.request.items() if key not in _OURS and value is not None}
    request = ExecuteRequest.model_validate(sent)
    values = input_values(order, metadata)
    inputs = {
        name: kind if kind.root == values[name] else InputValue(values[name]) for name, kind in request.inputs.items()
    }
    return request.model_copy(update={"inputs": inputs})
