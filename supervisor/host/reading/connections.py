"""How many TCP connections this host has, by state and port, and how many of them are WebSocket
ones.

Read from `/proc/net/tcp` and `/proc/net/tcp6`, each once: the cost of a reading is in
docs/benchmarks.md (10,000 connections).
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from supervisor.host.numbers import whole

STATES: Final[Mapping[int, str]] = {
    1: "established",
    2: "syn_sent",
    3: "syn_received",
    4: "fin_wait_1",
    5: "fin_wait_2",
    6: "time_wait",
    7: "close",
    8: "close_wait",
    9: "last_ack",
    10: "listen",
    11: "closing",
    12: "new_syn_received",
}
"""The kernel's numbers (include/net/tcp_states.h)."""
HTTPS: Final = 443
"""WhatsApp's port.

Only as the remote one: connections *to* this host's port 443 belong to a web server.
"""
TOP_PORTS: Final = 12
"""How many ports are named; the rest is in the total."""
PIECE_BYTES: Final = 64 * 1024

LINE_BYTES: Final = 150
"""Every line of the table of IPv4 is padded to this (net/ipv4/tcp_ipv4.c, TMPSZ)."""
_NUMBER_DIGITS: Final = 4
"""The line's number in front has so many; more when it needs more, and all that follows moves."""
_ROW: Final = re.compile(
    rb": ((?:[0-9A-F]{8}:[0-9A-F]{4} [0-9A-F]{8}|[0-9A-F]{32}:[0-9A-F]{4}"
    rb" [0-9A-F]{32}):[0-9A-F]{4}) ([0-9A-F]{2}) "
)
_MAPPED: Final = (b" 0000000000000000FFFF0000", b" 00000000000000000000FFFF")
"""How an IPv4 address begins in the table of IPv6, on little and on big endian machines."""
_MACHINE_NUMBERS: Final[Mapping[int, Literal["H", "I", "Q"]]] = {2: "H", 4: "I", 8: "Q"}
"""By the number of digits: the machine's own numbers of so many bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """Counts of sockets, as netstat counts them: a connection of this host to itself has two, one
    for each end.

    `total` leaves the listening ones out; `by_state` has them. `by_port`: the service's port, which
    is the local one if somebody
    listens there, else the remote one; the busiest. `websockets`: established ones at the ports
    asked for, one to ourselves counted once.
    """

    total: int
    established: int
    websockets: int
    by_state: Mapping[str, int]
    by_port: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows as columns: a row as an object of its own would cost more than the kernel takes to write
    it.

    All values are the kernel's hexadecimal digits, read as a machine number: they are only
    compared, and named at the end.
    """

    local: Sequence[int]
    remote: Sequence[int]
    states: Sequence[int]
    addresses: Callable[[], tuple[Sequence[int], Sequence[int]]]
    """Local and remote ones; seldom needed."""


def websocket_ports(api_port: int, server_url: str | None = None) -> frozenset[int]:
    """The ports that are counted as WebSocket ones: WhatsApp's, another server's if there is one,
    the API's and the guide's own.
    """
    ports = {HTTPS, whole("port"), api_port}
    if server_url is not None:
        parts = urlsplit(server_url)
        ports.add(parts.port or (80 if parts.scheme == "ws" else HTTPS))
    return frozenset(ports)


def count_connections(websocket_ports: Collection[int], proc: Path = Path("/proc")) -> Connections:
    """Count them now, in this process's network namespace.

    Raises OSError where there is no such table (not Linux), or it is hidden.
    """
    first = _read(proc / "net" / "tcp")
    try:
        second = _read(proc / "net" / "tcp6")
    except FileNotFoundError:
        second = b""  # a kernel without IPv6 has one table
    return count_rows(first, second, websocket_ports)


def count_rows(tcp: bytes, tcp6: bytes, websocket_ports: Collection[int]) -> Connections:
    """Count the rows of the kernel's two tables. Pure."""
    tables = [*_padded(tcp), _unpadded(tcp6)]
    listen = _key(b"0A")
    listening = {
        port
        for table in tables
        for port, state in zip(table.local, table.states, strict=True)
        if state == listen
    }
    states: Counter[int] = Counter()
    ports: Counter[int] = Counter()
    for table in tables:
        states.update(table.states)
        ends = zip(table.local, table.remote, table.states, strict=True)
        ports.update(
            [here if here in listening else there for here, there, state in ends if state != listen]
        )
    return Connections(
        total=states.total() - states[listen],
        established=states[_key(b"01")],
        websockets=_websockets(tables, websocket_ports),
        by_state={_state(_value(state, 2)): count for state, count in states.most_common()},
        by_port={_value(port, 4): count for port, count in ports.most_common(TOP_PORTS)},
    )


