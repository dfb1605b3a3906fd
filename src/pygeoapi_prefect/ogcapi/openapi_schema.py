"""Schemas of process descriptions in the dialect of OpenAPI 3.0."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_KEPT: Final = frozenset(
    {
        *("title", "description", "format", "default", "nullable", "readOnly", "writeOnly", "example", "deprecated"),
        *("multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"),
        *("maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems"),
        *("maxProperties", "minProperties", "required", "enum", "type", "discriminator"),
    }
)
"""Keywords of OpenAPI 3.0 that hold no schemas. Everything else that it does not know is left out: it may not stay."""

_LISTS: Final = ("allOf", "anyOf", "oneOf")
_LIMITS: Final = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))
_DEFINITION: Final = re.compile(r"#/(?:\$defs|definitions)/(?P<name>[^/]+)")
_FORMATS: Final = {"base64": "byte", "binary": "binary"}
"""Of ``contentEncoding``."""


def openapi_schema(schema: Any, component: Callable[[str, Any], str]) -> dict[str, Any]:
    """
    A JSON Schema, of whatever draft, as a schema of OpenAPI 3.0.

    It may say less than the original where OpenAPI 3.0 has no words for it, and never more.

    Args:
        schema: Of an input or output.
        component: Takes the name of a definition of the schema, and a schema of OpenAPI 3.0; returns the reference to
            it. Called with None as the schema first, when the definition is referred to.

    Returns:
        A new schema without references to other documents.
    """
    definitions: dict[str, Any] = {}
    if isinstance(schema, Mapping):
        definitions = {**(schema.get("definitions") or {}), **(schema.get("$defs") or {})}
    seen: set[str] = set()

    def reference(name: str) -> str:
        if name not in seen:
            seen.add(name)
            component(name, _translated(definitions[name], resolve))
        return component(name, None)

    def resolve(target: str) -> dict[str, Any]:
        match = _DEFINITION.fullmatch(target)
        if match is not None and match["name"] in definitions:
            return {"$ref": reference(match["name"])}
        # nobody shall have to fetch it
        return {} if target.startswith("#") else {"description": f"See {target}"}

    return _translated(schema, resolve)


def _translated(schema: Any, resolve: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        return {"not": {}} if schema is False else {}
    if isinstance(schema.get("$ref"), str):
        # what stands beside a reference does not count in OpenAPI 3.0
        return resolve(schema["$ref"])
    words = {key: value for key, value in schema.items() if key in _KEPT or str(key).startswith("x-")}
    for key in ("title", "description"):
        # pygeoapi lets texts be given by language
        if not isinstance(words.get(key, ""), str):
            del words[key]

    def parts(several: Any) -> list[dict[str, Any]]:
        return [_translated(one, resolve) for one in several]

    for key in _LISTS:
        if schema.get(key):
            words[key] = parts(schema[key])
    if "not" in schema:
        words["not"] = _translated(schema["not"], resolve)
    if isinstance(schema.get("properties"), Mapping):
        words["properties"] = {str(name): _translated(one, resolve) for name, one in schema["properties"].items()}
    _translate_additional(words, schema, resolve)
    _translate_items(words, schema, resolve)
    _translate_values(words, schema)
    _translate_type(words)
    return words


def _translate_additional(
    words: dict[str, Any], schema: Mapping[str, Any], resolve: Callable[[str], dict[str, Any]]
) -> None:
    additional = schema.get("additionalProperties")
    if schema.get("patternProperties"):
        # what the patterns allow would count as additional
        return
    if isinstance(additional, bool):
        words["additionalProperties"] = additional
    elif isinstance(additional, Mapping):
        words["additionalProperties"] = _translated(additional, resolve)


def _translate_items(
    words: dict[str, Any], schema: Mapping[str, Any], resolve: Callable[[str], dict[str, Any]]
) -> None:
    items = schema.get("items")
    by_place = schema.get("prefixItems", items if isinstance(items, list) else None)
    if by_place is not None:
        further = schema.get("items") if "prefixItems" in schema else schema.get("additionalItems")
        if further is False:
            words.setdefault("maxItems", len(by_place))
            words["items"] = {"anyOf": [_translated(one, resolve) for one in by_place]} if by_place else {}
        else:
            words["items"] = {}
    elif items is not None:
        words["items"] = _translated(items, resolve)


def _translate_values(words: dict[str, Any], schema: Mapping[str, Any]) -> None:
    if "const" in schema:
        words["enum"] = [schema["const"]]
    examples = schema.get("examples")
    if "example" not in words and isinstance(examples, list) and examples:
        words["example"] = examples[0]
    for exclusive, inclusive in _LIMITS:
        limit = words.get(exclusive)
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            words[inclusive] = limit
            words[exclusive] = True
    if not words.get("required", True):
        del words["required"]
    if "format" not in words and schema.get("contentEncoding") in _FORMATS:
        words["format"] = _FORMATS[schema["contentEncoding"]]


def _translate_type(words: dict[str, Any]) -> None:
    types = words.get("type")
    if isinstance(types, list):
        others = [one for one in types if one != "null"]
        if len(others) < len(types):
            words["nullable"] = True
        words.pop("type")
        if len(others) == 1:
            words["type"] = others[0]
        elif others:
            alternatives = {"anyOf": [_of_type(one) for one in others]}
            words["allOf"] = [*words.get("allOf", []), alternatives]
        else:
            words["enum"] = [None]
    elif types == "null":
        words.pop("type")
        words |= {"nullable": True, "enum": [None]}
    if words.get("type") == "array":
        words.setdefault("items", {})
    if None in words.get("enum", ()):
        words["nullable"] = True


def _of_type(name: str) -> dict[str, Any]:
    return {"type": name, "items": {}} if name == "array" else {"type": name}
