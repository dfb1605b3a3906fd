"""
Any typed function as a process: its signature is the process description.

Inputs come from the parameters, outputs from the return annotation, texts from the docstring and from
``pydantic.Field``. The function is plain Python; of a Prefect flow it is ``flow.fn``.
"""

import copy
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, get_type_hints

import docstring_parser

from pygeoapi_prefect.exceptions import ConfigurationError, InvalidInputsError, MissingJobParameterError
from pygeoapi_prefect.process.inputs import Input, title_of
from pygeoapi_prefect.process.json_form import without_metadata
from pygeoapi_prefect.process.output_kinds import Output, UnusableOutputError, arms_of
from pygeoapi_prefect.process.outputs import Outputs

__all__ = ["FunctionSignature", "Output", "UnusableOutputError", "describe"]

DEFAULT_VERSION: Final = "1.0.0"
"""Of a process that names none; OGC's ``processSummary.yaml`` requires one."""

_UNDESCRIBABLE: Final = {
    inspect.Parameter.POSITIONAL_ONLY: "inputs have names: remove the '/' from the signature",
    inspect.Parameter.VAR_POSITIONAL: "inputs have names: take a list",
    inspect.Parameter.VAR_KEYWORD: "inputs are declared: take a dict",
}


class FunctionSignature:
    """
    What a function takes and returns, in OGC's terms. Made once for each function; safe to use from many threads.

    Args:
        function: Plain or ``async``; its annotations must be importable at run time.

    Attributes:
        title: The first sentence or paragraph of the docstring, else the function's name.
        description: The rest of the docstring, without its sections.
        inputs: OGC input descriptions by input id.
        outputs: OGC output descriptions by output id.
        context_parameters: Names of the parameters that are no inputs, because their type has a true attribute
            ``__process_context__``.

    Raises:
        ConfigurationError: A parameter or the return cannot be described; the message names function and parameter.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = getattr(function, "__qualname__", repr(function))
        try:
            parameters = inspect.signature(function).parameters.values()
            hints = get_type_hints(function, include_extras=True)
        except (NameError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{self._name}: the signature cannot be read ({error}). Its annotations must be importable at run "
                "time, not only under TYPE_CHECKING."
            ) from error
        documented = _Documented(inspect.getdoc(function))
        self.title = documented.title or title_of(getattr(function, "__name__", self._name))
        self.description = documented.description
        self.context_parameters = tuple(one.name for one in parameters if _is_context(hints.get(one.name)))
        self._inputs: dict[str, Input] = {}
        for parameter in parameters:
            if parameter.name in self.context_parameters:
                continue
            made = self._input(parameter, hints.get(parameter.name, Any), documented.parameters.get(parameter.name))
            if made.input_id in self._inputs:
                raise ConfigurationError(f"{self._name}: two parameters have the alias {made.input_id!r}.")
            self._inputs[made.input_id] = made
        try:
            self._outputs = Outputs(hints.get("return", Any), documented.returns)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._name}: return annotation: {error}") from error
        self.inputs: Mapping[str, dict[str, Any]] = {key: one.description for key, one in self._inputs.items()}
        self.outputs: Mapping[str, dict[str, Any]] = {
            key: one.description for key, one in self._outputs.declared.items()
        }

    def _input(self, parameter: inspect.Parameter, annotation: Any, documented: str | None) -> Input:
        try:
            if parameter.kind in _UNDESCRIBABLE:
                raise ConfigurationError(f"{_UNDESCRIBABLE[parameter.kind]}.")
            return Input(parameter, annotation, documented)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._name}: parameter {parameter.name!r}: {error}") from error

    def arguments(self, inputs: Mapping[str, Any], *, awaited: Collection[str] = ()) -> dict[str, Any]:
        """
        Make the function's arguments by name.

        Args:
            inputs: As ``json.loads`` gave them. Qualified values are unwrapped and references resolved before.
            awaited: Inputs that are not there yet, and have no argument then.

        Returns:
            Typed values of the inputs that were given; defaults are left to the function, except those that stand in
            a ``Field``. Context parameters are left out.

        Raises:
            MissingJobParameterError: Inputs are missing and nothing else is wrong.
            InvalidInputsError: The inputs do not fit; ``user_msg`` names every violation with its input. No value is
                quoted of inputs whose schema is ``writeOnly``, nor in the error's cause.
        """
        arguments: dict[str, Any] = {}
        violations = [f"Input {key!r} is not an input of this process." for key in inputs if key not in self._inputs]
        missing = []
        for input_id, one in self._inputs.items():
            if input_id in inputs:
                argument, its_violations = one.parse(inputs[input_id])
                violations += its_violations
                arguments[one.name] = argument
            elif input_id in awaited:
                continue
            elif one.is_required:
                missing.append(f"Input {input_id!r} is missing.")
            else:
                one.fill_in(arguments)
        if violations:
            raise InvalidInputsError(user_msg=" ".join(missing + violations))
        if missing:
            raise MissingJobParameterError(user_msg=" ".join(missing))
        return arguments

    def outputs_of(self, returned: Any) -> dict[str, Output]:
        """
        What the function returned, by output id. Optional outputs that are None are absent.

        Raises:
            UnusableOutputError: The return does not fit the annotation, or cannot be an output.
        """
        return self._outputs.outputs_of(returned)


def describe(
    process_id: str,
    signature: FunctionSignature,
    metadata: Mapping[str, Any] | None = None,
    *,
    version: str | None = None,
) -> dict[str, Any]:
    """
    The whole process description, as OGC's ``process.yaml``; the caller may change it.

    Args:
        process_id: Its ``id``.
        signature: Of the function.
        metadata: Overrides any part but ``id``: objects are merged, everything else is replaced. It changes what is
            described and what requests are held against, never what the function takes.
        version: Of the process, unless *metadata* has one; else 1.0.0.

    Raises:
        ConfigurationError: *metadata* describes an input or an output that the function does not have.
    """
    metadata = metadata or {}
    for part, known in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        if unknown := sorted(set(metadata.get(part) or {}) - set(known)):
            raise ConfigurationError(
                f"metadata.{part} describes {', '.join(unknown)}. The function has {', '.join(known) or 'none'}."
            )
    described: dict[str, Any] = {"id": process_id, "title": signature.title}
    if signature.description:
        described["description"] = signature.description
    described |= {
        "version": version or DEFAULT_VERSION,
        "jobControlOptions": ["sync-execute", "async-execute", "dismiss"],
        "outputTransmission": ["value", "reference"],
        "links": [],
        "inputs": signature.inputs,
        "outputs": signature.outputs,
    }
    return overridden(described, metadata) | {"id": process_id}


def overridden(described: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A description with parts of it overridden: objects are merged, everything else is replaced. A copy."""
    merged = copy.deepcopy(dict(described))
    for key, value in metadata.items():
        is_deeper = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = overridden(merged[key], value) if is_deeper else copy.deepcopy(value)
    return merged


class _Documented:
    """A docstring in Google's, NumPy's or reST's style."""

    def __init__(self, docstring: str | None) -> None:
        parsed = docstring_parser.parse(docstring or "")
        summary, long = parsed.short_description, parsed.long_description
        if summary and long and not parsed.blank_after_short_description:
            rest, _, long = long.partition("\n\n")
            summary = f"{summary} {rest}"
        self.title = " ".join(summary.split()).removesuffix(".") if summary else None
        self.description = (long or "").strip() or None
        self.parameters = {one.arg_name: " ".join((one.description or "").split()) or None for one in parsed.params}
        self.returns: str | None = None
        if parsed.returns is not None and parsed.returns.description:
            self.returns = " ".join(parsed.returns.description.split())


def _is_context(annotation: Any) -> bool:
    return any(
        getattr(without_metadata(arm)[0], "__process_context__", False)
        for arm in arms_of(without_metadata(annotation)[0])
    )
