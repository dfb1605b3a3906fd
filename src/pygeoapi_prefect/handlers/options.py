"""Options of handlers: each class of a hierarchy declares its own, and they are held against the configuration."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict, RootModel, model_validator

from pygeoapi_prefect.settings.section import Section


class HandlerOptions(Section):
    """What one class of a handler takes of its options."""

    @classmethod
    def of(cls, options: Mapping[str, Any], yaml_key: str = "options") -> Self:
        """
        This class's options; those of other classes of the hierarchy are passed over.

        Raises:
            ConfigurationError: Names each offending key.
        """
        return cls.parse({name: value for name, value in options.items() if name in cls.model_fields}, yaml_key)


class Range(RootModel[tuple[float | None, float | None]]):
    """Least and greatest number, written ``[0, 90]``; null for no limit on that side."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        least, greatest = self.root
        if least is not None and greatest is not None and least > greatest:
            raise ValueError("the least number must come first")
        return self

    def holds(self, number: float) -> bool:
        """Whether it is neither less nor more."""
        least, greatest = self.root
        return (least is None or number >= least) and (greatest is None or number <= greatest)

    def __str__(self) -> str:
        least, greatest = self.root
        sides = (
            f"{words} {side:.12g}" for words, side in (("at least", least), ("at most", greatest)) if side is not None
        )
        return " and ".join(sides)


class CommonOptions(HandlerOptions):
    """
    Of :class:`pygeoapi_prefect.handlers.CommonExecutionHandler`.

    Attributes:
        pod_env_vars: Environment variables of each job; null leaves one out.
        pod_node_selector: Labels of the Kubernetes nodes that jobs may run on.
        additional_parameters: For the handlers' ``conf["additional_parameters"]``.
    """

    pod_env_vars: Mapping[str, Any] | None = None
    pod_node_selector: Mapping[str, Any] | None = None
    additional_parameters: Mapping[str, Any] | None = None


def declared_options(kind: type) -> type[HandlerOptions]:
    """
    The options of a handler class and of its parents, as one.

    A class that declares none of its own may read any: what nobody has declared is then no typing error.
    """
    declared = tuple(dict.fromkeys(vars(one)["own_options"] for one in kind.__mro__ if "own_options" in vars(one)))
    unknown = ConfigDict(extra="forbid" if "own_options" in vars(kind) else "ignore")
    together: type[HandlerOptions] = type("Options", declared, {"__module__": __name__, "model_config": unknown})
    return together
