"""Fetches what a client refers to into a file, within limits of size and time."""

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx

from pygeoapi_prefect.exceptions import ReferenceFailedError, ReferenceTooLargeError, ReferenceUnavailableError
from pygeoapi_prefect.references.addresses import without_secrets
from pygeoapi_prefect.references.guard import MAX_REDIRECTS, AddressPolicy, guarded_client

_ESSENCE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+", re.ASCII)
"""A media type without its parameters. Source: RFC 6838, section 4.2."""

_INFLATED_BYTES = 256 * 1024
"""Of compressed content at once, so that a little of it never fills the memory."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """
    The content of a URL.

    Attributes:
        path: The file that holds it.
        media_type: As the server gave it, with its parameters; None where it gave none.
        size: Bytes, uncompressed.
    """

    path: Path
    media_type: str | None
    size: int


def fetch(
    url: str, target: Path, *, policy: AddressPolicy, max_bytes: int, timeout: float, accept: str | None = None
) -> Fetched:
    """
    Fetch the content of a URL into a file, piece by piece.

    Args:
        url: http or https.
        target: The file, which must not exist. It is removed again when the fetching fails.
        policy: Which addresses may be asked.
        max_bytes: Of the content, uncompressed.
        timeout: Seconds for all of it, redirects included.
        accept: The media type that is wanted, where the server has several.

    Returns:
        What was fetched.

    Raises:
        ReferenceRefusedError: The policy does not allow the address.
        ReferenceFailedError: The URL leads to nothing (4xx).
        ReferenceTooLargeError: It leads to more than *max_bytes*.
        ReferenceUnavailableError: The server does not answer in time, or not as a web server should.
        OSError: The file cannot be written.
    """
    shown = without_secrets(url)
    headers = {"Accept-Encoding": "identity", "Accept": "*/*"}
    if accept and (wanted := _ESSENCE.match(accept)):
        headers["Accept"] = f"{wanted[0]}, */*;q=0.1"
    try:
        with guarded_client(policy, timeout=timeout) as client, client.stream("GET", url, headers=headers) as response:
            _require_success(response, shown)
            size = _write(_decoded(response, shown), target, max_bytes, shown)
            return Fetched(target, response.headers.get("Content-Type"), size)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, zlib.error) as error:
        raise _failed(error, shown, timeout) from error


def _require_success(response: httpx.Response, shown: str) -> None:
    if response.is_success:
        # there is no more than this, and no content in it
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            raise ReferenceUnavailableError(user_msg=f"{shown} answered with a part of its content only.")
        return
    kind = ReferenceFailedError if response.is_client_error else ReferenceUnavailableError
    raise kind(user_msg=f"{shown} answered {response.status_code}.")


def _write(pieces: Iterable[bytes], target: Path, max_bytes: int, shown: str) -> int:
    size = 0
    with target.open("xb") as file:
        try:
            for piece in pieces:
                size += len(piece)
                if size > max_bytes:
                    raise ReferenceTooLargeError(user_msg=f"{shown} is larger than {max_bytes} bytes.")
                file.write(piece)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    return size


def _decoded(response: httpx.Response, shown: str) -> Iterator[bytes]:
    """httpx would decompress a whole piece at once, which may be a thousandfold."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return response.iter_raw()
    if encoding in ("gzip", "x-gzip", "deflate"):
        return _inflated(response.iter_raw(), shown)
    raise ReferenceUnavailableError(user_msg=f"{shown} answered with a content encoding that was not asked for.")


def _inflated(pieces: Iterable[bytes], shown: str) -> Iterator[bytes]:
    """Decompress gzip, of several members too, and zlib."""
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    begun = False
    for piece in pieces:
        left = piece
        while left:
            if inflate.eof:
                inflate, begun = zlib.decompressobj(zlib.MAX_WBITS | 32), False
            begun = True
            yield inflate.decompress(left, _INFLATED_BYTES)
            left = inflate.unconsumed_tail or inflate.unused_data
    if begun and not inflate.eof:
        raise ReferenceUnavailableError(user_msg=f"{shown} answered with incomplete content.")


def _failed(error: Exception, shown: str, timeout: float) -> ReferenceFailedError:
    match error:
        case httpx.InvalidURL() | UnicodeError() | httpx.LocalProtocolError() | httpx.UnsupportedProtocol():
            return ReferenceFailedError(user_msg=f"{shown} is no address of the web.")
        case httpx.TimeoutException():
            text = f"{shown} was not fetched within {timeout:g} seconds."
        case httpx.TooManyRedirects():
            text = f"{shown} redirects more than {MAX_REDIRECTS} times."
        case httpx.NetworkError():
            text = f"{shown} cannot be reached."
        case _:
            text = f"{shown} answered with a broken response."
    return ReferenceUnavailableError(f"{text} ({error!r})", user_msg=text)
