"""The handler that others extend."""

from collections.abc import Mapping, MutableMapping
from typing import Any, ClassVar

from pygeoapi_prefect.handlers.contract import ExecutionHandler
from pygeoapi_prefect.handlers.options import CommonOptions, HandlerOptions, declared_options

VALUES_SET = "_values_set"
"""
In an instance's dictionary, by output id: what :meth:`CommonExecutionHandler.setOutput` was called with, and once all
handlers have had the output, what is stored of it.
"""


class CommonExecutionHandler(ExecutionHandler):
    """
    A handler whose hooks do nothing, and whose answers come from its options.

    Options: ``pod_env_vars``, ``pod_node_selector`` and ``additional_parameters``, each a mapping.

    Args:
        conf: As :class:`~pygeoapi_prefect.handlers.contract.ExecutionHandler` has it.
        outputs: Likewise; None: none.

    Attributes:
        own_options: The options that the class takes beside those of its parents. Where a class declares them, every
            other option is refused.
    """

    own_options: ClassVar[type[HandlerOptions]] = CommonOptions

    def __init__(self, conf: dict[str, Any], outputs: dict[str, Any] | None = None) -> None:
        self.conf = conf
        self.outputs = {} if outputs is None else outputs

    @classmethod
    def check_options(cls, options: Mapping[str, Any], yaml_key: str) -> None:
        """Hold the options against :attr:`own_options` of all classes of the hierarchy."""
        declared_options(cls).parse(options, yaml_key)

    def setOutput(self, outputName: str, values: MutableMapping[str, Any]) -> None:  # noqa: N802, N803 ZOO's names
        """As the contract says; *values* may be another mapping than the caller was given, and is what is stored."""
        # a class may do without this one's __init__
        self.__dict__.setdefault(VALUES_SET, {})[outputName] = values

    def get_pod_env_vars(self) -> dict[str, Any]:
        return self._option("pod_env_vars")

    def get_pod_node_selector(self) -> dict[str, str]:
        return self._option("pod_node_selector")

    def get_additional_parameters(self) -> dict[str, Any]:
        return self._option("additional_parameters")

    def _option(self, name: str) -> dict[str, Any]:
        values: Mapping[str, Any] = self.options.get(name) or {}
        return dict(values)
