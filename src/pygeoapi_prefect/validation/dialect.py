"""
What process descriptions write, in the words of JSON Schema 2020-12.

Descriptions are written in the dialect of OpenAPI 3.0, in that of 2020-12, and in mixtures. What neither asserts is
left out, so that two alternatives that differ in nothing but their media type do not exclude each other.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pygeoapi_prefect.validation.known_schemas import known_reference

_LOCAL: Final = "#"
_ANNOTATIONS: Final = frozenset(
    {
        *("title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly"),
        *("xml", "externalDocs", "discriminator", "nullable", "contentMediaType", "contentSchema"),
        *("$id", "id", "$schema", "$comment", "$vocabulary"),
    }
)
"""Keywords that assert nothing. pygeoapi lets texts be given by language, which no JSON Schema knows."""

_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE: Final = (
    *("items", "additionalProperties", "additionalItems", "not", "contains", "propertyNames", "if", "then", "else"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
_UNTELLING: Final = frozenset({"contentMediaType", "contentEncoding", "contentSchema", "format", "$ref"})
"""Keywords by which alternatives differ that may look alike to a validator."""

_BBOX_MEMBERS: Final = frozenset({"bbox", "crs"})


def normalised(schema: Any, tell: Callable[[str], None]) -> Any:
    """
    The schema as JSON Schema 2020-12, without annotations; a copy.

    Args:
        schema: Of an input or output description.
        tell: Takes what cannot be asserted, each a sentence for the log.
    """
    own_id = schema.get("$id") if isinstance(schema, Mapping) else None
    translated = _translated(schema, own_id if isinstance(own_id, str) else None, tell)
    if isinstance(translated, dict) and translated.keys() == {"format"} and translated["format"] == "ogc-bbox":
        # an array is a box only where the schema says so
        return {**translated, "type": "object"}
    return translated


def _translated(schema: Any, own_id: str | None, tell: Callable[[str], None]) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    words = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    if isinstance(words.get("items"), list):
        # JSON Schema until 2019-09
        words["prefixItems"] = words.pop("items")
        if "additionalItems" in words:
            words["items"] = words.pop("additionalItems")
    _translate_parts(words, lambda part: _translated(part, own_id, tell))
    if "oneOf" in words and any(map(_is_untelling, schema["oneOf"])):
        alternatives = {"anyOf": words.pop("oneOf")}
        if "anyOf" in words:
            alternatives = {"allOf": [*words.get("allOf", []), alternatives]}
        words |= alternatives
    _translate_reference(words, own_id, tell)
    _translate_limits(words)
    _drop_unusable_patterns(words, tell)
    properties = words.get("properties", {})
    if words.get("type") == "object" and "bbox" in properties and properties.keys() <= _BBOX_MEMBERS:
        words.setdefault("format", "ogc-bbox")
    return _with_null(words) if schema.get("nullable") is True else words


def _translate_parts(words: dict[str, Any], translate: Callable[[Any], Any]) -> None:
    for key in _MAPS:
        if isinstance(words.get(key), Mapping):
            words[key] = {str(name): translate(part) for name, part in words[key].items()}
    for key in _LISTS:
        if isinstance(words.get(key), list | tuple):
            words[key] = [translate(part) for part in words[key]]
    for key in _SINGLE:
        if key in words:
            words[key] = translate(words[key])
    if isinstance(components := words.get("components"), Mapping) and isinstance(components.get("schemas"), Mapping):
        words["components"] = {"schemas": {name: translate(part) for name, part in components["schemas"].items()}}


def _is_untelling(part: Any) -> bool:
    if isinstance(part, Mapping):
        return bool(_UNTELLING & part.keys()) or any(map(_is_untelling, part.values()))
    return isinstance(part, list | tuple) and any(map(_is_untelling, part))


def _translate_reference(words: dict[str, Any], own_id: str | None, tell: Callable[[str], None]) -> None:
    for key in ("$ref", "$dynamicRef", "$recursiveRef"):
        reference = words.get(key)
        if not isinstance(reference, str) or reference.startswith(_LOCAL):
            continue
        if own_id and reference.startswith(f"{own_id.partition('#')[0]}#"):
            words[key] = f"#{reference.partition('#')[2]}"
        elif known := known_reference(reference):
            words[key] = known
        else:
            del words[key]
            tell(f"the schema {reference} is not known here, and nothing is fetched: it takes every value")


def _translate_limits(words: dict[str, Any]) -> None:
    """``exclusiveMinimum: true`` is OpenAPI 3.0's."""
    for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(words.get(exclusive), bool):
            is_exclusive = words.pop(exclusive)
            if is_exclusive and inclusive in words:
                words[exclusive] = words.pop(inclusive)


def _drop_unusable_patterns(words: dict[str, Any], tell: Callable[[str], None]) -> None:
    patterns = [words["pattern"]] if isinstance(words.get("pattern"), str) else []
    by_pattern = words.get("patternProperties")
    for pattern in (*patterns, *(by_pattern if isinstance(by_pattern, dict) else ())):
        try:
            re.compile(pattern)
        except re.error as error:
            tell(f"the pattern {pattern!r} is none to Python ({error}): it takes every value")
            if pattern in patterns:
                del words["pattern"]
            else:
                assert isinstance(by_pattern, dict)
                words["patternProperties"] = {one: part for one, part in by_pattern.items() if one != pattern}
                # what the pattern would have matched counts as additional
                words.pop("additionalProperties", None)
                words.pop("unevaluatedProperties", None)


def _with_null(words: dict[str, Any]) -> dict[str, Any]:
    """``nullable: true`` is OpenAPI 3.0's."""
    definitions: dict[str, Any] = {
        key: words.pop(key) for key in ("$defs", "definitions", "components") if key in words
    }
    type_ = words.get("type")
    if isinstance(type_, str) and not ({"$ref", "allOf", "anyOf", "oneOf", "not", "const"} & words.keys()):
        words["type"] = [type_, "null"]
        if isinstance(words.get("enum"), list) and None not in words["enum"]:
            words["enum"] = [*words["enum"], None]
        return words | definitions
    return {"anyOf": [words, {"type": "null"}], **definitions}
