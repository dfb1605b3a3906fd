"""Fetching what clients refer to: within limits, and with an end."""

import gzip
import logging
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pygeoapi_prefect.exceptions import (
    ReferenceFailedError,
    ReferenceRefusedError,
    ReferenceTooLargeError,
    ReferenceUnavailableError,
)
from pygeoapi_prefect.references.addresses import without_secrets
from pygeoapi_prefect.references.fetch import Fetched, fetch
from pygeoapi_prefect.references.guard import AddressPolicy
from web_server import answering, response

LOCAL = AddressPolicy(allowed_hosts=["127.0.0.1"])
LIMIT = 1_000_000


def fetched(url: str, folder: Path, *, timeout: float = 10, accept: str | None = None) -> Fetched:
    return fetch(url, folder / "data", policy=LOCAL, max_bytes=LIMIT, timeout=timeout, accept=accept)


def test_content_arrives_as_it_is(tmp_path: Path) -> None:
    """Bytes, media type and size are those of the answer."""
    body = bytes(range(256)) * 1000
    with answering(response(body, Content_Type="image/tiff; application=geotiff")) as server:
        result = fetched(server.url, tmp_path, accept="image/tiff; application=geotiff")
    assert result == Fetched(tmp_path / "data", "image/tiff; application=geotiff", len(body))
    assert (tmp_path / "data").read_bytes() == body
    assert "\r\nAccept: image/tiff, */*;q=0.1\r\n" in server.requests[0]
    assert "\r\nAccept-Encoding: identity\r\n" in server.requests[0]
    assert "\r\nUser-Agent: pygeoapi-prefect/" in server.requests[0]


def test_a_media_type_adds_no_header(tmp_path: Path) -> None:
    """What a client gives as media type cannot smuggle anything into the request."""
    with answering(response(b"x")) as server:
        fetched(server.url, tmp_path, accept="a/b\r\nX-Evil: 1")
        (tmp_path / "data").unlink()
        fetched(server.url, tmp_path, accept="ü")
    assert ["Evil" in request for request in server.requests] == [False, False]


@pytest.mark.parametrize(
    ("encoding", "compress", "members"),
    [("gzip", gzip.compress, 1), ("gzip", gzip.compress, 2), ("deflate", zlib.compress, 1)],
)
def test_compressed_content_is_decompressed(
    tmp_path: Path, encoding: str, compress: Callable[[bytes], bytes], members: int
) -> None:
    """A server that compresses unasked is understood, several members of gzip included."""
    body = bytes(range(256)) * 1500
    with answering(response(compress(body) * members, Content_Encoding=encoding)) as server:
        result = fetched(server.url, tmp_path)
    assert (result.size, (tmp_path / "data").read_bytes()) == (len(body) * members, body * members)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (response(b"", "404 Not Found"), ReferenceFailedError, "answered 404."),
        (response(b"", "403 Forbidden"), ReferenceFailedError, "answered 403."),
        (response(b"", "500 Oops"), ReferenceUnavailableError, "answered 500."),
        (response(b"", "304 Not Modified"), ReferenceUnavailableError, "answered 304."),
        (response(b"half", "206 Partial Content"), ReferenceUnavailableError, "answered with a part"),
        (response(b"x" * (LIMIT + 1)), ReferenceTooLargeError, f"is larger than {LIMIT} bytes."),
        (
            response(gzip.compress(bytes(50 * LIMIT)), Content_Encoding="gzip"),
            ReferenceTooLargeError,
            f"is larger than {LIMIT} bytes.",
        ),
        (response(b"x", Content_Encoding="br"), ReferenceUnavailableError, "answered with a content encoding"),
        (response(b"no gzip", Content_Encoding="gzip"), ReferenceUnavailableError, "answered with a broken response."),
        (
            response(gzip.compress(b"x" * 1000)[:-9], Content_Encoding="gzip"),
            ReferenceUnavailableError,
            "answered with incomplete content.",
        ),
        (response(b"x" * 100)[:-50], ReferenceUnavailableError, "answered with a broken response."),
        (b"SSH-2.0-OpenSSH\r\n\r\n", ReferenceUnavailableError, "answered with a broken response."),
        (b"", ReferenceUnavailableError, "answered with a broken response."),
    ],
)
def test_what_is_no_content_is_refused(
    tmp_path: Path, answer: bytes, error: type[ReferenceFailedError], message: str
) -> None:
    """An error, a part, too much and nonsense are told by URL and reason, and leave no file."""
    with answering(answer) as server, pytest.raises(error) as refused:
        fetched(server.url, tmp_path)
    assert type(refused.value) is error
    assert refused.value.client_message.startswith(f"{server.url} {message}")
    assert list(tmp_path.iterdir()) == []