def _read(file: Path) -> bytes:
    """A table, in pieces of a size that the kernel fills without growing its own buffer."""
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(partial(os.read, handle, PIECE_BYTES), b""))
    finally:
        os.close(handle)


def _padded(table: bytes) -> Iterator[_Table]:
    """The table of IPv4: lines of one length, so that a column is a slice.

    Another kernel's, with other lines, is read like that of IPv6.
    """
    count = len(table) // LINE_BYTES
    if len(table) % LINE_BYTES or table[LINE_BYTES - 1 :: LINE_BYTES] != b"\n" * count:
        yield _unpadded(table)
        return
    first, digits = 1, _NUMBER_DIGITS  # line 0 is the head
    while first < count:
        last = min(count, 10**digits + 1)
        yield _columns(table[first * LINE_BYTES : last * LINE_BYTES], digits + 2)
        first, digits = last, digits + 1


def _columns(lines: bytes, start: int) -> _Table:
    """Lines whose addresses begin at that column, as in `   0: 0100007F:0FA1 0200007F:01BB 01 `."""
    return _Table(
        local=_column(lines, start + 9, 4),
        remote=_column(lines, start + 23, 4),
        states=_column(lines, start + 28, 2),
        addresses=lambda: (_column(lines, start, 8), _column(lines, start + 14, 8)),
    )


def _column(lines: bytes, start: int, digits: int) -> Sequence[int]:
    gathered = bytearray(len(lines) // LINE_BYTES * digits)
    for place in range(digits):
        gathered[place::digits] = lines[start + place :: LINE_BYTES]
    return memoryview(gathered).cast(_MACHINE_NUMBERS[digits]).tolist()


def _unpadded(table: bytes) -> _Table:
    """The table of IPv6.

    An IPv4 connection of a server for both is listed there; it is written as its client's end is.
    """
    for prefix in _MAPPED:
        table = table.replace(prefix, b" ")
    rows: list[tuple[bytes, bytes]] = _ROW.findall(table)
    return _Table(
        local=[_key(ends[: len(ends) // 2][-4:]) for ends, _ in rows],
        remote=[_key(ends[-4:]) for ends, _ in rows],
        states=[_key(state) for _, state in rows],
        addresses=lambda: (
            [_key(ends[: len(ends) // 2 - 5]) for ends, _ in rows],
            [_key(ends[len(ends) // 2 + 1 : -5]) for ends, _ in rows],
        ),
    )


def _websockets(tables: Sequence[_Table], ports: Collection[int]) -> int:
    """Established ones that were opened to one of the ports, from here or to here; one that has
    both ends here is one.
    """
    there = {_key(b"%04X" % port) for port in ports}
    here = there - {_key(b"%04X" % HTTPS)}
    is_open = _key(b"01")
    outgoing, incoming = 0, 0
    for table in tables:
        for local, remote, state in zip(table.local, table.remote, table.states, strict=True):
            if remote in there:
                outgoing += state == is_open
            elif local in here:
                incoming += state == is_open
    if outgoing and incoming:
        incoming -= _from_ourselves(tables, there, here)
    return outgoing + incoming


def _from_ourselves(tables: Sequence[_Table], there: Collection[int], here: Collection[int]) -> int:
    """How many of the incoming ones come from an address from which we have opened some: those are
    counted where they begin.
    """
    is_open = _key(b"01")
    own: set[int] = set()
    arriving: Counter[int] = Counter()
    for table in tables:
        for address, other, local, remote, state in zip(
            *table.addresses(), table.local, table.remote, table.states, strict=True
        ):
            if state != is_open:
                continue
            if remote in there:
                own.add(address)
            elif local in here:
                arriving[other] += 1
    return sum(count for address, count in arriving.items() if address in own)


def _key(digits: bytes) -> int:
    return int.from_bytes(digits, sys.byteorder)


def _value(key: int, digits: int) -> int:
    return int(key.to_bytes(digits, sys.byteorder), 16)


def _state(number: int) -> str:
    return STATES.get(number, f"state_{number}")
