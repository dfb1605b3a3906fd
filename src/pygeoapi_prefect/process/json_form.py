"""
The JSON form of an annotation: its schema as OGC writes schemas, and the way from JSON to typed values and back.

OGC's ``schema.yaml`` is the schema object of OpenAPI 3.0 and allows no other keyword; validators mostly read JSON
Schema 2020-12. What is made here is valid in both and means the same in both, with these substitutions:

==========================  ============================================================================
JSON Schema                 made here
==========================  ============================================================================
``const: x``                ``enum: [x]``
``type: "null"``            ``enum: [null]``, and ``nullable: true`` beside the ``anyOf`` that it is in
``exclusiveMinimum: x``     integers: ``minimum: x + 1``; numbers: ``minimum: x, not: {enum: [x]}``
``examples: [x, …]``        ``example: x``
``$ref: "#/$defs/…"``       the definition itself
``prefixItems``             ``items: {anyOf: […]}`` with the count: looser than the annotation
``patternProperties``       ``additionalProperties``: looser than the annotation
other keywords              left out
==========================  ============================================================================

Source: OGC 18-062r2, ``schema.yaml``; OpenAPI 3.0.3, 4.7.24.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TypeAliasType, TypedDict, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, JsonSchemaWarningKind
from pydantic_core import core_schema, from_json

type Mode = Literal["validation", "serialization"]

_COPIED: Final = frozenset(
    {
        *("title", "description", "format", "default", "enum", "example", "deprecated"),
        *("nullable", "readOnly", "writeOnly", "contentMediaType", "contentEncoding"),
        *("multipleOf", "maximum", "minimum", "maxLength", "minLength", "pattern"),
        *("maxItems", "minItems", "uniqueItems", "maxProperties", "minProperties"),
    }
)
_CONFIG = ConfigDict(val_json_bytes="base64", ser_json_bytes="base64", hide_input_in_errors=True)

NO_JSON_FORM: Final = (PydanticUserError, NameError, TypeError)
"""What pydantic raises for annotations that it cannot validate or that have no JSON form."""


class RecursiveTypeError(TypeError):
    """A type contains itself; OGC's schemas have no way to say so."""


class JsonForm:
    """
    One annotation.

    Strict in what it accepts: a number is no text and a text no number, as JSON Schema has it. Bytes are base64
    (standard or URL-safe), except in pydantic models that configure them otherwise.

    Args:
        annotation: With its ``Annotated`` metadata.
        mode: *validation* for inputs, *serialization* for outputs: types may have two forms.
        name: Of the value; an alias in the annotation's ``Field`` replaces it as :attr:`key`.

    Raises:
        RecursiveTypeError: The type contains itself.
        Exception: One of :data:`NO_JSON_FORM`: pydantic cannot validate the type, or JSON cannot express it.
    """

    def __init__(self, annotation: Any, mode: Mode, name: str = "value") -> None:
        # the only key of a dictionary, because pydantic refuses a configuration for what may have one of its own
        make_typed_dict: Any = TypedDict
        holder = make_typed_dict("holder", {name: annotation})
        holder.__pydantic_config__ = _CONFIG
        self._adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(holder)
        whole = self._adapter.json_schema(schema_generator=_JsonSchema, mode=mode)
        self._name = name
        [(self.key, schema)] = whole["properties"].items()
        self.title: str | None = schema.pop("title", None)
        """As the annotation's ``Field`` has it."""
        self.description: str | None = schema.pop("description", None)
        self.described: dict[str, Any] = {
            key: schema.pop(key) for key in ("keywords", "metadata", "additionalParameters") if key in schema
        }
        """OGC's other descriptive keywords, from ``json_schema_extra``."""
        schema.pop("default", None)
        self.schema: dict[str, Any] = ogc_schema(schema, whole.get("$defs", {}))

    @property
    def is_secret(self) -> bool:
        """Whether a part of the value is not to be read back."""
        return any(part.get("writeOnly") or part.get("format") == "password" for part in subschemas(self.schema))

    def from_json(self, text: str) -> Any:
        """
        Args:
            text: JSON.

        Raises:
            pydantic.ValidationError: The value does not fit; locations begin with :attr:`key`.
        """
        return self._adapter.validate_json(f"{{{json.dumps(self.key)}:{text}}}", strict=True)[self._name]

    def from_python(self, value: Any) -> Any:
        """
        Raises:
            pydantic.ValidationError: The value does not fit.
        """
        return self._adapter.validate_python({self.key: value}, strict=True)[self._name]

    def to_json(self, value: Any) -> Any:
        """
        What ``json.loads`` would give for *value*. Numbers that are not finite become None, as JSON has none.

        Raises:
            pydantic_core.PydanticSerializationError: The value does not fit, or is not JSON.
        """
        [form] = from_json(self._adapter.dump_json({self._name: value}, by_alias=True, warnings="error")).values()
        return form


