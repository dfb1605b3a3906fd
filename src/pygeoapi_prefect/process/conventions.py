"""
How flows are called, and what they return.

A flow is recognised by its parameters: those of the contract of ``BasePrefectProcessor``, those of 0.9, or any others,
which are then the inputs of the process.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.process.description import FunctionSignature
from pygeoapi_prefect.process.foreign import PARAMETERS, flow_arguments
from pygeoapi_prefect.process.input_values import execute_request, input_values
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.results import ResultStore, outputs_manifest, store_value
from pygeoapi_prefect.results.blocks import StorageBlock, store_location
from pygeoapi_prefect.results.returns import UnusableReturnError
from pygeoapi_prefect.results.store import StoredValue
from pygeoapi_prefect.schemas import JobStatus, JobStatusInfoInternal, ProcessDescription

if TYPE_CHECKING:
    from pygeoapi_prefect.handlers.handled_job import HandledJob

CONTRACT = frozenset({"job_id", "result_storage_block", "process_description", "execution_request"})
"""Parameters of a flow that follows the contract."""


class Convention(ABC):
    """
    How a flow is called and what it returns.

    Attributes:
        needs_block: Whether the flow is told a storage block.
    """

    needs_block = False

    @abstractmethod
    def arguments(self, order: JobOrder, metadata: Mapping[str, Any], block_reference: str | None) -> dict[str, Any]:
        """
        The flow's arguments for a job.

        Args:
            order: The job.
            metadata: The process description.
            block_reference: ``<slug>/<name>`` of the storage block, where one is needed.

        Raises:
            InvalidInputsError: The inputs do not fit.
            ReferenceRefusedError: A reference leads where this server may not ask.
            ReferenceFailedError: What a reference leads to cannot be had, or is of no use.
        """

    def arguments_without(
        self, linked: Collection[str], order: JobOrder, metadata: Mapping[str, Any]
    ) -> dict[str, Any]:
        """
        Those of the arguments that are known before anything is fetched.

        Args:
            linked: The inputs that have to be fetched.
            order: The job.
            metadata: The process description.

        Raises:
            InvalidInputsError: The other inputs do not fit.
        """
        return {}

    @abstractmethod
    def store(
        self,
        returned: Any,
        order: JobOrder,
        metadata: Mapping[str, Any],
        store: ResultStore,
        block: StorageBlock | None,
        handled: "HandledJob | None" = None,
    ) -> dict[str, Any]:
        """
        Store what the flow returned, as the handlers of *handled* change it; the manifest.

        Raises:
            UnusableReturnError: It returned something else than it should.
            ResultStoreError: The store cannot be written.
            Exception: Whatever a handler raises.
        """


class ContractConvention(Convention):
    """The flow stores its outputs in a storage block, and returns where."""

    needs_block = True

    def arguments(self, order: JobOrder, metadata: Mapping[str, Any], block_reference: str | None) -> dict[str, Any]:
        return {
            "job_id": order.job_id,
            "result_storage_block": block_reference,
            "process_description": ProcessDescription.model_validate(metadata),
            "execution_request": execute_request(order, metadata),
        }

    def store(
        self,
        returned: Any,
        order: JobOrder,
        metadata: Mapping[str, Any],
        store: ResultStore,
        block: StorageBlock | None,
        handled: "HandledJob | None" = None,
    ) -> dict[str, Any]:
        if not isinstance(returned, JobStatusInfoInternal):
            raise UnusableReturnError(
                msg=f"The flow returned a {type(returned).__name__}. Return a pygeoapi_prefect.schemas."
                "JobStatusInfoInternal with generated_outputs.",
                user_msg="The process did not return a status.",
            )
        if returned.status is not JobStatus.SUCCESSFUL:
            raise UnusableReturnError(
                user_msg=returned.message or f"The process ended with the status {returned.status.value}."
            )
        outputs = returned.generated_outputs or {}
        if missing := [name for name in _required(order, metadata) if name not in outputs]:
            raise UnusableReturnError(
                msg=f"The flow returned no {', '.join(missing)}. Add every declared output to generated_outputs.",
                user_msg=f"The process did not produce the declared outputs: {', '.join(missing)}.",
            )

        def stored(name: str, media_type: str, location: str) -> StoredValue:
            if handled is not None:
                values = handled.values_of(name, {"href": location, "mediaType": media_type})
                if "href" not in values:
                    return store_value(store, order.folder, name, *handled.left_in(name, values))
                media_type, location = str(values["mediaType"]), str(values["href"])
            return store_location(store, order.job_id, order.folder, name, media_type, location, block)

        return outputs_manifest(
            {
                name: stored(name, output.media_type or "application/octet-stream", output.location)
                for name, output in outputs.items()
            }
        )


def _required(order: JobOrder, metadata: Mapping[str, Any]) -> list[str]:
    """The outputs that were asked for; all that are declared where none were."""
    declared = list(metadata.get("outputs") or {})
    wanted = order.request.get("outputs") or ()
    return [name for name in declared if name in wanted] or declared


class TypedConvention(Convention):
    """The flow's parameters are the inputs, and what it returns the outputs."""

    def __init__(self, signature: FunctionSignature) -> None:
        self.signature = signature

    def arguments(self, order: JobOrder, metadata: Mapping[str, Any], block_reference: str | None) -> dict[str, Any]:
        return self.signature.arguments(input_values(order, metadata))

    def arguments_without(
        self, linked: Collection[str], order: JobOrder, metadata: Mapping[str, Any]
    ) -> dict[str, Any]:
        return self.signature.arguments(input_values(order, metadata, but=linked), awaited=linked)

    def store(
        self,
        returned: Any,
        order: JobOrder,
        metadata: Mapping[str, Any],
        store: ResultStore,
        block: StorageBlock | None,
        handled: "HandledJob | None" = None,
    ) -> dict[str, Any]:
        def stored(name: str, media_type: str, value: Any) -> StoredValue:
            if handled is not None:
                media_type, value = handled.output(name, media_type, value)
            return store_value(store, order.folder, name, media_type, value)

        outputs = self.signature.outputs_of(returned)
        return outputs_manifest(
            {name: stored(name, output.media_type, output.value) for name, output in outputs.items()}
        )


