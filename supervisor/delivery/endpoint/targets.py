"""Which addresses may be called: decided for the address that is about to be connected to, so that
a name that leads elsewhere the second time (DNS rebinding), an address written as a number, and a
redirect are all covered by one rule.

Python's own `is_private` and `is_global` miss several of these networks, so they are listed. Their
source is IANA's registries of special-purpose addresses (RFC 6890 and later).
"""

import errno
import ipaddress
import socket
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
AddressInfo = tuple[int, int, int, str, Any]
"""As getaddrinfo gives it: family, type, protocol, name, address."""


def _networks(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


PRIVATE: Final = _networks(
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",  # carrier-grade NAT; many clouds' inner services
    "::1/128",
    "fc00::/7",
)
"""Where an operator's own services are, and a stranger's never."""
NEVER: Final = _networks(
    "0.0.0.0/8",
    "169.254.0.0/16",  # link-local: the clouds' metadata, with the machine's credentials
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "64:ff9b::/96",  # NAT64: an IPv4 address in other clothes
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",  # Teredo and other protocols' own
    "2001:db8::/32",
    "2002::/16",  # 6to4: an IPv4 address in other clothes
    "3fff::/20",
    "5f00::/16",  # segment routing
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)
"""Where nobody's webhook is, whatever is allowed."""

REFUSED: Final = "The target's address is none that may be called (docs/webhooks.md)."
"""The same words for all of them: an error must not tell which addresses answer."""


def look_up(host: str, port: int, family: int = socket.AF_UNSPEC) -> Sequence[AddressInfo]:
    """The addresses of a name, of which a Guard is asked then; it may block. Raises OSError."""
    try:
        return socket.getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    except UnicodeError:  # a label that is too long
        raise socket.gaierror(socket.EAI_NONAME, "it cannot be one") from None


class TargetRefused(OSError):
    """The address may not be called."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, REFUSED)


class Guard:
    """Makes the sockets, and none to an address that may not be called.

    `own`: our API's address and port, which no webhook may call, as a process of our own user is
    asked no token there.
    """

    def __init__(self, private_allowed: bool, own: tuple[str, int]) -> None:
        self._private_allowed = private_allowed
        self._own = own

    def allows(self, host: str, port: int) -> bool:
        """Whether an address (not a name) may be called."""
        address = _plain(ipaddress.ip_address(host.partition("%")[0]))
        if any(address in network for network in NEVER):
            return False
        if any(address in network for network in PRIVATE):
            return self._private_allowed and not self._is_own(address, port)
        return not self._is_own(address, port)

    def socket(self, info: AddressInfo) -> socket.socket:
        """A socket for that address. Raises TargetRefused."""
        family, kind, protocol, _, address = info
        if not self.allows(address[0], address[1]):
            raise TargetRefused
        return socket.socket(family=family, type=kind, proto=protocol)

    def _is_own(self, address: IPAddress, port: int) -> bool:
        host, own_port = self._own
        if port != own_port:
            return False
        try:
            listening = ipaddress.ip_address(host)
        except ValueError:  # a name, whose addresses may be any
            return True
        # on 0.0.0.0 it is at all of the machine's addresses, which nobody lists
        return address == listening or address.is_loopback or listening.is_unspecified


class Guards(NamedTuple):
    """What those may call whom the operator trusts with his own network, and what others may."""

    trusted: Guard
    others: Guard

    @classmethod
    def of(cls, private: bool | None, own: tuple[str, int], *, on_loopback: bool) -> "Guards":
        """`private`: whether private addresses may be called, as it is set; None: by those who are
        trusted, while our API is on loopback itself.
        """
        trusted = on_loopback if private is None else private
        return cls(Guard(trusted, own), Guard(private is True, own))


def _plain(address: IPAddress) -> IPAddress:
    """An IPv4 address that is written as an IPv6 one is an IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
