"""The inputs of a process: the parameters of a function, and the way from JSON to them."""

import inspect
import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.process.json_form import NO_JSON_FORM, JsonForm, RecursiveTypeError, subschemas, without_metadata

_PATH_FORMATS: Final = frozenset({"path", "file-path", "directory-path"})

_QUOTES_NOTHING: Final = frozenset(
    {
        *("missing", "string_type", "string_too_short", "string_too_long", "string_pattern_mismatch"),
        *("bytes_type", "bytes_too_short", "bytes_too_long", "list_type", "dict_type", "too_short", "too_long"),
    }
)
"""Kinds of pydantic errors whose text comes from the type alone, so that secrets' may be told."""


class Input:
    """
    One parameter as an input.

    A list is one array: its schema says ``array`` and ``maxOccurs`` stays 1. So the array itself is the value, and an
    array of one item is never taken for the item.

    Args:
        parameter: Of the function.
        annotation: Its resolved annotation; ``Any`` where there is none.
        documented: What the function's docstring says of it.

    Attributes:
        name: Of the parameter.
        input_id: The name, or the alias in its ``Field``.
        description: As OGC's ``inputDescription.yaml``.
        is_required: Whether it has no default.

    Raises:
        ConfigurationError: The parameter cannot be an input.
    """

    def __init__(self, parameter: inspect.Parameter, annotation: Any, documented: str | None) -> None:
        self.name = parameter.name
        in_signature = parameter.default
        if isinstance(in_signature, FieldInfo):
            annotation = Annotated[annotation, in_signature]
        _, metadata = without_metadata(annotation)
        fields = [one for one in metadata if isinstance(one, FieldInfo) and not one.is_required()]
        is_own = in_signature is not inspect.Parameter.empty and not isinstance(in_signature, FieldInfo)
        self._filled_in = fields[-1] if fields and not is_own else None
        self.is_required = not is_own and not fields
        try:
            self._form = JsonForm(annotation, "validation", self.name)
        except RecursiveTypeError as error:
            raise ConfigurationError(f"{error}, which OGC's schemas cannot express. Take a dict instead.") from error
        except NO_JSON_FORM as error:
            raise ConfigurationError(
                f"{shown(annotation)} cannot be made from JSON ({str(error).splitlines()[0]}). Take a type that can: "
                "a number, str, bytes, list, dict, a dataclass, a pydantic model, or one of pygeoapi_prefect's types."
            ) from error
        if any(part.get("format") in _PATH_FORMATS for part in subschemas(self._form.schema)):
            raise ConfigurationError(
                "a path would let clients name files of the server. Take bytes for content, or pydantic.AnyUrl."
            )
        self.input_id = self._form.key
        self.description = self._describe(documented)
        if is_own:
            self._show_default(annotation, in_signature)
        elif self._filled_in is not None and self._filled_in.default_factory is None:
            self._show_default(annotation, self._filled_in.default)

    def _describe(self, documented: str | None) -> dict[str, Any]:
        described: dict[str, Any] = {"title": self._form.title or title_of(self.name)}
        if description := self._form.description or documented:
            described["description"] = description
        return {
            **described,
            **self._form.described,
            "schema": self._form.schema,
            "minOccurs": int(self.is_required),
            "maxOccurs": 1,
        }

    def _show_default(self, annotation: Any, default: Any) -> None:
        if self._form.is_secret:
            return
        try:
            self.description["schema"]["default"] = JsonForm(annotation, "serialization").to_json(default)
        except (*NO_JSON_FORM, ValueError):
            return  # a default without a JSON form is the function's own matter

    def fill_in(self, arguments: dict[str, Any]) -> None:
        """Add the default that stands in a ``Field``, where a plain call of the function does not find it."""
        if self._filled_in is not None:
            arguments[self.name] = self._filled_in.get_default(call_default_factory=True, validated_data={})

    def parse(self, value: Any) -> tuple[Any, list[str]]:
        """
        Make the argument.

        Args:
            value: As ``json.loads`` gave it, without OGC's qualifiers.

        Returns:
            The argument, and the violations: texts for the client that name the input. One of the two is empty.
        """
        try:
            text = json.dumps(value, allow_nan=False)
        except (ValueError, RecursionError):
            return None, [f"Input {self.input_id!r} holds a number that is not finite, or is nested too deeply."]
        try:
            return self._form.from_json(text), []
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False, include_context=False)
        # 1.0 is an integer to JSON Schema, but not to pydantic
        whole = json.dumps(json.loads(text, parse_float=_number))
        if whole != text:
            try:
                return self._form.from_json(whole), []
            except ValidationError as error:
                errors = error.errors(include_url=False, include_input=False, include_context=False)
        return None, list(self._violations(value, errors))

    def _violations(self, value: Any, errors: Sequence[ErrorDetails]) -> Iterator[str]:
        texts: dict[str, list[str]] = {}
        for error in errors:
            text = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            if self._form.is_secret and error["type"] not in _QUOTES_NOTHING:
                text = "it does not fit its schema"
            texts_there = texts.setdefault(_path(value, error["loc"][1:]), [])
            if text not in texts_there:
                texts_there.append(text)
        for path, texts_there in texts.items():
            where = f"Input {self.input_id!r}" + (f" at {path}" if path else "")
            yield f"{where}: {' / '.join(texts_there).rstrip('.')}."


def title_of(name: str) -> str:
    """``max_cloud_cover`` → ``Max cloud cover``."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def shown(annotation: Any) -> str:
    """An annotation as its author wrote it, more or less."""
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)


def _number(literal: str) -> int | float:
    number = float(literal)
    return int(number) if number.is_integer() and abs(number) <= 2**53 else number


def _path(value: Any, location: Sequence[int | str]) -> str:
    """The location in the value, without the names that pydantic gives to the branches of unions."""
    steps: list[str] = []
    for index, step in enumerate(location):
        is_item = isinstance(value, list) and isinstance(step, int)
        is_member = isinstance(value, dict) and step in value
        is_missing = isinstance(value, dict | list) and index == len(location) - 1 and step != "[key]"
        if is_item or is_member or is_missing:
            steps.append(str(step))
        if is_item:
            value = value[step] if step < len(value) else None  # type: ignore[operator]
        elif is_member:
            value = value[step]
    return "/".join(steps)