class PersistingConvention(Convention):
    """
    The flow was written for 0.9: it takes the inputs as one mapping, and its result is ``(media type, value)``.

    Either it returns that, or a task of it persists that in Prefect's result storage.
    """

    def arguments(self, order: JobOrder, metadata: Mapping[str, Any], block_reference: str | None) -> dict[str, Any]:
        request = {**order.request, "inputs": input_values(order, metadata)}
        return flow_arguments(order.process_id, order.job_id, request)

    def store(
        self,
        returned: Any,
        order: JobOrder,
        metadata: Mapping[str, Any],
        store: ResultStore,
        block: StorageBlock | None,
        handled: "HandledJob | None" = None,
    ) -> dict[str, Any]:
        # it imports Prefect, which whoever only describes the process does without
        from pygeoapi_prefect.process.persisted import is_pair, read_in_flow_run, store_persisted

        result = returned if is_pair(returned) else read_in_flow_run(order)
        return dict(store_persisted(result, metadata, order, store, handled))


# processors are made anew for each request, and for each job
_signature = cache(FunctionSignature)


def convention_of(flow: Any) -> Convention:
    """
    Recognise a flow by its parameters.

    Raises:
        ConfigurationError: The flow follows the contract but for a point, or its signature cannot be described.
    """
    function = flow.fn
    parameters = set(inspect.signature(function).parameters)
    if parameters >= PARAMETERS:
        return PersistingConvention()
    if not parameters >= CONTRACT:
        if "execution_request" in parameters or "result_storage_block" in parameters:
            raise ConfigurationError(
                f"Flow {flow.name!r} takes some parameters of the contract, but not {sorted(CONTRACT - parameters)}"
            )
        return TypedConvention(_signature(function))
    if flow.persist_result is not True:
        raise ConfigurationError(
            f"Flow {flow.name!r} must persist its result: decorate it with @flow(persist_result=True)"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"Flow {flow.name!r} is a generator, which has no single result")
    return ContractConvention()
