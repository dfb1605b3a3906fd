"""Several outputs in one response, each as it is. Source: RFC 2387."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from pygeoapi_prefect.results.http_headers import content_id, uri


@dataclass(frozen=True, slots=True)
class Part:
    """
    Attributes:
        output_id: Becomes the ``Content-ID``.
        content_type: Of *data*, or of what stands at *location*.
        data: The body; empty for a reference.
        location: URL of an output by reference.
    """

    output_id: str
    content_type: str
    data: bytes = b""
    location: str | None = None


def multipart_related(parts: Sequence[Part]) -> tuple[str, bytes]:
    """
    Join parts.

    They are written here and not by the ``email`` package, which changes line ends in bytes that it takes for text.
    They are sent as they are (``binary``): HTTP carries every byte, and base64 would make them a third longer.

    Returns:
        ``Content-Type`` and body. The boundary comes of the content, so equal outputs are equal responses; no content
        has its own digest in it.
    """
    pieces = [_head(part) + part.data for part in parts]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(8))
        digest.update(piece)
    boundary = digest.hexdigest()
    delimiter = f"--{boundary}\r\n".encode()
    body = b"".join([*(delimiter + piece + b"\r\n" for piece in pieces), f"--{boundary}--\r\n".encode()])
    root = parts[0].content_type.replace("\\", "\\\\").replace('"', '\\"')
    return f'multipart/related; boundary={boundary}; type="{root}"', body


def _head(part: Part) -> bytes:
    lines = [f"Content-Type: {part.content_type}", f"Content-ID: {content_id(part.output_id)}"]
    if part.location is not None:
        lines.append(f"Content-Location: {uri(part.location)}")
    lines.append("Content-Transfer-Encoding: binary")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
