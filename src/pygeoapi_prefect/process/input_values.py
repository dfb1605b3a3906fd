"""From the inputs of a job's execute request to what its process computes with."""

from collections.abc import Mapping
from typing import Any

from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.schemas import ExecuteRequest
from pygeoapi_prefect.schemas.execution import InputValue
from pygeoapi_prefect.validation import RequestValidator


def input_values(order: JobOrder, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """
    The values by input id: qualified ones unwrapped.

    Args:
        order: The job.
        metadata: The process description.

    Raises:
        InvalidInputsError: A value does not fit.
    """
    validator = RequestValidator(order.process_id, metadata, strict=order.settings.validate_inputs)
    return validator.values(order.inputs, fetch=None)


def execute_request(order: JobOrder, metadata: Mapping[str, Any]) -> ExecuteRequest:
    """
    The request as flows see it that want it whole: inputs keep their kind where its ``root`` is the value.

    Args:
        order: The job.
        metadata: The process description.

    Raises:
        InvalidInputsError: A value does not fit.
    """
    sent = {key: value for key, value in order.request.items() if key != "secret_inputs" and value is not None}
    request = ExecuteRequest.model_validate(sent)
    values = input_values(order, metadata)
    inputs = {
        name: kind if kind.root == values[name] else InputValue(values[name]) for name, kind in request.inputs.items()
    }
    return request.model_copy(update={"inputs": inputs})
