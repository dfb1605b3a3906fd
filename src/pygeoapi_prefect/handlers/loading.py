"""The handler classes that a process names."""

import importlib
import inspect
from collections.abc import Sequence
from typing import Any

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.handlers.contract import ExecutionHandler
from pygeoapi_prefect.settings import HandlerSettings

_HOOKS = [name for name, member in vars(ExecutionHandler).items() if inspect.isfunction(member) and name[0] != "_"]


def load_handlers(process_id: str, handlers: Sequence[HandlerSettings]) -> list[type[ExecutionHandler]]:
    """
    Import the classes of a process's handlers, and let them check their options.

    Args:
        process_id: Key of the process in the configuration.
        handlers: From its settings, outermost first.

    Returns:
        The classes, in the same order.

    Raises:
        ConfigurationError: One cannot be imported, is no handler, or has wrong options; names the YAML key.
    """
    loaded = []
    for position, handler in enumerate(handlers):
        key = f"resources.{process_id}.processor.prefect.handlers.{position}"
        kind = _load(key, handler.name)
        kind.check_options(handler.options, f"{key}.options")
        loaded.append(kind)
    return loaded


def _load(yaml_key: str, dotted: str) -> type[ExecutionHandler]:
    module, _, name = dotted.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise ConfigurationError(
            f"{yaml_key}: {dotted} cannot be imported: {type(error).__name__}: {error}. Check the dotted path, and "
            "that its module is on PYTHONPATH where the job runs."
        ) from error
    if not (isinstance(found, type) and issubclass(found, ExecutionHandler)):
        raise ConfigurationError(
            f"{yaml_key}: {dotted} is no subclass of pygeoapi_prefect.handlers.CommonExecutionHandler"
        )
    if awaited := [hook for hook in _HOOKS if inspect.iscoroutinefunction(inspect.unwrap(getattr(found, hook)))]:
        raise ConfigurationError(f"{yaml_key}: {', '.join(awaited)} of {dotted} must be plain functions, not async")
    return found
