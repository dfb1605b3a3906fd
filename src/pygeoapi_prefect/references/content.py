"""From what stands at a reference to what the process would have got in-line."""

import base64
import json
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any

from pygeoapi_prefect.exceptions import ReferenceFailedError
from pygeoapi_prefect.schemas.media_types import essence, is_json

MAX_VALUE_BYTES = 64 * 1024**2
"""Of content that becomes a value, which is in memory several times then."""

UNTELLING = frozenset({"application/octet-stream", "binary/octet-stream", "application/x-download"})
"""Media types of servers that do not know what they have."""

_TEXTUAL = frozenset(
    {
        *("application/xml", "application/json", "application/yaml", "application/x-yaml", "application/toml"),
        *("application/javascript", "application/ecmascript", "application/sql", "application/wkt"),
        *("application/json-seq", "application/geo+json-seq", "application/x-ndjson", "application/sparql-query"),
    }
)
_BINARY_ENCODINGS = frozenset({"base64", "base64url", "binary"})
_BINARY_FORMATS = frozenset({"byte", "binary"})


def in_line(path: Path, media_type: str | None, schema: Any, *, shown: str) -> Any:
    """
    The value that the file's content stands for.

    Where the schema takes no string, or takes both and the content is JSON, it is what the JSON says. Else it is text,
    or base64 text where the schema says so or the content is no text.

    Args:
        path: Of the content.
        media_type: Of the content, maybe with a charset; None or one that says nothing: what the schema has.
        schema: Of the value.
        shown: Where the content comes from, for messages.

    Raises:
        ReferenceFailedError: The content is no JSON where the schema wants some, or not in the charset that it claims.
    """
    content = path.read_bytes()
    if media_type is None or essence(media_type) in UNTELLING:
        media_type = _declared_media_type(schema) or media_type
    may_be_text, may_be_other = _kinds(schema)
    if not may_be_text or (may_be_other and is_json(media_type)):
        return _parsed(content, media_type, shown)
    if _is_binary(schema, media_type):
        return base64.b64encode(content).decode()
    if media_type is None or essence(media_type) in UNTELLING:
        try:
            return _decoded(content, None, shown)
        except ReferenceFailedError:
            return base64.b64encode(content).decode()
    if is_text(media_type):
        return _decoded(content, media_type, shown)
    return base64.b64encode(content).decode()


def is_text(media_type: str) -> bool:
    """Whether content of this media type is text."""
    name = essence(media_type)
    return name.startswith("text/") or name in _TEXTUAL or name.endswith(("+json", "+xml", "+yaml", "+json-seq"))


def _charset(media_type: str | None) -> str | None:
    message = Message()
    message["Content-Type"] = media_type or ""
    return message.get_content_charset()


def _decoded(content: bytes, media_type: str | None, shown: str) -> str:
    charset = _charset(media_type) or "utf-8"
    try:
        return content.decode("utf-8-sig" if charset in ("utf-8", "utf8", "us-ascii", "ascii") else charset)
    except (UnicodeError, LookupError) as error:
        raise ReferenceFailedError(user_msg=f"{shown} holds no text in {charset[:40]}.") from error


def _parsed(content: bytes, media_type: str | None, shown: str) -> Any:
    charset = _charset(media_type)
    try:
        # without a charset json finds out which UTF it is
        text = content if charset in (None, "utf-8") else _decoded(content, media_type, shown)
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ReferenceFailedError(user_msg=f"{shown} holds no JSON.") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


# ---------------------------------------------------------------- what schemas say


def _kinds(schema: Any) -> tuple[bool, bool]:
    """Whether the schema takes strings, and whether it takes anything else (null aside)."""
    if not isinstance(schema, Mapping):
        return True, True
    may_be_text = may_be_other = True
    types = schema.get("type")
    if isinstance(types, str | list):
        named = {types} if isinstance(types, str) else {one for one in types if isinstance(one, str)}
        may_be_text, may_be_other = "string" in named, bool(named - {"string", "null"})
    elif {"contentEncoding", "contentMediaType"} & schema.keys():
        may_be_other = False
    elif {"properties", "items"} & schema.keys():
        may_be_text = False
    for key in ("oneOf", "anyOf"):
        if isinstance(branches := schema.get(key), list) and branches:
            kinds = [_kinds(branch) for branch in branches]
            may_be_text = may_be_text and any(text for text, _ in kinds)
            may_be_other = may_be_other and any(other for _, other in kinds)
    if isinstance(parts := schema.get("allOf"), list):
        for text, other in map(_kinds, parts):
            may_be_text, may_be_other = may_be_text and text, may_be_other and other
    return may_be_text, may_be_other


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(schema, Mapping):
        yield schema
        for key in ("oneOf", "anyOf", "allOf"):
            if isinstance(branches := schema.get(key), list):
                for branch in branches:
                    yield from _parts(branch)


def _declared_media_type(schema: Any) -> str | None:
    """The only one that the schema has; None where it leaves a choice."""
    declared = {one["contentMediaType"] for one in _parts(schema) if isinstance(one.get("contentMediaType"), str)}
    return declared.pop() if len(declared) == 1 else None


def _is_binary(schema: Any, media_type: str | None) -> bool:
    """Whether strings with content of this media type are base64, as far as the schema says."""
    strings = [one for one in _parts(schema) if _kinds(one)[0] and _says_content(one)]
    fitting = [one for one in strings if essence(str(one.get("contentMediaType", ""))) == essence(media_type or "")]
    return bool(strings) and all(
        one.get("contentEncoding") in _BINARY_ENCODINGS or one.get("format") in _BINARY_FORMATS
        for one in fitting or strings
    )


def _says_content(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "string" or bool({"contentEncoding", "contentMediaType"} & schema.keys())
