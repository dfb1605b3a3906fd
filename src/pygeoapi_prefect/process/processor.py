"""Makes processors, the same way in web processes and in pool workers."""

from collections.abc import Mapping
from typing import Any

from pygeoapi.plugin import load_plugin
from pygeoapi.process.base import BaseProcessor


def load_processor(resource: Mapping[str, Any]) -> BaseProcessor:
    """
    Make a processor as pygeoapi's ``BaseManager.get_processor`` does.

    Args:
        resource: The process's entry under ``resources`` of the configuration.

    Raises:
        Exception: Whatever the processor's module and constructor raise.
    """
    processor = load_plugin("process", resource["processor"])
    processor.allow_internal_requests = resource.get("allow_internal_requests", False)
    return processor
