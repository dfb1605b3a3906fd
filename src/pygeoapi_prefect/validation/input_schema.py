"""One JSON Schema, compiled: what it takes, and what can be read off it."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from jsonschema import ValidationError
from referencing.exceptions import Unresolvable

from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE, essence
from pygeoapi_prefect.validation.dialect import normalised
from pygeoapi_prefect.validation.formats import FORMATS
from pygeoapi_prefect.validation.keywords import BASE64_ENCODINGS, Validator
from pygeoapi_prefect.validation.known_schemas import known_schemas
from pygeoapi_prefect.validation.plain_items import Check, plain_check

LOGGER = logging.getLogger(__name__)

_ANY_JSON: Final = "+json"
"""Among media types: all with this suffix."""

_PROBES: Final[tuple[Any, ...]] = ({}, [], "", 0, True, None)


class InputSchema:
    """
    The ``schema`` of a described input, or of an output. Compiled by its first use; safe to use from many threads.

    A schema that is broken takes every value, and is logged once: a process must not become unusable by it.
    """

    def __init__(self, schema: Any, name: str) -> None:
        """
        Args:
            schema: As in the process description.
            name: Whose schema it is, for the log.
        """
        self._schema = schema
        self._name = name
        self._told: set[str] = set()

    @cached_property
    def normalised(self) -> Any:
        """As JSON Schema 2020-12; True where it is missing or no schema."""
        try:
            schema = normalised(self._schema, self._tell)
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
            self._tell(f"it cannot be read ({type(error).__name__}: {error}): it takes every value")
            return True
        return schema if isinstance(schema, dict | bool) else True

    @cached_property
    def _validator(self) -> Any:
        schema = self.normalised
        if schema is True or schema == {}:
            return None
        try:
            Validator.check_schema(schema)
            validator = Validator(schema, registry=known_schemas(), format_checker=FORMATS)
            for probe in _PROBES:
                for _ in validator.iter_errors(probe):
                    pass
        except Exception as error:
            # a schema has more ways to be broken than the validator has errors
            reason = str(error).partition("\n")[0]
            self._tell(f"it is broken ({type(error).__name__}: {reason}): it takes every value")
            return None
        return validator

    def _tell(self, sentence: str) -> None:
        if sentence in self._told:
            return
        self._told.add(sentence)
        LOGGER.warning("schema of %s: %s", self._name, sentence, extra={"action": "compile_schema"})

    def errors(self, value: Any) -> Iterator[ValidationError]:
        """
        What is wrong with a value. JSON Schema's ``format`` is asserted for :data:`~.formats.FORMATS`.

        Raises:
            RecursionError: The value is nested too deeply.
        """
        if self._validator is None:
            return
        try:
            yield from self._validator.iter_errors(value)
        except Unresolvable as error:
            # the probes did not reach it
            self._tell(f"a reference leads nowhere ({error}): what it stands for takes every value")
        except OverflowError:
            # an integer that no float holds, as multipleOf needs it
            yield ValidationError("a number is too large", instance=value)

    def fits(self, value: Any) -> bool:
        """Whether nothing is wrong with a value; one that is nested too deeply does not fit."""
        try:
            return next(self.errors(value), None) is None
        except RecursionError:
            return False

    @cached_property
    def default(self) -> Any:
        """Of the schema; None where it has none."""
        return self._schema.get("default") if isinstance(self._schema, Mapping) else None

    @property
    def has_default(self) -> bool:
        return isinstance(self._schema, Mapping) and "default" in self._schema

    @cached_property
    def _parts(self) -> list[Mapping[str, Any]]:
        """Every object in the schema, as written; the schemas among them have the keywords."""
        found: list[Mapping[str, Any]] = []
        left: list[Any] = [self._schema]
        while left:
            part = left.pop()
            if isinstance(part, Mapping):
                found.append(part)
                left += part.values()
            elif isinstance(part, list | tuple):
                left += part
        return found

    @cached_property
    def members(self) -> frozenset[str]:
        """Members of objects that are declared, however deep."""
        declared = (part.get("properties") for part in self._parts)
        return frozenset(name for one in declared if isinstance(one, Mapping) for name in one)

    @cached_property
    def plain_check(self) -> Check | None:
        """A quick check, where the schema is simple."""
        return None if self._validator is None else plain_check(self.normalised)

    @cached_property
    def takes_array(self) -> bool:
        """Whether it says, somewhere in its alternatives, that the value is an array."""
        return _says_array(self.normalised)

    @cached_property
    def media_types(self) -> frozenset[str] | None:
        """
        The media types that are offered, without parameters, in lower case; None: any.

        An alternative that names none is JSON, if its type is no string.
        """
        return _media_types(self._schema)

    @property
    def offered_media_types(self) -> list[str]:
        """Of :attr:`media_types`, for clients."""
        return sorted((self.media_types or frozenset()) - {_ANY_JSON})

    @cached_property
    def encodings(self) -> frozenset[str] | None:
        """The encodings that are offered; None: any."""
        declared = {part["contentEncoding"] for part in self._parts if isinstance(part.get("contentEncoding"), str)}
        return frozenset(declared | BASE64_ENCODINGS if declared & BASE64_ENCODINGS else declared) or None


def _says_array(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    type_ = schema.get("type")
    if type_ is not None:
        return "array" in ([type_] if isinstance(type_, str) else type_)
    parts = (part for key in ("allOf", "anyOf", "oneOf") for part in schema.get(key, ()))
    return "items" in schema or "prefixItems" in schema or any(map(_says_array, parts))


def _media_types(schema: Any) -> frozenset[str] | None:
    if not isinstance(schema, Mapping):
        return None
    found: set[str] = set()
    if isinstance(own := schema.get("contentMediaType"), str):
        found.add(essence(own))
    for part in _schemas(schema.get("allOf")):
        found |= _media_types(part) or set()
    for key in ("anyOf", "oneOf"):
        alternatives = list(_schemas(schema.get(key)))
        offered = [_media_types(part) for part in alternatives]
        if all(one is None for one in offered):
            continue
        for part, one in zip(alternatives, offered, strict=True):
            if one is None and part.get("type", "string") == "string":
                return None
            found |= {JSON_MEDIA_TYPE, _ANY_JSON} if one is None else one
    return frozenset(found) or None


def _schemas(parts: Any) -> Iterable[Mapping[str, Any]]:
    return (part for part in parts if isinstance(part, Mapping)) if isinstance(parts, list | tuple) else ()


def is_offered(media_type: str, offered: frozenset[str] | None) -> bool:
    """Whether a media type is among those of :attr:`InputSchema.media_types`."""
    if offered is None:
        return True
    asked = essence(media_type)
    return asked in offered or (_ANY_JSON in offered and asked.endswith(_ANY_JSON))
