"""A session's proxy: the URL as operators write it, checked.

User and password are secrets: only `url` holds them, and nothing prints it.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final

from sessions.model import InvalidProxy

SCHEMES: Final = ("http", "https", "socks4", "socks5", "socks5h")
MAX_CHARACTERS: Final = 1024
"""User and password have at most 255 bytes each (RFC 1929), which percent signs triple."""

_TEXT: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_URL: Final = re.compile(
    rf"(?P<scheme>[A-Za-z0-9]+)://(?:(?P<account>{_TEXT}+(?::{_TEXT}*)?)@)?"
    r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})/?"
)
"""Stricter than any URL parser, so that this one and the worker's never disagree about whom a URL
names.
"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    `url` is a secret; `name` (scheme, host, port) is what may be shown, and names the egress.
    """

    url: str = field(repr=False)
    name: str


def parse_proxy(text: str) -> Proxy:
    """Check a proxy's URL.

    Raises InvalidProxy, which never quotes it: there may be a password in it.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidProxy(f"The proxy's URL is longer than {MAX_CHARACTERS} characters.")
    found = _URL.fullmatch(text.strip())
    if found is None:
        raise InvalidProxy("That is not a proxy's URL.")
    scheme, host, port = found["scheme"].lower(), found["host"].lower(), int(found["port"])
    if scheme not in SCHEMES:
        raise InvalidProxy("The scheme of the proxy's URL is none that is known here.")
    if not 1 <= port <= 65_535:
        raise InvalidProxy("The port of the proxy's URL is not from 1 to 65535.")
    if host.startswith("["):
        _check_address(host[1:-1])
    account = f"{found['account']}@" if found["account"] else ""
    return Proxy(f"{scheme}://{account}{host}:{port}", f"{scheme}://{host}:{port}")


def _check_address(text: str) -> None:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        raise InvalidProxy("The address in the proxy's URL is not an IPv6 address.") from None
