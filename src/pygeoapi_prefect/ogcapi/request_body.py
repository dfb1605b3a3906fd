"""The body of an execute request: what is read at all, and what is read as JSON."""

import json
import re
from typing import Any, NoReturn

from pygeoapi.api import APIRequest

from pygeoapi_prefect.exceptions import MalformedRequestError, RequestTooLargeError, UnsupportedMediaTypeError
from pygeoapi_prefect.ogcapi.boundary import request_headers
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE, essence
from pygeoapi_prefect.settings import ManagerSettings

_JSON = re.compile(r"application/([a-z0-9.-]+\+)?json")
_TOO_DEEP = "The body of the request is nested too deeply."


def read_body(request: APIRequest, settings: ManagerSettings) -> dict[str, Any]:
    """
    Read the JSON object that a request has as its body.

    It never becomes much larger in memory than it was sent: nothing is decompressed, and arrays and objects, of which
    an empty one takes thirty times the bytes that it is written with, are counted before they are made.

    Args:
        request: pygeoapi's.
        settings: With the limits.

    Raises:
        UnsupportedMediaTypeError: It is something else than JSON, or compressed.
        RequestTooLargeError: There is too much of it, or in it.
        MalformedRequestError: It is no JSON object, or one that readers would read in several ways.
    """
    headers = request_headers(request)
    if not _JSON.fullmatch(essence(headers.get("Content-Type") or JSON_MEDIA_TYPE)):
        raise UnsupportedMediaTypeError()
    if (headers.get("Content-Encoding") or "identity").strip().lower() != "identity":
        raise UnsupportedMediaTypeError(user_msg="The body of the request must not be compressed.")
    data: bytes = request.data
    if len(data) > settings.max_request_bytes:
        raise RequestTooLargeError(
            user_msg=f"The body of the request is larger than {settings.max_request_bytes} bytes. "
            "Give large inputs by reference."
        )
    if data.count(b"[") + data.count(b"{") > settings.max_request_items:
        raise RequestTooLargeError(
            user_msg=f"The body of the request has more than {settings.max_request_items} arrays and objects. "
            "Give large inputs by reference."
        )
    return _parsed(data)


def _parsed(data: bytes) -> dict[str, Any]:
    if not data:
        raise MalformedRequestError(user_msg="The request has no body. It must be a JSON object, at least {}.")
    try:
        body = json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except RecursionError as error:
        raise MalformedRequestError(user_msg=_TOO_DEEP) from error
    except json.JSONDecodeError as error:
        raise MalformedRequestError(user_msg=f"The body of the request is no JSON: {error}.") from error
    except UnicodeDecodeError as error:
        raise MalformedRequestError(user_msg="The body of the request is no JSON: it is not in UTF-8.") from error
    except _UnreadableJsonError as error:
        raise MalformedRequestError(user_msg=f"The body of the request is no JSON: {error}.") from error
    except ValueError as error:
        # Python's own limit. Source: sys.set_int_max_str_digits
        raise MalformedRequestError(user_msg="The body of the request has a number with too many digits.") from error
    if not isinstance(body, dict):
        raise MalformedRequestError()
    return body


class _UnreadableJsonError(ValueError):
    """JSON that is none to everybody."""


def _refuse_constant(name: str) -> NoReturn:
    raise _UnreadableJsonError(f"{name} is no number")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two members with one name some readers take the first, and some the last. Source: RFC 8259, section 4."""
    made = dict(members)
    if len(made) < len(members):
        raise _UnreadableJsonError("an object has two members of the same name")
    return made


def sorted_json(value: Any) -> bytes:
    """
    What was read, in a form that is the same for all orders of members.

    Raises:
        MalformedRequestError: It is nested more deeply than can be written.
    """
    try:
        return json.dumps(value, sort_keys=True).encode()
    except RecursionError as error:
        # a body may be nested a little less deeply than what can be read, and yet more than what can be written
        raise MalformedRequestError(user_msg=_TOO_DEEP) from error
