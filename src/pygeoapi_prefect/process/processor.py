"""Makes processors, the same way in web processes, in pool workers and in deployments."""

import logging
from collections.abc import Mapping
from typing import Any

from pygeoapi.plugin import load_plugin
from pygeoapi.process.base import BaseProcessor

LOGGER = logging.getLogger(__name__)


def load_processor(process_id: str, resource: Mapping[str, Any]) -> BaseProcessor:
    """
    Make a processor as pygeoapi's ``BaseManager.get_processor`` does; it finds its *process_id* in its definition.

    Args:
        process_id: Key of the process in the configuration.
        resource: Its entry under ``resources``.

    Raises:
        Exception: Whatever the processor's module and constructor raise.
    """
    processor = load_plugin("process", {**resource["processor"], "process_id": process_id})
    processor.allow_internal_requests = resource.get("allow_internal_requests", False)
    return processor


def is_flow(processor: BaseProcessor) -> bool:
    """Whether the processor's work is a Prefect flow. Imports nothing: a processor that is none never needs Prefect."""
    return hasattr(processor, "convention") and hasattr(processor, "flow")


def flow_processes(resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Ids of the processes whose work is a Prefect flow. Imports every processor; those that fail are left out."""
    found = []
    for process_id, resource in resources.items():
        try:
            if is_flow(load_processor(process_id, resource)):
                found.append(process_id)
        except Exception:
            LOGGER.debug("processor cannot be loaded", extra={"process_id": process_id}, exc_info=True)
    return found
