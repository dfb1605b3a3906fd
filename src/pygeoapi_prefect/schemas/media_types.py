"""Media types as descriptions, requests and responses write them."""

from typing import Final

JSON_MEDIA_TYPE: Final = "application/json"


def essence(media_type: str) -> str:
    """The media type without its parameters, in lower case."""
    return media_type.partition(";")[0].strip().lower()


def is_json(media_type: str | None) -> bool:
    """Whether content of this media type is one JSON value."""
    name = essence(media_type or "")
    return name == JSON_MEDIA_TYPE or name.endswith("+json")
