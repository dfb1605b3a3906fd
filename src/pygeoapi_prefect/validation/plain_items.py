"""
A quick way to say that the items of an array fit a simple schema: numbers, or positions of numbers.

A validator takes some 10 µs for each item, that is seconds for the coordinates of a large geometry, while the web
process does nothing else.
"""

from collections.abc import Callable
from typing import Any, Final

Check = Callable[[Any], bool]
"""Whether a value fits; where it does not, a validator says why."""

_KEYWORDS: Final = frozenset({"type", "items", "minItems", "maxItems"})
_TYPES: Final[dict[str, frozenset[type]]] = {
    "number": frozenset({int, float}),
    "integer": frozenset({int}),
    "string": frozenset({str}),
    "boolean": frozenset({bool}),
}


def plain_check(schema: Any) -> Check | None:
    """
    A check of the values that a simple schema takes; None for every other schema.

    Args:
        schema: In JSON Schema 2020-12, known to be valid.
    """
    if not isinstance(schema, dict) or not schema.keys() <= _KEYWORDS:
        return None
    type_ = schema.get("type")
    if type_ == "array":
        return _array_check(schema)
    if schema.keys() != {"type"} or not isinstance(type_, str) or type_ not in _TYPES:
        return None
    types = _TYPES[type_]
    return lambda value: type(value) in types


def _array_check(schema: dict[str, Any]) -> Check | None:
    least, most = schema.get("minItems", 0), schema.get("maxItems", float("inf"))
    if "items" not in schema:
        return lambda value: type(value) is list and least <= len(value) <= most
    fits = plain_check(schema["items"])
    if fits is None:
        return None
    return lambda value: type(value) is list and least <= len(value) <= most and all(map(fits, value))
