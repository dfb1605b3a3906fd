"""Keywords of JSON Schema that are read in another way than ``jsonschema`` reads them."""

from collections.abc import Hashable, Iterator
from typing import Any, Final

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from pygeoapi_prefect.validation.formats import FORMATS, is_base64
from pygeoapi_prefect.validation.plain_items import plain_check

BASE64_ENCODINGS: Final = frozenset({"base64", "binary"})
"""``contentEncoding`` of binary values, which are base64 in JSON. OGC's own examples write ``binary``."""

_KEYWORDS: Final = Draft202012Validator.VALIDATORS


def _content_encoding(validator: Any, encoding: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if encoding in BASE64_ENCODINGS and isinstance(instance, str) and not is_base64(instance):
        yield ValidationError("is not base64")


def _items(validator: Any, items: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Long arrays, coordinates most of all, are looked through at once before each item is looked at."""
    fits = plain_check(items) if isinstance(instance, list) and "prefixItems" not in schema else None
    if fits is None or not all(map(fits, instance)):
        yield from _KEYWORDS["items"](validator, items, instance, schema)


def _unique_items(validator: Any, must_be: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Each item is compared once; the validator's own way compares each object with each other one."""
    if must_be and isinstance(instance, list) and len(set(map(_identity, instance))) < len(instance):
        yield ValidationError("has an item twice")


def _identity(value: Any) -> Hashable:
    """
    Equal where JSON Schema says so: 1 is 1.0, but not true.

    Numbers are told apart by their digits: anybody can choose numbers of one hash, but no texts of one.
    """
    if isinstance(value, dict):
        return "object", frozenset((name, _identity(member)) for name, member in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_identity, value))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return type(value).__name__, repr(value) if isinstance(value, int | float) else value


def _any_of(validator: Any, alternatives: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    meant = [one for one in alternatives if not _is_for_others(one, instance)]
    if len(meant) == 1:
        yield from validator.descend(instance, meant[0])
    else:
        yield from _KEYWORDS["anyOf"](validator, meant or alternatives, instance, schema)


def _one_of(validator: Any, alternatives: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    meant = [one for one in alternatives if not _is_for_others(one, instance)]
    if len(meant) == 1:
        yield from validator.descend(instance, meant[0])
    else:
        yield from _KEYWORDS["oneOf"](validator, meant or alternatives, instance, schema)


def _is_for_others(alternative: Any, instance: Any) -> bool:
    """
    Whether a member with a constant, as GeoJSON's ``type``, tells that the object is none of this alternative.

    To look for everything else that is wrong with it would take as long as the object is large.
    """
    if not isinstance(instance, dict) or not isinstance(alternative, dict):
        return False
    properties = alternative.get("properties")
    if not isinstance(properties, dict):
        return False
    return any(
        isinstance(member, dict)
        and isinstance(constant := member.get("const"), str)
        and isinstance(sent := instance.get(name), str)
        and sent != constant
        for name, member in properties.items()
    )


Validator: Final = extend(
    Draft202012Validator,
    {
        "contentEncoding": _content_encoding,
        "items": _items,
        "uniqueItems": _unique_items,
        "anyOf": _any_of,
        "oneOf": _one_of,
    },
    format_checker=FORMATS,
)
"""Of JSON Schema 2020-12, with ``contentEncoding`` and the formats asserted, and in linear time where that can be."""
