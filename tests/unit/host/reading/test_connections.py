"""Counting connections: the kernel's tables as they look, and real sockets."""

import socket
from pathlib import Path

import pytest

from supervisor.host.reading import connections
from supervisor.host.reading.connections import count_connections, count_rows, websocket_ports

HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout"
    " inode"
)
STATE = {"established": "01", "syn_sent": "02", "time_wait": "06", "listen": "0A"}


def address(text: str, port: int) -> str:
    return "".join(f"{int(part):02X}" for part in reversed(text.split("."))) + f":{port:04X}"


def row(number: int, local: str, remote: str, state: str = "established") -> str:
    return (
        f"{number:4d}: {local} {remote} {STATE[state]} 00000000:00000000 00:00000000 00000000     0"
        "        0 1 1 0 100 0 0 10 0"
    )


def tcp(*rows: tuple[str, str, str], first: int = 0) -> bytes:
    """The table of IPv4, padded as the kernel pads it."""
    lines = [HEAD, *(row(first + number, *one) for number, one in enumerate(rows))]
    return "".join(f"{line:149}\n" for line in lines).encode()


def tcp6(*rows: tuple[str, str, str]) -> bytes:
    return "".join(
        f"{line}\n" for line in [HEAD, *(row(number, *one) for number, one in enumerate(rows))]
    ).encode()


HERE, THERE = "10.0.0.5", "157.240.1.1"
NOBODY = address("0.0.0.0", 0)


def test_states_ports_and_websockets_are_counted() -> None:
    table = tcp(
        (address("127.0.0.1", 4001), NOBODY, "listen"),
        (address(HERE, 50_000), address(THERE, 443), "established"),
        (address(HERE, 50_001), address(THERE, 443), "established"),
        (address(HERE, 50_002), address(THERE, 443), "syn_sent"),
        (address(HERE, 50_003), address(THERE, 5432), "established"),
        (address(HERE, 4001), address("10.0.0.9", 60_000), "established"),
        (address(HERE, 50_004), address(THERE, 443), "time_wait"),
    )
    found = count_rows(table, b"", {443, 4001})
    assert (found.total, found.established, found.websockets) == (6, 4, 3)
    assert found.by_state == {"established": 4, "listen": 1, "syn_sent": 1, "time_wait": 1}
    assert found.by_port == {443: 4, 5432: 1, 4001: 1}


def test_who_calls_our_own_port_443_calls_a_web_server() -> None:
    table = tcp(
        (address(HERE, 443), NOBODY, "listen"),
        (address(HERE, 443), address("10.0.0.9", 60_000), "established"),
        (address(HERE, 8000), address("10.0.0.9", 60_001), "established"),
    )
    assert count_rows(table, b"", {443, 8000}).websockets == 1


def test_a_connection_to_ourselves_is_one_websocket_and_two_sockets() -> None:
    server, client = address("127.0.0.1", 8000), address("127.0.0.1", 60_000)
    found = count_rows(
        tcp((server, client, "established"), (client, server, "established")), b"", {8000}
    )
    assert (found.total, found.websockets) == (2, 1)


def test_a_server_for_both_families_lists_its_end_elsewhere() -> None:
    """The server's end stands in the table of IPv6, with the same address written as IPv6."""
    mapped = "0000000000000000FFFF0000"
    server, client = address("127.0.0.1", 8000), address("127.0.0.1", 60_000)
    found = count_rows(
        tcp((client, server, "established")),
        tcp6(
            ("0" * 32 + ":1F40", "0" * 32 + ":0000", "listen"),
            (mapped + server, mapped + client, "established"),
        ),
        {8000},
    )
    assert (found.total, found.websockets) == (2, 1)
    assert found.by_port == {8000: 2}


def test_ipv6_is_counted() -> None:
    here, there = "0" * 24 + "01000000", "B80D0120" + "0" * 16 + "01000000"
    table = tcp6(
        (f"{here}:C350", f"{there}:01BB", "established"),
        (f"{here}:1F40", f"{there}:EA60", "established"),
    )
    found = count_rows(tcp(), table, {443, 8000})
    assert (found.total, found.websockets, found.by_port) == (2, 2, {443: 1, 60_000: 1})


@pytest.mark.parametrize("count", [9_999, 10_000, 10_001, 10_002, 100_003])
def test_a_table_with_longer_line_numbers_is_read_to_its_end(count: int) -> None:
    """From the ten-thousandth row on, all columns of the kernel's table stand one further to the
    right.
    """
    rows = [
        (address(HERE, 1024 + number % 60_000), address(THERE, 443), "established")
        for number in range(count - 1)
    ]
    table = tcp(*rows, (address(HERE, 4001), NOBODY, "listen"))
    assert len(table) % connections.LINE_BYTES == 0
    found = count_rows(table, b"", {443})
    assert (found.total, found.websockets, found.by_state["listen"]) == (count - 1, count - 1, 1)


def test_another_kernels_unpadded_table_is_read_as_well() -> None:
    lines = tcp((address(HERE, 50_000), address(THERE, 443), "established")).decode().split("\n")
    unpadded = "\n".join(line.rstrip() for line in lines).encode()
    assert count_rows(unpadded, b"", {443}).websockets == 1


@pytest.mark.parametrize("table", [b"", HEAD.encode() + b"\n", tcp()])
def test_nothing_is_nothing(table: bytes) -> None:
    found = count_rows(table, b"", {443})
    assert (found.total, found.websockets, found.by_state, found.by_port) == (0, 0, {}, {})


def test_a_state_of_a_later_kernel_is_shown_by_its_number() -> None:
    table = tcp((address(HERE, 50_000), address(THERE, 443), "established")).replace(
        b" 01 ", b" 1F "
    )
    assert count_rows(table, b"", {443}).by_state == {"state_31": 1}


def test_a_kernel_without_ipv6_has_one_table(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_bytes(
        tcp((address(HERE, 50_000), address(THERE, 443), "established"))
    )
    assert count_connections({443}, tmp_path).websockets == 1


def test_where_there_is_no_table_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        count_connections({443}, tmp_path)


def test_real_connections_are_found() -> None:
    """Both ends of twenty connections here, to a server for both families as well as to one for
    IPv4.
    """
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")):
        with socket.create_server(
            (host, 0), family=family, backlog=32, dualstack_ipv6=host == "::"
        ) as server:
            port = server.getsockname()[1]
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
            accepted = [server.accept()[0] for _ in clients]
            found = count_connections({port})
            for end in (*clients, *accepted):
                end.close()
        assert found.websockets == 20
        assert found.by_port[port] >= 40  # more where this port was another's a minute ago
        assert found.by_state["listen"] >= 1


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        (None, {443, 8000, 4001}),
        ("ws://127.0.0.1:9000/{session}", {443, 8000, 4001, 9000}),
        ("ws://relay/x", {443, 8000, 4001, 80}),
        ("wss://relay/x", {443, 8000, 4001}),
    ],
)
def test_the_usual_ports_are_whatsapps_the_servers_the_apis_and_the_seeds(
    url: str | None, ports: set[int]
) -> None:
    assert websocket_ports(4001, url) == ports
