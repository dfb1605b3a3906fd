"""What a client reads of a violation: a sentence made from the schema, and from the value only where it is short."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote

from jsonschema import ValidationError

LONGEST_QUOTE: Final = 60
"""Characters of a value, or of a name, that are quoted at most."""

_MOST_LISTED: Final = 20
_FRAGMENT_CHARACTERS: Final = "!$&'()*+,;=:@?~-._"
"""That stand in a fragment as they are, beside letters and digits. Source: RFC 3986, 3.5."""

_TYPES: Final = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}

Step = str | int
"""A member's name or an item's index."""


def pointer(path: Iterable[Step]) -> str:
    """A path in the request's body as ``#/inputs/name/0``. Source: RFC 6901, 6."""
    tokens = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return "".join(["#", *(f"/{quote(one, safe=_FRAGMENT_CHARACTERS, errors='surrogatepass')}" for one in tokens)])


def shortened(text: str) -> str:
    """A name that the client sent."""
    text = _written(text)
    return text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 1]}…"


def _quoted(value: Any) -> str:
    return _written(json.dumps(value, ensure_ascii=False, default=str))


def _written(text: str) -> str:
    """JSON can escape half a character, which no encoding has."""
    return text.encode(errors="replace").decode()


def listed(values: Iterable[Any]) -> str:
    """``'a', 'b' or 'c'``, as many as can be read."""
    texts = list(map(_quoted, values))
    if len(texts) > _MOST_LISTED:
        return ", ".join([*texts[:_MOST_LISTED], f"or {len(texts) - _MOST_LISTED} others"])
    return " or ".join(filter(None, [", ".join(texts[:-1]), texts[-1]])) if texts else "nothing"


def leaves(error: ValidationError) -> list[ValidationError]:
    """
    The errors that say what is wrong, out of alternatives the ones that the value comes near to.

    An alternative of another type, or with another constant, is not what the client meant.
    """
    if error.validator not in ("anyOf", "oneOf") or not error.context:
        return [error]
    by_alternative: dict[Any, list[ValidationError]] = {}
    for one in error.context:
        by_alternative.setdefault(one.relative_schema_path[0], []).append(one)
    near = [errors for errors in by_alternative.values() if not any(map(_is_other, errors))]
    if len(near) != 1:
        return [error]
    return [leaf for one in near[0] for leaf in leaves(one)]


def _is_other(error: ValidationError) -> bool:
    depth = len(error.relative_path)
    return (error.validator == "type" and depth == 0) or (error.validator in ("const", "enum") and depth <= 1)


def sentence(error: ValidationError, *, may_quote: bool) -> str:
    """
    What must hold, as in ``must be a number, not "a"``.

    Args:
        error: One of :func:`leaves`.
        may_quote: Whether a short value may be quoted, or anything else that the client sent.
    """
    words = _SENTENCES.get(str(error.validator))
    told = words(error) if words is not None else "does not fit its schema"
    if error.validator in ("required", "dependentRequired") or not may_quote:
        return told
    if error.validator in ("additionalProperties", "unevaluatedProperties") and isinstance(error.instance, dict):
        return f"{told}{_unknown_members(error)}"
    if isinstance(error.instance, dict | list):
        return told
    value = _quoted(error.instance)
    return f"{told}, not {value}" if len(value) <= LONGEST_QUOTE else told


def _unknown_members(error: ValidationError) -> str:
    known = (error.schema.get("properties") or {}) if isinstance(error.schema, dict) else {}
    unknown = [shortened(name) for name in error.instance if name not in known]
    return f": {listed(unknown)}" if unknown else ""


def _type(error: ValidationError) -> str:
    types: Sequence[str] = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
    return f"must be {' or '.join(_TYPES.get(type_, type_) for type_ in types)}"


def _alternatives(error: ValidationError) -> str:
    if not error.context:
        return "fits more than one of its alternatives"
    if all(one.validator == "type" and not one.relative_path for one in error.context):
        texts = dict.fromkeys(_type(one).removeprefix("must be ") for one in error.context)
        return f"must be {' or '.join(texts)}"
    if all(one.validator in ("const", "enum") and not one.relative_path for one in error.context):
        allowed = [
            value
            for one in error.context
            for value in (one.validator_value if one.validator == "enum" else [one.validator_value])
        ]
        return f"must be {listed(allowed)}"
    return f"must fit one of its {len(error.validator_value)} alternatives"


def _missing(error: ValidationError) -> str:
    missing = [name for name in error.validator_value if name not in error.instance]
    return f"must have the member{'s' if len(missing) > 1 else ''} {' and '.join(map(repr, missing))}"


def _counted(word: str, unit: str) -> Callable[[ValidationError], str]:
    def words(error: ValidationError) -> str:
        count = error.validator_value
        return f"must have {word} {count} {unit if count != 1 else unit.removesuffix('s')}"

    return words


def _with_value(text: str) -> Callable[[ValidationError], str]:
    return lambda error: text.format(json.dumps(error.validator_value, default=str))


def _format(error: ValidationError) -> str:
    return str(error.cause) if error.cause is not None else f"must have the format {error.validator_value}"


_SENTENCES: Final[dict[str, Callable[[ValidationError], str]]] = {
    "type": _type,
    "enum": lambda error: f"must be {listed(error.validator_value)}",
    "const": lambda error: f"must be {listed([error.validator_value])}",
    "minimum": _with_value("must be at least {}"),
    "maximum": _with_value("must be at most {}"),
    "exclusiveMinimum": _with_value("must be more than {}"),
    "exclusiveMaximum": _with_value("must be less than {}"),
    "multipleOf": _with_value("must be a multiple of {}"),
    "minLength": _counted("at least", "characters"),
    "maxLength": _counted("at most", "characters"),
    "pattern": _with_value("must match the pattern {}"),
    "minItems": _counted("at least", "items"),
    "maxItems": _counted("at most", "items"),
    "uniqueItems": lambda error: "must not have an item twice",
    "contains": lambda error: "must have an item that its schema asks for",
    "minProperties": _counted("at least", "members"),
    "maxProperties": _counted("at most", "members"),
    "required": _missing,
    "additionalProperties": lambda error: "has members that it must not have",
    "unevaluatedProperties": lambda error: "has members that it must not have",
    "propertyNames": lambda error: "has a member whose name is not allowed",
    "anyOf": _alternatives,
    "oneOf": _alternatives,
    "format": _format,
    "contentEncoding": lambda error: "must be encoded in base64",
}