class _JsonSchema(GenerateJsonSchema):
    """pydantic's schemas without titles made from names, and with bytes as this package takes them."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        bytes_mode = self._config.ser_json_bytes if self.mode == "serialization" else self._config.val_json_bytes
        made: JsonSchemaValue = {"type": "string"}
        if bytes_mode == "base64":
            made["contentEncoding"] = "base64"
        elif "min_length" in schema or "max_length" in schema:
            self.update_with_validations(made, schema, self.ValidationsMapping.bytes)
        return made

    def set_schema(self, schema: core_schema.SetSchema) -> JsonSchemaValue:
        return self._repeatable(super().set_schema(schema))

    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> JsonSchemaValue:
        return self._repeatable(super().frozenset_schema(schema))

    def _repeatable(self, made: JsonSchemaValue) -> JsonSchemaValue:
        # an item that comes twice is taken once
        if self.mode == "validation":
            made.pop("uniqueItems", None)
        return made

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        if kind == "skipped-choice":
            raise PydanticInvalidForJsonSchema(detail)


def ogc_schema(schema: Any, definitions: Mapping[str, Any], within: tuple[str, ...] = ()) -> dict[str, Any]:
    """
    Rewrite a JSON Schema 2020-12 as the table of this module says.

    Args:
        schema: An object or a boolean.
        definitions: What its ``#/$defs/`` references name.
        within: The definitions that it stands in.

    Raises:
        RecursiveTypeError: A definition contains itself.
    """
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}

    def rewrite(part: Any) -> dict[str, Any]:
        return ogc_schema(part, definitions, within)

    made: dict[str, Any] = {}
    if (reference := schema.get("$ref", "")).startswith("#/$defs/"):
        name = reference.removeprefix("#/$defs/")
        if name in within:
            raise RecursiveTypeError(f"{name} contains itself")
        made = ogc_schema(definitions[name], definitions, (*within, name))
    made |= {key: value for key, value in schema.items() if key in _COPIED}
    _add_kind(made, schema, rewrite)
    if schema.get("required"):
        made["required"] = schema["required"]
    if "not" in schema:
        made["not"] = rewrite(schema["not"])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            made[key] = [rewrite(part) for part in schema[key]]
    if {"enum": [None]} in [*made.get("anyOf", ()), *made.get("oneOf", ())]:
        made["nullable"] = True
    _add_items(made, schema, rewrite)
    _add_properties(made, schema, rewrite)
    for bound, exclusive, step in (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)):
        if exclusive in schema:
            _exclude(made, bound, schema[exclusive], step)
    return made


def _add_kind(made: dict[str, Any], schema: Mapping[str, Any], rewrite: Any) -> None:
    if isinstance(schema.get("type"), list):
        made["anyOf"] = [rewrite({"type": one}) for one in schema["type"]]
    elif schema.get("type") == "null":
        made["enum"] = [None]
    elif "type" in schema:
        made["type"] = schema["type"]
    if "const" in schema:
        made["enum"] = [schema["const"]]
    if schema.get("examples"):
        made["example"] = schema["examples"][0]


def _add_items(made: dict[str, Any], schema: Mapping[str, Any], rewrite: Any) -> None:
    if "prefixItems" in schema:
        kinds: list[Any] = []
        for kind in map(rewrite, schema["prefixItems"]):
            if kind not in kinds:
                kinds.append(kind)
        made["items"] = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    elif "items" in schema:
        made["items"] = rewrite(schema["items"])


def _add_properties(made: dict[str, Any], schema: Mapping[str, Any], rewrite: Any) -> None:
    if "properties" in schema:
        made["properties"] = {name: rewrite(part) for name, part in schema["properties"].items()}
    if "patternProperties" in schema:
        kinds = [rewrite(part) for part in schema["patternProperties"].values()]
        made["additionalProperties"] = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    elif "additionalProperties" in schema:
        allowed = schema["additionalProperties"]
        made["additionalProperties"] = allowed if isinstance(allowed, bool) else rewrite(allowed)


def _exclude(made: dict[str, Any], bound: str, limit: Any, step: int) -> None:
    if isinstance(limit, bool):  # OpenAPI 3.0's form, from somebody's json_schema_extra
        if not limit or bound not in made:
            return
        limit = made[bound]
    if bound in made and (made[bound] - limit) * step > 0:
        return
    if made.get("type") == "integer":
        made[bound] = math.floor(limit) + 1 if step > 0 else math.ceil(limit) - 1
        return
    made[bound] = limit
    if made.keys() & {"not"} and made["not"].keys() != {"enum"}:
        made["allOf"] = [*made.get("allOf", ()), {"not": {"enum": [limit]}}]
    else:
        made["not"] = {"enum": [*made.get("not", {}).get("enum", ()), limit]}


def subschemas(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """*schema* and every schema in it."""
    yield schema
    below: list[Any] = [schema.get("items"), schema.get("not"), schema.get("additionalProperties")]
    below += [part for key in ("anyOf", "oneOf", "allOf") for part in schema.get(key, ())]
    below += schema.get("properties", {}).values()
    for part in below:
        if isinstance(part, Mapping):
            yield from subschemas(part)


def without_metadata(annotation: Any) -> tuple[Any, list[Any]]:
    """
    The bare annotation and its ``Annotated`` metadata, also through ``type`` aliases.

    The metadata inside a pydantic ``Field`` follow it.
    """
    metadata: list[Any] = []
    while True:
        if isinstance(annotation, TypeAliasType):
            annotation = annotation.__value__
        elif get_origin(annotation) is Annotated:
            annotation, *outer = get_args(annotation)
            metadata = [*outer, *metadata]
        else:
            break
    return annotation, [
        one for item in metadata for one in ([item, *item.metadata] if isinstance(item, FieldInfo) else [item])
    ]
