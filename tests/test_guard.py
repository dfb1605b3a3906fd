"""Which addresses clients may have asked, and the client that connects to no other."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pygeoapi_prefect.exceptions import ReferenceRefusedError
from pygeoapi_prefect.references.addresses import AddressPolicy, AllowedHost, Reach, reach_of
from pygeoapi_prefect.references.guard import MAX_REDIRECTS, guarded_client

PUBLIC = ["93.184.216.34", "1.1.1.1", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"]
INTERNAL = [
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"),
    *("::1", "fc00::1", "fd12:3456::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1"),
]
SPECIAL = [
    *("169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"),
    *("::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "192.0.0.192", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
    *("2001:db8::1", "fec0::1", "100::1", "64:ff9b:1::7f00:1", "::127.0.0.1", "3fff::1"),
    # 127.0.0.1 in 6to4, Teredo (as server and as client), and ISATAP
    *("2002:7f00:1::", "2001:0:7f00:1:0:0:fefe:fefe", "2001:0:101:101:0:0:80ff:fffe", "fe80::5efe:127.0.0.1"),
]
NEVER = ["0.0.0.0", "255.255.255.255", "224.0.0.1", "239.1.2.3", "::", "ff02::1", "::ffff:0.0.0.0"]


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        *((address, Reach.PUBLIC) for address in PUBLIC),
        *((address, Reach.INTERNAL) for address in INTERNAL),
        *((address, Reach.SPECIAL) for address in SPECIAL),
        *((address, Reach.NEVER) for address in NEVER),
    ],
)
def test_every_kind_of_address_is_known(address: str, reach: Reach) -> None:
    """An address reaches what it names, and what an address that is embedded in it names."""
    assert reach_of(ip_address(address)) is reach


def test_an_embedded_address_makes_a_public_one_internal() -> None:
    """ISATAP below a public prefix leads to the IPv4 address in it."""
    assert reach_of(ip_address("2606:2800::5efe:10.0.0.1")) is Reach.INTERNAL
    assert reach_of(ip_address("2606:2800::200:5efe:1.1.1.1")) is Reach.PUBLIC


def may_ask(policy: AddressPolicy, host: str, port: int, *addresses: str) -> bool:
    try:
        policy.check(host, port, addresses)
    except ReferenceRefusedError:
        return False
    return True


@pytest.mark.parametrize("address", INTERNAL + SPECIAL + NEVER)
def test_only_public_addresses_may_be_asked_by_default(address: str) -> None:
    """Without configuration nothing internal is reached."""
    assert not may_ask(AddressPolicy(), "example.org", 443, address)


@pytest.mark.parametrize("address", SPECIAL + NEVER)
def test_allow_internal_leaves_the_credentials_of_clouds_alone(address: str) -> None:
    """``allow_internal_requests`` opens the internal network, but not what only this machine is meant to read."""
    assert not may_ask(AddressPolicy(allow_internal=True), "example.org", 443, address)


@pytest.mark.parametrize("address", PUBLIC + INTERNAL)
def test_allow_internal_opens_the_internal_network(address: str) -> None:
    """``allow_internal_requests: true`` lets private, shared and loopback addresses through."""
    assert may_ask(AddressPolicy(allow_internal=True), "example.org", 443, address)


def test_one_refused_address_condemns_a_name() -> None:
    """A name with a public and an internal address is refused: nobody knows which one would be asked."""
    assert not may_ask(AddressPolicy(), "example.org", 443, "1.1.1.1", "10.0.0.1")


@pytest.mark.parametrize(
    ("entry", "host", "port", "address", "matches"),
    [
        ("data.example.org", "data.example.org", 80, "10.0.0.1", True),
        ("Data.Example.org.", "DATA.example.ORG", 80, "10.0.0.1", True),
        ("data.example.org", "data.example.org.", 80, "10.0.0.1", True),
        ("data.example.org", "metadata.example.org", 80, "10.0.0.1", False),
        ("data.example.org", "x.data.example.org", 80, "10.0.0.1", False),
        ("data.example.org", "data.example.org.evil.net", 80, "10.0.0.1", False),
        ("data.example.org:8443", "data.example.org", 8443, "10.0.0.1", True),
        ("data.example.org:8443", "data.example.org", 443, "10.0.0.1", False),
        ("*.example.org", "a.example.org", 80, "10.0.0.1", True),
        ("*.example.org", "a.b.example.org", 80, "10.0.0.1", True),
        ("*.example.org", "example.org", 80, "10.0.0.1", False),
        ("*.example.org", "evilexample.org", 80, "10.0.0.1", False),
        ("*.example.org:81", "a.example.org", 80, "10.0.0.1", False),
        ("minio", "minio", 9000, "172.18.0.4", True),
        ("10.0.0.1", "anything", 80, "10.0.0.1", True),
        ("10.0.0.1", "anything", 80, "::ffff:10.0.0.1", True),
        ("10.0.0.1", "10.0.0.1", 80, "10.0.0.2", False),
        ("10.0.0.1:8080", "anything", 8080, "10.0.0.1", True),
        ("10.0.0.1:8080", "anything", 80, "10.0.0.1", False),
        ("10.1.0.0/16", "anything", 80, "10.1.2.3", True),
        ("10.1.0.0/16", "anything", 80, "10.2.2.3", False),
        ("169.254.169.254", "anything", 80, "169.254.169.254", True),
        ("[::1]:8080", "anything", 8080, "::1", True),
        ("::1", "anything", 8080, "::1", True),
        ("fd00::/8", "anything", 80, "fd12::1", True),
        ("0.0.0.0/0", "anything", 80, "0.0.0.0", False),
        ("224.0.0.1", "anything", 80, "224.0.0.1", False),
    ],
)
def test_allowed_hosts_let_through_what_they_name(
    entry: str, host: str, port: int, address: str, matches: bool
) -> None:
    """An entry of ``allowed_hosts`` opens exactly its name or network, at its port or at all."""
    assert may_ask(AddressPolicy(allowed_hosts=[entry]), host, port, address) is matches


@pytest.mark.parametrize(
    "entry",
    [
        *("", "*", "*.", "http://example.org", "example.org/path", "user@example.org", "example.org:0"),
        *(
            "example.org:99999",
            "10.0.0.0/99",
            "10.0.0.1/8",
            "300.1.1.1",
            "127.1",
            "a b",
            "*.*.org",
            "x.*.org",
            "fe80::1%eth0",
        ),
    ],
)
def test_what_is_no_host_is_refused(entry: str) -> None:
    """An entry that cannot be read stops the start, instead of opening something else."""
    with pytest.raises(ValueError, match="is no host name"):
        AllowedHost.parse(entry)


# ---------------------------------------------------------------- the client


class Listener:
    """A server on a loopback address that notes each request, and answers as it is told."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        listener = self
        self.heard: list[httpx.Headers] = []
        self.status, self.headers = 200, dict[str, str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listener.heard.append(httpx.Headers(list(self.headers.items())))
                self.send_response(listener.status)
                for name, value in listener.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer((address, port), Handler)
        self.port = self.server.server_port
        self.url = f"http://{address}:{self.port}/"


@contextmanager
def listening(address: str = "127.0.0.1", port: int = 0) -> Iterator[Listener]:
    listener = Listener(address, port)
    thread = threading.Thread(target=listener.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield listener
    finally:
        listener.server.shutdown()
        listener.server.server_close()
        thread.join()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001"),
        *("localhost", "LOCALHOST", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0", "0.0.0.0", "127.0.0.1."),
    ],
)
def test_no_spelling_of_loopback_is_asked(host: str) -> None:
    """Whatever the resolver takes for an address is judged by what it resolves to."""
    with listening() as listener, guarded_client(AddressPolicy(), timeout=5) as client:
        with pytest.raises((ReferenceRefusedError, httpx.ConnectError, httpx.InvalidURL)):
            client.get(f"http://{host}:{listener.port}/")
        assert listener.heard == []


@pytest.mark.parametrize(
    "url", ["ftp://example.org/", "file:///etc/passwd", "http://u:p@example.org/", "http://u@example.org/", "/relative"]
)
def test_only_plain_web_addresses_are_asked(url: str) -> None:
    """Other schemes and credentials in the URL are refused before a name is resolved."""
    with guarded_client(AddressPolicy(), timeout=5) as client, pytest.raises(ReferenceRefusedError):
        client.get(url)


def test_the_client_learns_no_address() -> None:
    """What a name resolved to stays with the operator."""
    with guarded_client(AddressPolicy(), timeout=5) as client, pytest.raises(ReferenceRefusedError) as refused:
        client.get("http://localhost:1/")
    assert refused.value.user_msg == "This server may not ask that address."
    assert "127.0.0.1" in str(refused.value) or "::1" in str(refused.value)


def resolving(monkeypatch: pytest.MonkeyPatch, **answers: list[str]) -> list[str]:
    """Names ending in ``.test`` resolve to one answer after the other; the list of names that were resolved."""
    real, asked = socket.getaddrinfo, list[str]()

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = str(host).removesuffix(".test")
        if name not in answers:
            return real(host, port, *args, **kwargs)
        asked.append(name)
        left = answers[name]
        return real(left.pop(0) if len(left) > 1 else left[0], port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_a_name_that_changes_its_address_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is made to the address that was checked, however the name resolves a moment later."""
    asked = resolving(monkeypatch, rebinding=["127.0.0.2", "127.0.0.1"])
    policy = AddressPolicy(allowed_hosts=["127.0.0.2"])
    with listening() as internal, listening("127.0.0.2", internal.port) as checked:
        with guarded_client(policy, timeout=5) as client:
            assert client.get(f"http://rebinding.test:{internal.port}/").text == "ok"
            assert (asked, len(checked.heard), internal.heard) == (["rebinding"], 1, [])
            with pytest.raises(ReferenceRefusedError):
                client.get(f"http://rebinding.test:{internal.port}/")
        assert checked.heard[0]["host"] == f"rebinding.test:{internal.port}"
        assert internal.heard == []


def test_a_second_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address of a name that refuses connections does not hide the others."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "two.test":
            return real(host, port, *args, **kwargs)
        return real("127.0.0.3", port, *args, **kwargs) + real("127.0.0.2", port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    policy = AddressPolicy(allowed_hosts=["127.0.0.0/8"])
    with listening("127.0.0.2") as listener, guarded_client(policy, timeout=5) as client:
        assert client.get(f"http://two.test:{listener.port}/").text == "ok"


def test_redirects_are_checked() -> None:
    """A server that may be asked cannot send us to one that may not."""
    with listening() as internal, listening("127.0.0.2") as open_:
        open_.status, open_.headers = 302, {"Location": internal.url}
        policy = AddressPolicy(allowed_hosts=["127.0.0.2"])
        with guarded_client(policy, timeout=5) as client, pytest.raises(ReferenceRefusedError):
            client.get(open_.url)
        assert (len(open_.heard), internal.heard) == (1, [])


def test_redirects_carry_nothing_to_another_server() -> None:
    """Credentials, cookies and own headers stay with the server that they were meant for."""
    with listening() as second, listening("127.0.0.2") as first:
        first.status = 302
        first.headers = {"Location": second.url, "Set-Cookie": "session=1; Domain=127.0.0.1"}
        sent = {"Authorization": "Bearer t", "X-Api-Key": "k", "Cookie": "a=b", "Accept": "text/plain"}
        with guarded_client(AddressPolicy(allow_internal=True), timeout=5) as client:
            assert client.get(first.url, headers=sent).text == "ok"
        assert first.heard[0]["x-api-key"] == "k"
        assert set(second.heard[0]) == {"host", "accept", "accept-encoding", "connection", "user-agent"}
        assert second.heard[0]["accept"] == "text/plain"


def test_no_cookie_is_kept() -> None:
    """What a server sets is sent to none, itself included: clients' calls share one client."""
    with listening() as listener, guarded_client(AddressPolicy(allow_internal=True), timeout=5) as client:
        listener.headers = {"Set-Cookie": "session=1; Path=/"}
        client.get(listener.url)
        client.get(listener.url)
        assert ["cookie" in headers for headers in listener.heard] == [False, False]
        assert len(client.cookies) == 0


def test_redirects_end() -> None:
    """After a few redirects it is enough."""
    with listening() as round_, guarded_client(AddressPolicy(allow_internal=True), timeout=5) as client:
        round_.status, round_.headers = 302, {"Location": round_.url}
        with pytest.raises(httpx.TooManyRedirects):
            client.get(round_.url)
        assert len(round_.heard) == MAX_REDIRECTS + 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate of ``tls.test`` in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tls.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("tls.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "tls.pem"
    pkcs8 = serialization.PrivateFormat.PKCS8
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@contextmanager
def listening_with_tls(certificate: Path) -> Iterator[tuple[Listener, list[str]]]:
    """A server with TLS, and the names that it was called by."""
    names: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _, name, __: names.append(name)
    with listening() as listener:
        listener.server.socket = context.wrap_socket(listener.server.socket, server_side=True)
        yield listener, names


def test_tls_is_that_of_the_name(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    """Connected to is an address, but the server's name, its certificate and ``Host`` are those of the URL."""
    resolving(monkeypatch, tls=["127.0.0.1"], other=["127.0.0.1"])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    policy = AddressPolicy(allow_internal=True)
    with listening_with_tls(certificate) as (listener, names), guarded_client(policy, timeout=5) as client:
        assert client.get(f"https://tls.test:{listener.port}/").text == "ok"
        assert (names, listener.heard[0]["host"]) == (["tls.test"], f"tls.test:{listener.port}")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            client.get(f"https://other.test:{listener.port}/")
        assert len(listener.heard) == 1


def test_unknown_certificates_are_refused(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    """Nobody vouches for a self-signed certificate."""
    resolving(monkeypatch, tls=["127.0.0.1"])
    policy = AddressPolicy(allow_internal=True)
    with listening_with_tls(certificate) as (listener, _), guarded_client(policy, timeout=5) as client:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            client.get(f"https://tls.test:{listener.port}/")
        assert listener.heard == []


def test_redirects_keep_tls(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    """A redirect from https to http would send in the clear what was not."""
    resolving(monkeypatch, tls=["127.0.0.1"])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    policy = AddressPolicy(allow_internal=True)
    with listening() as plain, listening_with_tls(certificate) as (listener, _):
        listener.status, listener.headers = 302, {"Location": plain.url}
        with guarded_client(policy, timeout=5) as client, pytest.raises(ReferenceRefusedError, match="https to http"):
            client.get(f"https://tls.test:{listener.port}/")
        assert (len(listener.heard), plain.heard) == (1, [])


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would resolve names anew, unchecked."""
    with listening() as proxy, listening("127.0.0.2") as wanted:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        with guarded_client(AddressPolicy(allow_internal=True), timeout=5) as client:
            assert client.get(wanted.url).text == "ok"
        assert (proxy.heard, len(wanted.heard)) == ([], 1)
