"""Processors whose work is a Prefect flow."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pygeoapi.process.base import BaseProcessor, ProcessorExecuteError

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.process.conventions import Convention, PersistingConvention, TypedConvention, convention_of
from pygeoapi_prefect.process.description import describe, overridden
from pygeoapi_prefect.process.foreign import describe_by_metadata
from pygeoapi_prefect.schemas import ProcessDescription


class _Unbound:
    """
    Hands out a flow as it is.

    A Prefect flow is a descriptor: read through an instance it binds itself to it, for the whole process and for good,
    and every later call of it fails.
    """

    def __init__(self, flow: Any) -> None:
        self._flow = flow

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self._flow


class BasePrefectProcessor(BaseProcessor):
    """
    Base of processors whose work is a Prefect flow.

    A subclass has the class variables below. Its flow either follows the contract (it takes ``job_id``,
    ``result_storage_block``, ``process_description`` and ``execution_request``, has ``persist_result=True``, and
    returns a :class:`~pygeoapi_prefect.schemas.JobStatusInfoInternal`), or was written for 0.9, or is any typed flow.

    Attributes:
        process_flow: The flow.
        process_description: Of the process; its ``id`` is the key of the process in the configuration. None: made from
            the signature of a typed flow.
        flow: The flow, as the instance has it.
        convention: How the flow is called.
        undescribed: ``inputs`` and ``outputs``, as far as nobody has described any of a flow that was written for 0.9.
    """

    process_flow: ClassVar[Any] = None
    process_description: ClassVar[ProcessDescription | None] = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        flow = cls.__dict__.get("process_flow")
        if flow is not None and not isinstance(flow, _Unbound):
            cls.process_flow = _Unbound(flow)

    def __init__(self, processor_def: Mapping[str, Any]) -> None:
        """
        Args:
            processor_def: The process's ``processor`` section, and ``process_id`` where our manager makes it.

        Raises:
            ConfigurationError: The flow or the description breaks the contract; names the remedy.
        """
        flow = self.flow_of(processor_def)
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        if not callable(getattr(flow, "fn", None)):
            raise ConfigurationError(f"{name}.process_flow must be a function decorated with @prefect.flow")
        self.flow = flow
        self.convention: Convention = convention_of(flow)
        metadata = (processor_def.get("prefect") or {}).get("metadata")
        described = self._metadata(name, processor_def.get("process_id"), metadata)
        # pygeoapi's OpenAPI document and HTML pages need these
        needed = {"description": described.get("title") or described["id"], "keywords": [], "links": []}
        super().__init__(processor_def, needed | described)
        self.supports_outputs = True
        is_old = isinstance(self.convention, PersistingConvention)
        self.undescribed = {part for part in ("inputs", "outputs") if is_old and not described.get(part)}

    def flow_of(self, processor_def: Mapping[str, Any]) -> Any:
        """The flow of this processor: the class's own."""
        return type(self).process_flow

    def _metadata(self, name: str, process_id: str | None, overrides: Mapping[str, Any] | None) -> dict[str, Any]:
        description = self.process_description
        if description is not None:
            if process_id is not None and description.id != process_id:
                raise ConfigurationError(
                    f"{name}.process_description.id is {description.id!r}, but the process is configured as "
                    f"resources.{process_id}. Both must be the same."
                )
            return overridden(description.to_ogc(), overrides or {}) | {"id": description.id}
        if isinstance(self.convention, PersistingConvention) and overrides:
            options = ["sync-execute", "async-execute", "dismiss"]
            return describe_by_metadata(process_id or str(self.flow.name), overrides, options)
        if isinstance(self.convention, PersistingConvention):
            raise ConfigurationError(
                f"resources.{process_id or '<id>'}.processor.prefect.metadata is missing: the inputs of flow "
                f"{self.flow.name!r} cannot be read from its signature"
            )
        if not isinstance(self.convention, TypedConvention):
            raise ConfigurationError(f"{name} needs the class variable process_description, a ProcessDescription")
        chosen = process_id or str(self.flow.name)
        return describe(chosen, self.convention.signature, overrides, version=self.flow.version)

    def execute(self, data: dict[str, Any], outputs: Any = None) -> tuple[Any, Any]:
        """Refused: the flow runs through our manager only."""
        raise ProcessorExecuteError(
            f"Process {self.metadata['id']!r} is a Prefect flow: set server.manager.name to "
            "pygeoapi_prefect.PrefectManager"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}> {self.metadata['id']}"
