"""Several handlers as one."""

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from pygeoapi_prefect.handlers.common import VALUES_SET
from pygeoapi_prefect.handlers.contract import ExecutionHandler
from pygeoapi_prefect.masking import texts_in

LOGGER = logging.getLogger(__name__)


class HandlerChain:
    """
    The handlers of one job, called in their order.

    Args:
        handlers: Outermost first.
        additional_parameters: Of the ``conf`` that they share.
    """

    def __init__(
        self, handlers: Sequence[ExecutionHandler], additional_parameters: dict[str, Any] | None = None
    ) -> None:
        self._handlers = tuple(handlers)
        self._additional_parameters = {} if additional_parameters is None else additional_parameters

    def pre(self) -> None:
        """Outermost first. Afterwards the additional parameters have what each handler adds."""
        for handler in self._handlers:
            handler.pre_execution_hook()
            self._additional_parameters.update(handler.get_additional_parameters())

    def set_output(self, name: str, values: dict[str, Any]) -> Mapping[str, Any]:
        """
        ``setOutput`` of all, and then ``place_output`` of all; innermost first.

        What each leaves is what the next one gets, and at last what is stored.
        """
        current: MutableMapping[str, Any] = values
        for handler in reversed(self._handlers):
            # CommonExecutionHandler notes what reached it: a class may have given it another mapping
            reached: dict[str, MutableMapping[str, Any]] = handler.__dict__.setdefault(VALUES_SET, {})
            reached.pop(name, None)
            handler.setOutput(name, current)
            current = reached.get(name, current)
        placed = dict(current)
        for handler in reversed(self._handlers):
            handler.place_output(name, placed)
        for handler in self._handlers:
            # what outer handlers have changed, too: post hooks look into what is stored
            handler.__dict__[VALUES_SET][name] = placed
        return placed

    def post(
        self,
        log: str,
        output: Mapping[str, Any],
        usage_report: Mapping[str, float],
        tool_logs: list[dict[str, str]],
    ) -> None:
        """``post_execution_hook`` of all, and then ``handle_outputs`` of all; innermost first."""
        for handler in reversed(self._handlers):
            handler.post_execution_hook(log, output, usage_report, tool_logs)
        for handler in reversed(self._handlers):
            handler.handle_outputs(log, output, usage_report, tool_logs)

    def on_failure(self, error: Exception) -> None:
        """Innermost first; raises nothing."""
        for handler in reversed(self._handlers):
            try:
                handler.on_failure(error)
            except Exception:
                LOGGER.exception("on_failure of %s failed", type(handler).__name__)

    def pod_env_vars(self) -> dict[str, str]:
        """Of all; those of outer handlers win."""
        variables: dict[str, str] = {}
        for handler in reversed(self._handlers):
            own = handler.get_pod_env_vars()
            variables |= {name: str(value) for name, value in own.items() if value is not None}
        return variables

    def pod_node_selector(self) -> dict[str, str]:
        """Of all; those of outer handlers win."""
        labels: dict[str, str] = {}
        for handler in reversed(self._handlers):
            labels |= {str(name): str(value) for name, value in handler.get_pod_node_selector().items()}
        return labels

    def secrets(self) -> frozenset[str]:
        """The texts that nobody shall see."""
        return frozenset(text for handler in self._handlers for text in texts_in(handler.get_secrets()))
