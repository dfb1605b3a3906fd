"""An HTTP client for URLs that clients give us: it connects to no address that it has not checked."""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import Any

import httpcore
import httpx

from pygeoapi_prefect.exceptions import ReferenceRefusedError
from pygeoapi_prefect.references.addresses import AddressPolicy

__all__ = ["MAX_REDIRECTS", "AddressPolicy", "guarded_client"]

MAX_REDIRECTS = 5

_CHAIN = "pygeoapi_prefect.chain"
"""Extension of a request that httpx passes on to the request that follows a redirect."""

_KEPT_ELSEWHERE = frozenset({"host", "accept", "accept-encoding", "connection", "user-agent", "content-length"})
"""Headers that a redirect to another server keeps."""


def guarded_client(policy: AddressPolicy, *, timeout: float) -> httpx.Client:
    """
    A client that asks only what the policy allows, at the first request and after each redirect.

    Names are resolved once for each request, all their addresses are checked, and the connection is made to one of
    them: a name that resolves to something else a moment later gains nothing. Proxies and ``.netrc`` play no
    part; ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name other certificates. Thread-safe; neither connections nor cookies
    are kept.

    Args:
        policy: What may be asked.
        timeout: Seconds for the whole of a request: its redirects, and the reading of its body.

    Returns:
        The client. It follows redirects unless a request says ``follow_redirects=False``. Its requests raise
        ReferenceRefusedError, and httpx's errors.
    """
    return httpx.Client(
        headers={"User-Agent": _user_agent()},
        transport=_GuardedTransport(policy, timeout),
        # what one client's server sets is nothing to that of another
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=timeout,
        trust_env=False,
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
    )


@cache
def _user_agent() -> str:
    return f"pygeoapi-prefect/{version('pygeoapi-prefect')}"


class _Unlogged(logging.Filter):
    """
    httpx logs each URL with its query, where signatures and tokens stand. Not of requests that we make for clients.

    Other requests of the process are logged as ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_thread = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        url = getattr(self.in_thread, "url", None)
        arguments = record.args if isinstance(record.args, tuple) else ()
        return url is None or not any(one is url for one in arguments)


_UNLOGGED = _Unlogged()
logging.getLogger("httpx").addFilter(_UNLOGGED)


@dataclass(frozen=True, slots=True)
class _Chain:
    """A request and the redirects that follow: where it began, when all of it must end, how the last hop went."""

    origin: tuple[str, str, int]
    deadline: float
    scheme: str


class _GuardedTransport(httpx.BaseTransport):
    """
    httpx over httpcore, with a backend that checks addresses.

    httpx's own transport takes no backend; to replace its pool from outside would leave us unguarded, without a sound,
    once the attribute has another name.
    """

    def __init__(self, policy: AddressPolicy, timeout: float) -> None:
        self._policy = policy
        self._timeout = timeout
        # reads nothing of the environment but where certificates are
        self._ssl_context = httpx.create_ssl_context(verify=True, trust_env=True)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        chain = self._follow(request)
        _UNLOGGED.in_thread.url = request.url
        pool = httpcore.ConnectionPool(
            ssl_context=self._ssl_context,
            network_backend=_CheckingBackend(self._policy, chain.deadline),
        )
        try:
            with _httpx_errors():
                response = pool.handle_request(
                    httpcore.Request(
                        method=request.method,
                        url=httpcore.URL(
                            scheme=request.url.raw_scheme,
                            host=request.url.raw_host,
                            port=request.url.port,
                            target=request.url.raw_path,
                        ),
                        headers=request.headers.raw,
                        content=request.stream,
                        extensions=request.extensions,
                    )
                )
        except BaseException:
            pool.close()
            raise
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response, pool),
            extensions=response.extensions,
        )

    def _follow(self, request: httpx.Request) -> _Chain:
        url = request.url
        if url.scheme not in ("http", "https"):
            raise ReferenceRefusedError(
                f"{url.scheme} is no scheme that clients may have asked",
                user_msg="This server asks http and https addresses only.",
            )
        if url.userinfo:
            raise ReferenceRefusedError(user_msg="This server asks no address with a user name or password in it.")
        port = (443 if url.scheme == "https" else 80) if url.port is None else url.port
        if not url.host or not 0 < port < 65536:
            raise ReferenceRefusedError(user_msg="This server asks no address without a host, and no such port.")
        origin = (url.scheme, url.host, port)
        before: _Chain | None = request.extensions.get(_CHAIN)
        if before is None:
            chain = _Chain(origin, time.monotonic() + self._timeout, url.scheme)
        else:
            if before.scheme == "https" and url.scheme == "http":
                raise ReferenceRefusedError(user_msg="This server follows no redirect from https to http.")
            chain = _Chain(before.origin, before.deadline, url.scheme)
            if origin != before.origin:
                for name in set(request.headers) - _KEPT_ELSEWHERE:
                    del request.headers[name]
        request.extensions[_CHAIN] = chain
        return chain


class _Body(httpx.SyncByteStream):
    """The body of a response, with the only connection of its pool."""

    def __init__(self, response: httpcore.Response, pool: httpcore.ConnectionPool) -> None:
        self._response = response
        self._pool = pool

    def __iter__(self) -> Iterator[bytes]:
        with _httpx_errors():
            yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()
        self._pool.close()


@contextmanager
def _httpx_errors() -> Iterator[None]:
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        # both libraries have the same errors under the same names
        raise getattr(httpx, type(error).__name__)(str(error)) from error


class _CheckingBackend(httpcore.NetworkBackend):
    """Resolves a name, checks all of its addresses, and connects to one of those; until the deadline."""

    def __init__(self, policy: AddressPolicy, deadline: float) -> None:
        self._policy = policy
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._policy.check(host, port, _resolve(host, port))
        for number, address in enumerate(addresses, 1):
            left = _left(self._deadline, httpcore.ConnectTimeout)
            try:
                stream = self._plain.connect_tcp(
                    str(address),
                    port,
                    # an address that does not answer leaves time for the others
                    left / (len(addresses) - number + 1),
                    local_address,
                    socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(addresses):
                    raise
            else:
                return _TimedStream(stream, self._deadline)
        raise httpcore.ConnectError(f"{host} has no address")

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        raise ReferenceRefusedError(f"{path} is a socket of this host")


def _resolve(host: str, port: int) -> list[str]:
    if "%" in host:
        raise ReferenceRefusedError(f"{host} names an interface of this host")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(str(error)) from error
    return [str(address[0]) for _, _, _, _, address in found]


def _left(deadline: float, error: type[Exception]) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise error("timed out")
    return left


class _TimedStream(httpcore.NetworkStream):
    """
    A connection that ends at the deadline.

    The time-outs of httpcore count from one byte to the next, headers included, so that a server which drips would
    hold a connection for ever.
    """

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
