"""Which addresses this server may ask when a client names them, and how they are shown."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from pygeoapi_prefect.exceptions import ReferenceRefusedError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_INTERNAL = [
    ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "::1/128", "fc00::/7"),
        "100.64.0.0/10",  # shared address space, RFC 6598
    )
]
_SPECIAL = [
    ip_network(text)
    for text in (
        # not public by IANA's registries, whatever the Python release makes of them
        *("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20"),
        # where clouds answer with credentials and user data
        *("169.254.0.0/16", "fe80::/10"),
        "fd00:ec2::/32",  # AWS
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure; a public address that Azure's machines reach from within only
    )
]
_NAT64 = ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE = ip_network("::/96")
_GLOBAL_UNICAST = ip_network("2000::/3")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
"""Upper half of an interface identifier that holds an IPv4 address. Source: RFC 5214, section 6.1."""

_SHOWN_LENGTH = 200

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\.?")
_WITH_PORT = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>\d{1,5})")


def without_secrets(url: str) -> str:
    """A URL as messages and logs may show it: without user name, and without its query, where signatures stand."""
    text = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = text.partition("://")
    if separator:
        host, slash, path = rest.partition("/")
        text = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"


class Reach(IntEnum):
    """
    What an address leads to, from the harmless to the impossible.

    Attributes:
        PUBLIC: The internet.
        INTERNAL: Private, shared and loopback addresses.
        SPECIAL: Where clouds give credentials to their machines, link-local and whatever else is not public.
        NEVER: No server has it: multicast, broadcast, unspecified.
    """

    PUBLIC = 0
    INTERNAL = 1
    SPECIAL = 2
    NEVER = 3


def reach_of(address: Address) -> Reach:
    """The reach of an address; where IPv4 addresses are embedded in it, the worst of all."""
    return max(_reach_of_plain(address), *(reach_of(one) for one in _embedded(address)), Reach.PUBLIC)


def plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 address is only another spelling of (mapped, NAT64); else the address."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _reach_of_plain(address: Address) -> Reach:
    address = plain(address)
    if address.is_multicast or address.is_unspecified or address == IPv4Address("255.255.255.255"):
        return Reach.NEVER
    if _is_in(address, _SPECIAL):
        return Reach.SPECIAL
    if _is_in(address, _INTERNAL):
        return Reach.INTERNAL
    is_public = address.is_global and not address.is_reserved and (address.version == 4 or address in _GLOBAL_UNICAST)
    return Reach.PUBLIC if is_public else Reach.SPECIAL


def _embedded(address: Address) -> Iterator[IPv4Address]:
    if isinstance(address, IPv4Address):
        return
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    low = int(address) & 0xFFFFFFFF
    if (address in _IPV4_COMPATIBLE and low > 1) or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(low)


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """
    One entry of ``server.manager.allowed_hosts``.

    Attributes:
        name: Lower case; ``*.example.org`` stands for every name below. None for a network.
        network: A single address is a network of one. None for a name.
        port: None: every port.
    """

    name: str | None
    network: Network | None
    port: int | None

    @classmethod
    def parse(cls, entry: str) -> "AllowedHost":
        """
        Read ``name``, ``*.name``, ``address`` or ``network/bits``; all but networks may have a ``:port``.

        Raises:
            ValueError: It is none of them.
        """
        text, port = entry.strip(), None
        if with_port := _WITH_PORT.fullmatch(text):
            text, port = with_port["ipv6"] or with_port["host"], int(with_port["port"])
        if (port is None or 0 < port < 65536) and "%" not in text:
            try:
                return cls(None, ip_network(text), port)
            except ValueError:
                # only digits and dots would be another spelling of an address, or a typing error in one
                if _NAME.fullmatch(text) and not re.fullmatch(r"[\d.]+", text):
                    return cls(text.lower().rstrip("."), None, port)
        raise ValueError(f"{entry!r} is no host name, *.name, address or network/bits, with or without :port")

    def matches(self, host: str, port: int, address: Address) -> bool:
        """Whether *address*, which *host* resolved to, may be asked at *port*."""
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return _is_in(plain(address), [self.network]) or _is_in(address, [self.network])
        assert self.name is not None
        name = host.lower().rstrip(".")
        return name.endswith(self.name[1:]) if self.name.startswith("*.") else name == self.name


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """
    Which addresses may be asked: the public ones, and what is allowed besides.

    Attributes:
        allow_internal: Whether internal addresses may be asked; special ones may not even then.
        allowed_hosts: Entries for :meth:`AllowedHost.parse`. What they match may be asked, internal or special.

    Raises:
        ValueError: An entry cannot be read.
    """

    allow_internal: bool = False
    allowed_hosts: Sequence[str] = ()
    _allowed: tuple[AllowedHost, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_allowed", tuple(map(AllowedHost.parse, self.allowed_hosts)))

    def check(self, host: str, port: int, addresses: Sequence[str]) -> list[Address]:
        """
        Check all addresses that a name resolved to. One that may not be asked condemns the others with it.

        Args:
            host: Of the URL, whatever its spelling.
            port: Of the URL.
            addresses: What the resolver made of *host*.

        Returns:
            The addresses, to connect to one of them.

        Raises:
            ReferenceRefusedError: One of them may not be asked.
        """
        checked = [ip_address(text) for text in dict.fromkeys(addresses)]
        for address in checked:
            if not self._may_ask(host, port, address):
                raise ReferenceRefusedError(
                    f"{host}:{port} leads to {address}, which clients may not have asked. Where they may, add the "
                    "name or the address to server.manager.allowed_hosts."
                )
        return checked

    def _may_ask(self, host: str, port: int, address: Address) -> bool:
        reach = reach_of(address)
        if reach is Reach.PUBLIC or (reach is Reach.INTERNAL and self.allow_internal):
            return True
        return reach is not Reach.NEVER and any(one.matches(host, port, address) for one in self._allowed)
