"""The outputs of a process: what a function's return annotation declares, and what its return then holds."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Annotated, Any, Final, NotRequired, Required, get_origin, get_type_hints, is_typeddict

import docstring_parser
from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.process.inputs import shown, title_of
from pygeoapi_prefect.process.json_form import NO_JSON_FORM, RecursiveTypeError, without_metadata
from pygeoapi_prefect.process.output_kinds import Output, UnusableOutputError, arms_of, is_geojson, kind_of
from pygeoapi_prefect.process.types import SingleOutput

ONLY_OUTPUT: Final = "result"
"""Id of the output of a process that has one without a name."""


class DeclaredOutput:
    """
    One output that an annotation declares.

    Args:
        output_id: Its id.
        annotation: With its ``Annotated`` metadata.
        title: Where no ``Field`` has one.
        documented: A description where no ``Field`` has one.
        may_be_missing: Whether a mapping that is returned may do without it.

    Attributes:
        description: As OGC's ``outputDescription.yaml``.
        is_optional: Whether None stands for its absence.

    Raises:
        ConfigurationError: There is no way to make an output of that type.
    """

    def __init__(
        self, output_id: str, annotation: Any, *, title: str, documented: str | None, may_be_missing: bool = False
    ) -> None:
        self.output_id = output_id
        self.may_be_missing = may_be_missing
        bare, metadata = without_metadata(annotation)
        self.is_optional = NoneType in arms_of(bare) or bare in (Any, object)
        try:
            self._kind = kind_of(annotation)
        except RecursiveTypeError as error:
            raise ConfigurationError(
                f"output {output_id!r}: {error}, which OGC's schemas cannot express. Return a dict instead."
            ) from error
        except NO_JSON_FORM as error:
            raise ConfigurationError(
                f"output {output_id!r}: {shown(annotation)} is no output ({str(error).splitlines()[0]}). Return str, "
                "bytes, a pathlib.Path, a pystac object, or what JSON can hold."
            ) from error
        fields = [one for one in metadata if isinstance(one, FieldInfo)]
        self.description: dict[str, Any] = {"title": next((one.title for one in fields if one.title), title)}
        if description := next((one.description for one in fields if one.description), documented):
            self.description["description"] = description
        self.description["schema"] = self._kind.schema

    def output_of(self, value: Any) -> Output:
        """
        Raises:
            UnusableOutputError: *value* is not what the annotation says.
        """
        return self._kind.output_of(self.output_id, value)


class Outputs:
    """
    All outputs that a return annotation declares.

    None declares none. A pydantic model, a dataclass, a typed dictionary and a named tuple declare one for each field,
    unless ``SingleOutput`` marks them or they are GeoJSON. Everything else declares one, :data:`ONLY_OUTPUT`.

    Args:
        annotation: Resolved; ``Any`` where there is none.
        documented: What the function's docstring says of its return.

    Attributes:
        declared: The outputs by id.

    Raises:
        ConfigurationError: An output cannot be made of its type.
    """

    def __init__(self, annotation: Any, documented: str | None) -> None:
        bare, metadata = without_metadata(annotation)
        members = [member for member in arms_of(bare) if member is not NoneType]
        self._is_optional = NoneType in arms_of(bare)
        self._fields_of: type | None = None
        self.declared: dict[str, DeclaredOutput] = {}
        self._names: dict[str, str] = {}
        if not members:
            return
        member, inner = without_metadata(members[0])
        is_marked = any(one is SingleOutput or isinstance(one, SingleOutput) for one in [*metadata, *inner])
        if len(members) == 1 and _has_fields(member) and not is_marked and not is_geojson(member):
            self._fields_of = member
            for name, output in _outputs_of_fields(member):
                self._names[output.output_id] = name
                self.declared[output.output_id] = output
        else:
            only = DeclaredOutput(ONLY_OUTPUT, annotation, title=title_of(ONLY_OUTPUT), documented=documented)
            self.declared[ONLY_OUTPUT] = only

    def outputs_of(self, returned: Any) -> dict[str, Output]:
        """
        What a return holds, by output id; what is None is absent, where it may be.

        Where the fields of a class are the outputs, a mapping with their ids or names does as well.

        Raises:
            UnusableOutputError: The return does not fit.
        """
        if not self.declared or (returned is None and self._is_optional):
            if returned is not None:
                raise UnusableOutputError(
                    user_msg=f"The process returned a {type(returned).__name__}, but declares no output. Annotate it."
                )
            return {}
        values = {ONLY_OUTPUT: returned} if self._fields_of is None else self._values_of_fields(returned)
        outputs = {}
        for output_id, value in values.items():
            declared = self.declared[output_id]
            if value is None and declared.is_optional:
                continue
            outputs[output_id] = declared.output_of(value)
        return outputs

    def _values_of_fields(self, returned: Any) -> dict[str, Any]:
        assert self._fields_of is not None
        if isinstance(returned, Mapping):
            by_name = {name: output_id for output_id, name in self._names.items()}
            values = {str(by_name.get(key, key)): value for key, value in returned.items()}
        elif not is_typeddict(self._fields_of) and isinstance(returned, self._fields_of):
            return {output_id: getattr(returned, name) for output_id, name in self._names.items()}
        else:
            raise UnusableOutputError(
                user_msg=f"The process returned a {type(returned).__name__}, not a {self._fields_of.__name__} with its "
                f"outputs {', '.join(self.declared)}."
            )
        if missing := [key for key, one in self.declared.items() if key not in values and not one.may_be_missing]:
            raise UnusableOutputError(user_msg=f"The process did not return its output {', '.join(missing)}.")
        if unknown := [key for key in values if key not in self.declared]:
            raise UnusableOutputError(
                user_msg=f"The process returned {', '.join(unknown)}. Its outputs are {', '.join(self.declared)}."
            )
        return values


def _has_fields(bare: Any) -> bool:
    if not isinstance(bare, type) or get_origin(bare) is not None:
        return False
    if issubclass(bare, BaseModel):
        return not issubclass(bare, RootModel)
    return (
        dataclasses.is_dataclass(bare) or is_typeddict(bare) or (issubclass(bare, tuple) and hasattr(bare, "_fields"))
    )


def _outputs_of_fields(kind: type) -> Iterator[tuple[str, DeclaredOutput]]:
    """The names of a class's fields and the outputs that they declare."""
    documented = {one.arg_name: one.description for one in docstring_parser.parse(inspect.getdoc(kind) or "").params}
    for name, output_id, annotation, may_be_missing in _fields_of(kind):
        yield (
            name,
            DeclaredOutput(
                output_id,
                annotation,
                title=title_of(name),
                documented=documented.get(name),
                may_be_missing=may_be_missing,
            ),
        )


def _fields_of(kind: type) -> Iterator[tuple[str, str, Any, bool]]:
    if issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield name, field.serialization_alias or name, Annotated[field.annotation, field], not field.is_required()
        return
    try:
        hints = get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"{kind.__name__}: {error}. Its annotations must be importable at run time."
        ) from error
    if is_typeddict(kind):
        required = kind.__required_keys__  # type: ignore[attr-defined]
        for name, hint in hints.items():
            # the class's own list is wrong under ``from __future__ import annotations``
            may_be_missing = get_origin(hint) is NotRequired or (
                get_origin(hint) is not Required and name not in required
            )
            annotation = hint.__args__[0] if get_origin(hint) in (NotRequired, Required) else hint
            yield name, name, annotation, may_be_missing
    elif dataclasses.is_dataclass(kind):
        for one in dataclasses.fields(kind):
            has_default = one.default is not dataclasses.MISSING or one.default_factory is not dataclasses.MISSING
            yield one.name, one.name, hints[one.name], has_default
    else:
        for name in kind._fields:  # type: ignore[attr-defined]
            yield name, name, hints.get(name, Any), name in kind._field_defaults  # type: ignore[attr-defined]
