"""Which addresses a webhook may call."""

import ipaddress
import socket

import pytest

from supervisor.delivery.endpoint.targets import NEVER, PRIVATE, Guard, Guards, TargetRefused

PUBLIC = ("93.184.216.34", "8.8.8.8", "2606:4700::1111", "2a00:1450:4001:800::200e")
MINE = (
    "127.0.0.1",
    "127.8.8.8",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.254",
    "::1",
    "fd00::1",
    "::ffff:10.0.0.1",
)
NOBODYS = (
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:a9fe:a9fe::1",
    "5f00::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
)
OWN = ("127.0.0.1", 4001)


def guard(private: bool, own: tuple[str, int] = OWN) -> Guard:
    return Guard(private, own)


@pytest.mark.parametrize("address", MINE)
@pytest.mark.parametrize(
    ("private", "on_loopback", "trusted", "others"),
    [
        (None, True, True, False),
        (None, False, False, False),
        (True, False, True, True),
        (False, True, False, False),
    ],
)
def test_the_operator_s_own_networks_are_for_whom_he_trusts_unless_he_opens_them_to_all(
    address: str, private: bool | None, on_loopback: bool, trusted: bool, others: bool
) -> None:
    guards = Guards.of(private, OWN, on_loopback=on_loopback)
    assert guards.trusted.allows(address, 443) == trusted
    assert guards.others.allows(address, 443) == others


@pytest.mark.parametrize("address", PUBLIC)
def test_the_internet_may_be_called(address: str) -> None:
    assert guard(False).allows(address, 443)
    assert guard(True).allows(address, 443)


@pytest.mark.parametrize("address", MINE)
def test_the_operator_s_own_networks_may_be_called_where_that_is_allowed(address: str) -> None:
    assert not guard(False).allows(address, 443)
    assert guard(True).allows(address, 443)


@pytest.mark.parametrize("address", NOBODYS)
def test_nobody_s_webhook_is_there(address: str) -> None:
    assert not guard(False).allows(address, 443)
    assert not guard(True).allows(address, 443)


@pytest.mark.parametrize("network", [*NEVER, *PRIVATE])
def test_the_first_and_the_last_address_of_each_network_are_refused(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> None:
    for address in (network[0], network[-1]):
        assert not guard(False).allows(str(address), 443)


@pytest.mark.parametrize(
    ("own", "address"),
    [
        (("127.0.0.1", 4001), "127.0.0.1"),
        (("127.0.0.1", 4001), "127.0.0.2"),
        (("127.0.0.1", 4001), "::ffff:127.0.0.1"),
        (("0.0.0.0", 4001), "10.0.0.7"),
        (("0.0.0.0", 4001), "93.184.216.34"),
        (("::", 4001), "::1"),
        (("localhost", 4001), "127.0.0.1"),
        (("93.184.216.34", 4001), "93.184.216.34"),
    ],
)
def test_our_own_api_is_called_by_no_webhook(own: tuple[str, int], address: str) -> None:
    assert not guard(True, own).allows(address, 4001)
    assert guard(True, own).allows(address, 5678), "another port there is somebody else"


def test_no_socket_is_made_for_an_address_that_is_refused() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("169.254.169.254", 80))
    with pytest.raises(TargetRefused):
        guard(True).socket(info)
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80))
    with guard(True).socket(info) as made:
        assert made.type == socket.SOCK_STREAM
