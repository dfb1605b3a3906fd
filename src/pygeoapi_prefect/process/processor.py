"""Makes processors, the same way in web processes, in pool workers and in deployments."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pygeoapi.plugin import load_plugin
from pygeoapi.process.base import BaseProcessor

from pygeoapi_prefect.process.foreign import ForeignProcessor
from pygeoapi_prefect.settings import ProcessSettings, job_control_options, process_settings
from pygeoapi_prefect.validation import hiding_inputs

LOGGER = logging.getLogger(__name__)


def load_processor(
    process_id: str, resource: Mapping[str, Any], *, default_options: Sequence[str] | None = None
) -> BaseProcessor:
    """
    Make a processor as pygeoapi's ``BaseManager.get_processor`` does; it finds its *process_id* in its definition.

    Of a deployment that somebody else made no code is imported: it may not be importable here.

    Args:
        process_id: Key of the process in the configuration.
        resource: Its entry under ``resources``; its ``processor.job_control_options`` replace those of the description.
        default_options: Job control options that replace those of the description where the process has none of its
            own in the configuration; None: none do.

    Raises:
        ConfigurationError: A handler of the process cannot be imported, or is none.
        Exception: Whatever the processor's module and constructor raise.
    """
    definition = {**resource["processor"], "process_id": process_id}
    settings = process_settings(process_id, resource)
    if settings.handlers:
        # others do without the package
        from pygeoapi_prefect.handlers.loading import load_handlers

        load_handlers(process_id, settings.handlers)
    if settings.is_foreign:
        processor: BaseProcessor = ForeignProcessor(definition)
    else:
        processor = load_plugin("process", definition)
    if settings.secret_inputs:
        processor.metadata = hiding_inputs(process_id, processor.metadata, settings.secret_inputs)
    options = job_control_options(process_id, resource) or default_options
    if options is not None:
        # a new dictionary: the processor's may be its module's, shared by all processes of the class
        processor.metadata = {**processor.metadata, "jobControlOptions": list(options)}
    processor.allow_internal_requests = resource.get("allow_internal_requests", False)
    return processor


def needs_access_token(process_id: str, settings: ProcessSettings) -> bool:
    """Whether the access token of who submits a job of the process is kept for one of its handlers."""
    if not settings.handlers:
        return False
    from pygeoapi_prefect.handlers.loading import load_handlers

    classes = load_handlers(process_id, settings.handlers)
    return any(
        handler.needs_access_token or kind.needs_access_token
        for handler, kind in zip(settings.handlers, classes, strict=True)
    )


def is_flow(processor: BaseProcessor) -> bool:
    """Whether the processor's work is a Prefect flow. Imports nothing: a processor that is none never needs Prefect."""
    return hasattr(processor, "convention") and hasattr(processor, "flow")


def requests_described(processor: BaseProcessor) -> dict[str, Any]:
    """
    The description that requests are held against.

    It lacks ``inputs`` and ``outputs`` where nobody has described any: pygeoapi itself needs the keys, so they are
    there, and empty.
    """
    undescribed = getattr(processor, "undescribed", ())
    return {key: value for key, value in processor.metadata.items() if key not in undescribed}


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