def test_an_endless_answer_ends(tmp_path: Path) -> None:
    """A server without a Content-Length is listened to until the limit of bytes."""

    def endless(send: Callable[[bytes], None]) -> None:
        send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            send(bytes(65536))

    with answering(endless) as server:
        with pytest.raises(ReferenceTooLargeError, match="is larger than"):
            fetched(server.url, tmp_path)
        assert server.is_left.wait(10)


DRIPS = {
    "in the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "in the headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "before it answers": (b"", b""),
}


@pytest.mark.parametrize("where", DRIPS)
def test_a_dripping_server_does_not_hold_us(tmp_path: Path, where: str) -> None:
    """The time limit is one for the whole, however regularly a byte comes."""
    first, drop = DRIPS[where]
    over = threading.Event()

    def drip(send: Callable[[bytes], None]) -> None:
        send(first)
        while not over.wait(0.1):
            send(drop)

    with answering(drip) as server, pytest.raises(ReferenceUnavailableError) as refused:
        try:
            fetched(server.url, tmp_path, timeout=0.5)
        finally:
            over.set()
    assert refused.value.client_message == f"{server.url} was not fetched within 0.5 seconds."
    assert list(tmp_path.iterdir()) == []


def test_nobody_there(tmp_path: Path) -> None:
    """A refused connection is the other server's trouble."""
    with answering(b"") as server:
        pass
    with pytest.raises(ReferenceUnavailableError) as refused:
        fetched(server.url, tmp_path)
    assert refused.value.client_message == f"{server.url} cannot be reached."


def test_redirects_without_end(tmp_path: Path) -> None:
    """A server that sends us round in circles is given up."""
    with answering(response(b"", "302 Found", Location="/data")) as server:
        with pytest.raises(ReferenceUnavailableError, match="redirects more than 5 times"):
            fetched(server.url, tmp_path)
        assert len(server.requests) == 6


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "http://a b/", "http://exa\tmple.org/", "http://x:99999/", "http://xn--/"]
)
def test_no_address(tmp_path: Path, url: str) -> None:
    """What is no URL is the client's error, not an error of the server."""
    with pytest.raises((ReferenceFailedError, ReferenceRefusedError)) as refused:
        fetched(url, tmp_path)
    assert refused.value.http_status_code == 400


def test_queries_are_shown_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A presigned URL's signature stands in no message and no log line."""
    caplog.set_level(logging.INFO)
    with answering(response(b"", "403 Forbidden")) as server, pytest.raises(ReferenceFailedError) as refused:
        fetched(f"{server.url}?X-Amz-Signature=s3cr3t#s3cr3t", tmp_path)
    assert "s3cr3t" in server.requests[0]
    assert "s3cr3t" not in f"{refused.value} {refused.value.client_message} {caplog.text}"


def test_addresses_are_shown_without_secrets() -> None:
    """User names, passwords and queries are left out of what is shown, and endless paths are cut."""
    assert without_secrets("https://me:pw@example.org/a/b?sig=1#x") == "https://example.org/a/b"
    assert without_secrets("https://example.org?sig=1") == "https://example.org"
    assert without_secrets("./a/b.tif?sig=1") == "./a/b.tif"
    assert len(without_secrets("https://example.org/" + "x" * 10_000)) == 201


def test_the_file_of_somebody_else_stays(tmp_path: Path) -> None:
    """What is there already is neither overwritten nor removed."""
    (tmp_path / "data").write_text("mine")
    with answering(response(b"x")) as server, pytest.raises(FileExistsError):
        fetched(server.url, tmp_path)
    assert (tmp_path / "data").read_text() == "mine"
