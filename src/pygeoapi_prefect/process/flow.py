"""Any typed flow as a process, declared by the configuration alone."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.process.base import BasePrefectProcessor


class FlowProcessor(BasePrefectProcessor):
    """
    The flow that ``processor.prefect.flow`` names.

    ::

        processor:
          name: pygeoapi_prefect.FlowProcessor
          prefect:
            flow: my_package.flows:ndvi
    """

    def flow_of(self, processor_def: Mapping[str, Any]) -> Any:
        """
        Import the flow.

        Raises:
            ConfigurationError: It is not named, or there is no such thing in its module.
            Exception: Whatever importing its module raises.
        """
        key = f"resources.{processor_def.get('process_id', '<id>')}.processor.prefect.flow"
        reference = (processor_def.get("prefect") or {}).get("flow")
        if not reference:
            raise ConfigurationError(f"{key} is missing: package.module:flow")
        module_name, _, name = str(reference).partition(":")
        module = import_module(module_name)
        flow = getattr(module, name, None)
        if flow is None:
            raise ConfigurationError(f"{key}: module {module_name} has no {name!r}")
        if not callable(getattr(flow, "fn", None)):
            raise ConfigurationError(f"{key}: {reference} is no flow. Decorate it with @prefect.flow.")
        return flow
