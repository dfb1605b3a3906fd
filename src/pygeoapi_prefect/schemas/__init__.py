"""
The standard's models, named as OGC API - Processes - Part 1: Core 1.0 (OGC 18-062r2) names them.

================  ==========================================================
module            holds
================  ==========================================================
``codes``         code lists: statuses, job control options …
``model``         the base of all models: how they are read and written
``descriptions``  :class:`ProcessDescription` and its parts
``execution``     :class:`ExecuteRequest` and the kinds of input values
``status``        :class:`StatusInfo`, and what flows return
``problems``      problem documents
``media_types``   media types as descriptions, requests and responses write them
================  ==========================================================

Models are imported when they are first used: the job store and the command line need the code lists alone, which
cost no import of pydantic.
"""

from typing import TYPE_CHECKING, Any

from pygeoapi_prefect.schemas.codes import (
    JobControlOption,
    JobStatus,
    ProcessIOType,
    ProcessJobControlOption,
    ResponseForm,
    TransmissionMode,
)

if TYPE_CHECKING:
    from pygeoapi_prefect.schemas.descriptions import (
        AdditionalParameter,
        AdditionalParameters,
        Link,
        Metadata,
        ProcessDescription,
        ProcessInput,
        ProcessIOSchema,
        ProcessOutput,
    )
    from pygeoapi_prefect.schemas.execution import (
        BoundingBox,
        ExecuteRequest,
        ExecutionFormat,
        ExecutionInput,
        ExecutionOutput,
        InputReference,
        InputValue,
        InputValueList,
        QualifiedInputValue,
        Subscriber,
    )
    from pygeoapi_prefect.schemas.status import JobStatusInfoInternal, OutputExecutionResultInternal, StatusInfo

__all__ = [
    "AdditionalParameter",
    "AdditionalParameters",
    "BoundingBox",
    "ExecuteRequest",
    "ExecutionFormat",
    "ExecutionInput",
    "ExecutionOutput",
    "InputReference",
    "InputValue",
    "InputValueList",
    "JobControlOption",
    "JobStatus",
    "JobStatusInfoInternal",
    "Link",
    "Metadata",
    "OutputExecutionResultInternal",
    "ProcessDescription",
    "ProcessIOSchema",
    "ProcessIOType",
    "ProcessInput",
    "ProcessJobControlOption",
    "ProcessOutput",
    "QualifiedInputValue",
    "ResponseForm",
    "StatusInfo",
    "Subscriber",
    "TransmissionMode",
]

_HOMES = {
    "AdditionalParameter": "descriptions",
    "AdditionalParameters": "descriptions",
    "BoundingBox": "execution",
    "ExecuteRequest": "execution",
    "ExecutionFormat": "execution",
    "ExecutionInput": "execution",
    "ExecutionOutput": "execution",
    "InputReference": "execution",
    "InputValue": "execution",
    "InputValueList": "execution",
    "JobStatusInfoInternal": "status",
    "Link": "descriptions",
    "Metadata": "descriptions",
    "OutputExecutionResultInternal": "status",
    "ProcessDescription": "descriptions",
    "ProcessIOSchema": "descriptions",
    "ProcessInput": "descriptions",
    "ProcessOutput": "descriptions",
    "QualifiedInputValue": "execution",
    "StatusInfo": "status",
    "Subscriber": "execution",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
